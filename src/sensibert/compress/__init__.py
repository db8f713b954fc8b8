"""The work of one command: turn a backbone and labelled texts into a small model with its evidence.

`flow` is what happens, `job` the steps of one run, `made` one result of it, `rates` how peak rates are found, `limits`
and `walk` how a budget is found, `verdict` what was lost, `identity` which run a result belongs to.
"""

from sensibert.compress.flow import (
    compress_model,
    compress_to_each,
    compress_within,
    finished,
    folder_name,
    is_finished,
    wishes,
)
from sensibert.compress.identity import run_of
from sensibert.compress.limits import BUDGETS, Limits
from sensibert.compress.made import EVIDENCE, evidence_of
from sensibert.compress.recipe import Recipe, scoring_of

__all__ = [
    "BUDGETS",
    "EVIDENCE",
    "Limits",
    "Recipe",
    "compress_model",
    "compress_to_each",
    "compress_within",
    "evidence_of",
    "finished",
    "folder_name",
    "is_finished",
    "run_of",
    "scoring_of",
    "wishes",
]

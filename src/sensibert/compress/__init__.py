"""The work of one command: turn a backbone and labelled texts into a small model with its evidence.

`flow` is what happens, `job` the steps of one run, `rates` how peak rates are found, `verdict` what was lost.
"""

from sensibert.compress.flow import EVIDENCE, compress_model, finished, run_of
from sensibert.compress.recipe import Recipe

__all__ = ["EVIDENCE", "Recipe", "compress_model", "finished", "run_of"]

"""Tuning methods: one file per method, each saying which parameters train.

Every file has `trains(model) -> set[str]`, the names of the parameters that train.
This module imports nothing heavy, so that params.yaml can be checked without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TUNING_METHODS: dict[str, str] = {
    "full": "sensibert.tuning.full",
    "bitfit": "sensibert.tuning.bitfit",
    "bitfit_frozen_classifier": "sensibert.tuning.bitfit_frozen_classifier",
}
"""Name of each tuning method and the module that implements it, imported when it is used."""


def freeze_all_but(model: PreTrainedModel, method: str) -> None:
    """Let only the parameters train that the method names."""
    names = import_module(TUNING_METHODS[method]).trains(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)

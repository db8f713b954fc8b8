"""Tuning methods: one file per method, each saying what trains.

Every method is a function `attach(model, context) -> Attached` (see `base.py`). A method of `PEFT_METHODS` has a
budget of trained parameters. This module imports nothing heavy, so that params.yaml can be checked without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from sensibert.tuning.base import Attached, Context

TUNING_METHODS: dict[str, str] = {
    "full": "sensibert.tuning.full:attach",
    "head_only": "sensibert.tuning.head_only:attach",
    "bitfit": "sensibert.tuning.bitfit:attach",
    "bitfit_frozen_classifier": "sensibert.tuning.bitfit:attach_with_frozen_classifier",
    "bitfit_query_mlp": "sensibert.tuning.bitfit:attach_query_mlp",
    "bitfit_query_mlp_frozen_classifier": "sensibert.tuning.bitfit:attach_query_mlp_with_frozen_classifier",
    "surgical": "sensibert.tuning.surgical:attach",
    "last_layers": "sensibert.tuning.layers:attach_last",
    "random_layers": "sensibert.tuning.layers:attach_random",
}
"""Name of each tuning method without a budget and the function that implements it, imported when it is used."""

PEFT_METHODS: dict[str, str] = {
    "lora": "sensibert.tuning.lora:attach",
    "adapter": "sensibert.tuning.adapter:attach",
    "spt_lora": "sensibert.tuning.spt:attach_lora",
    "spt_adapter": "sensibert.tuning.spt:attach_adapter",
}
"""The same for the methods that train as many parameters as a budget says."""

BIAS_METHODS = tuple(name for name in TUNING_METHODS if name.startswith("bitfit"))
"""The methods that a backbone without biases cannot be tuned by."""


def attach(model: PreTrainedModel, method: str, context: Context) -> Attached:
    """Prepare a model for training by a method, in place."""
    module, _, function = {**TUNING_METHODS, **PEFT_METHODS}[method].partition(":")
    attached: Attached = getattr(import_module(module), function)(model, context)
    return attached

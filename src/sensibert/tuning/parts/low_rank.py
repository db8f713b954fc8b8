"""Low-rank updates of linear layers (LoRA, arXiv 2106.09685), made by peft."""

from __future__ import annotations

from collections.abc import Iterable

import peft
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

ADAPTER = "default"
"""How peft names the one set of low-rank matrices."""


def add_low_rank(model: PreTrainedModel, linears: Iterable[str], rank: int) -> peft.LoraModel:
    """Add low-rank matrices to the named linear layers, in place; the update is their product, unscaled."""
    names = list(linears)
    is_conv = isinstance(model.get_submodule(names[0]), Conv1D)
    settings = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=names, fan_in_fan_out=is_conv)
    return peft.LoraModel(model, settings, ADAPTER)


def low_rank_parameters(model: PreTrainedModel) -> set[str]:
    """The names of the added matrices."""
    return {name for name, _ in model.named_parameters() if f".{ADAPTER}." in name}

"""LoRA (arXiv 2106.09685): a low-rank update of the query and value projections trains, and the classifier."""

from __future__ import annotations

from collections.abc import Iterable

import peft
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sensibert.models.anatomy import Linear, features, prunable_modules
from sensibert.tuning.base import Attached, Context, allowance, classifier_parameters, largest_rank, train_only

ADAPTER = "default"
"""How peft names the one set of low-rank matrices."""


def attach(model: PreTrainedModel, context: Context) -> Attached:
    """Add low-rank matrices of the largest rank that the budget allows.

    Raises:
        TuningError: the budget allows no rank.
    """
    linears = _query_and_value(model)
    cost = sum(sum(features(linear)) for linear in linears.values())
    rank = largest_rank(cost, 0, allowance(model, context.budget), "LoRA of every query and value projection")
    tuner = add_low_rank(model, linears, rank)
    train_only(model, low_rank_parameters(model) | classifier_parameters(model))
    return Attached(merge=tuner.merge_and_unload, chosen={"rank": rank})


def add_low_rank(model: PreTrainedModel, linears: Iterable[str], rank: int) -> peft.LoraModel:
    """Add low-rank matrices to the named linear layers, in place; the update is their product, unscaled."""
    names = list(linears)
    is_conv = isinstance(model.get_submodule(names[0]), Conv1D)
    settings = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=names, fan_in_fan_out=is_conv)
    return peft.LoraModel(model, settings, ADAPTER)


def low_rank_parameters(model: PreTrainedModel) -> set[str]:
    """The names of the added matrices."""
    return {name for name, _ in model.named_parameters() if f".{ADAPTER}." in name}


def module_names(model: PreTrainedModel) -> dict[nn.Module, str]:
    """Module -> its name."""
    return {module: name for name, module in model.named_modules()}


def _query_and_value(model: PreTrainedModel) -> dict[str, Linear]:
    # A fused projection of query, key and value is one matrix and gets one update.
    names = module_names(model)
    attention = [module for key, module in prunable_modules(model).items() if key.group == "attention"]
    linears = [linear for module in attention for linear in list(module.rows.values())[:3:2]]
    return {names[linear]: linear for linear in linears}

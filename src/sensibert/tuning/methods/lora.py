"""LoRA (arXiv 2106.09685): a low-rank update of the query and value projections trains, and the classifier."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.models.anatomy import Linear, features, module_names, prunable_modules
from sensibert.training.attach import (
    Attached,
    TuningContext,
    allowance,
    classifier_parameters,
    largest_rank,
    set_trainable_params,
)
from sensibert.tuning.parts.low_rank import add_low_rank, low_rank_parameters


def attach(model: PreTrainedModel, context: TuningContext) -> Attached:
    """Add low-rank matrices of the largest rank that the budget allows.

    Raises:
        TuningError: the budget allows no rank.
    """
    linears = _query_and_value(model)
    cost = sum(sum(features(linear)) for linear in linears.values())
    rank = largest_rank(cost, 0, allowance(model, context.budget), "LoRA of every query and value projection")
    tuner = add_low_rank(model, linears, rank)
    set_trainable_params(model, low_rank_parameters(model) | classifier_parameters(model))
    return Attached(merge=tuner.merge_and_unload, chosen={"rank": rank})


def _query_and_value(model: PreTrainedModel) -> dict[str, Linear]:
    # A fused projection of query, key and value is one matrix and gets one update.
    names = module_names(model)
    attention = [module for key, module in prunable_modules(model).items() if key.group == "attention"]
    linears = [linear for module in attention for linear in list(module.input_projections.values())[:3:2]]
    return {names[linear]: linear for linear in linears}

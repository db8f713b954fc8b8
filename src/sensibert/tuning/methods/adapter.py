"""Adapters (arXiv 1902.00751): bottlenecks after all attention and feed-forward modules train, and the classifier."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.models.anatomy import features, module_names, prunable_modules
from sensibert.training.attach import (
    Attached,
    TuningContext,
    allowance,
    classifier_parameters,
    largest_rank,
    set_trainable_params,
)
from sensibert.tuning.parts.adapters import adapter_cost, adapter_parameters, add_adapters


def attach(model: PreTrainedModel, context: TuningContext) -> Attached:
    """Add adapters of the largest bottleneck that the budget allows.

    Raises:
        TuningError: the budget allows none.
    """
    names = module_names(model)
    linears = {names[module.output_projection]: module.output_projection for module in prunable_modules(model).values()}
    sizes = [features(linear)[1] for linear in linears.values()]
    bottleneck = largest_rank(
        sum(adapter_cost(size, 1) - size for size in sizes), sum(sizes), allowance(model, context.budget), "adapters"
    )
    add_adapters(model, linears, bottleneck)
    set_trainable_params(model, adapter_parameters(model) | classifier_parameters(model))
    return Attached(chosen={"bottleneck": bottleneck})

"""Adapters (arXiv 1902.00751): bottlenecks behind all attention and feed-forward modules train, and the classifier."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedModel

from sensibert.models.anatomy import features, prunable_modules
from sensibert.models.modeling_slim import add_adapter
from sensibert.models.slim import become_slim
from sensibert.tuning.base import Attached, Context, allowance, classifier_parameters, largest_rank, train_only
from sensibert.tuning.lora import module_names


def attach(model: PreTrainedModel, context: Context) -> Attached:
    """Add adapters of the largest bottleneck that the budget allows.

    Raises:
        TuningError: the budget allows none.
    """
    names = module_names(model)
    linears = {names[module.column]: module.column for module in prunable_modules(model).values()}
    sizes = [features(linear)[1] for linear in linears.values()]
    bottleneck = largest_rank(
        sum(adapter_cost(size, 1) - size for size in sizes), sum(sizes), allowance(model, context.budget), "adapters"
    )
    add_adapters(model, linears, bottleneck)
    train_only(model, adapter_parameters(model) | classifier_parameters(model))
    return Attached(chosen={"bottleneck": bottleneck})


def add_adapters(model: PreTrainedModel, linears: Iterable[str], bottleneck: int) -> None:
    """Add an adapter behind each of the named linear layers, in place; its config remembers them."""
    become_slim(model)
    model.config.adapters = dict.fromkeys(linears, bottleneck)
    for name in model.config.adapters:
        linear = model.get_submodule(name)
        add_adapter(linear, bottleneck)
        linear.to(model.device)


def adapter_cost(outputs: int, bottleneck: int) -> int:
    """Parameters of an adapter behind a linear layer: two matrices and two biases."""
    return 2 * outputs * bottleneck + bottleneck + outputs


def adapter_parameters(model: PreTrainedModel) -> set[str]:
    """The names of the parameters of the adapters."""
    prefixes = tuple(f"{name}.{part}." for name in model.config.adapters for part in ("down", "up"))
    return {name for name, _ in model.named_parameters() if name.startswith(prefixes)}

"""Adapters (arXiv 1902.00751): bottlenecks that add to the output of a linear layer."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedModel

from sensibert.models.modeling_slim import add_adapter
from sensibert.models.slim import become_slim


def add_adapters(model: PreTrainedModel, linears: Iterable[str], bottleneck: int) -> None:
    """Add an adapter after each of the named linear layers, in place; the config of the model records them."""
    become_slim(model)
    model.config.adapters = dict.fromkeys(linears, bottleneck)
    for name in model.config.adapters:
        linear = model.get_submodule(name)
        add_adapter(linear, bottleneck)
        linear.to(model.device)


def adapter_cost(outputs: int, bottleneck: int) -> int:
    """Parameters of an adapter after a linear layer: two matrices and two biases."""
    return 2 * outputs * bottleneck + bottleneck + outputs


def adapter_parameters(model: PreTrainedModel) -> set[str]:
    """The names of the parameters of the adapters."""
    prefixes = tuple(f"{name}.{part}." for name in model.config.adapters for part in ("down", "up"))
    return {name for name, _ in model.named_parameters() if name.startswith(prefixes)}

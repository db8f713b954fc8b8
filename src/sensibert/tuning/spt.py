"""Sensitivity-aware parameter-efficient tuning, SPT (arXiv 2303.08566).

The sensitivity of a weight is the loss that one gradient step on it alone would take away, to first order: the
learning rate times its squared gradient. Where a matrix holds many of the most sensitive weights, it is tuned by a
structured module (LoRA or an adapter); elsewhere the weights train one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.encoding import Example, collator, draw
from sensibert.models.anatomy import Linear, features, get_linear, prunable_modules
from sensibert.params import SptParams
from sensibert.tuning.adapter import adapter_cost, adapter_parameters, add_adapters
from sensibert.tuning.allocation import allocate
from sensibert.tuning.base import Attached, Context, allowance, classifier_parameters, train_only
from sensibert.tuning.lora import add_low_rank, low_rank_parameters, module_names
from sensibert.tuning.sparse import add_sparse_updates, merge_sparse_updates


def attach_lora(model: PreTrainedModel, context: Context) -> Attached:
    """Tune by LoRA the matrices that hold many sensitive weights, and single weights of the others."""
    rank = _settings(context).rank
    plan = _plan(model, context, lambda linear: rank * sum(features(linear)))
    tuner = add_low_rank(model, plan.structured, rank) if plan.structured else None
    return _attached(model, plan, low_rank_parameters(model), tuner.merge_and_unload if tuner else None)


def attach_adapter(model: PreTrainedModel, context: Context) -> Attached:
    """Tune by an adapter the matrices that hold many sensitive weights, and single weights of the others."""
    bottleneck = _settings(context).rank
    plan = _plan(model, context, lambda linear: adapter_cost(features(linear)[1], bottleneck))
    add_adapters(model, plan.structured, bottleneck)
    return _attached(model, plan, adapter_parameters(model), None)


def taylor_sensitivity(
    model: PreTrainedModel,
    linears: dict[str, Linear],
    examples: list[Example],
    tokenizer: PreTrainedTokenizerBase | None,
    batch_size: int,
) -> dict[str, Tensor]:
    """The sensitivity of every weight of some linear layers, up to the learning rate, which is the same for all.

    The sum over the batches of the squared gradient of the batch's mean loss, with dropout off.

    Returns:
        Name of a layer -> a tensor of its weight's shape, in float32.
    """
    collate = collator(tokenizer)
    weights = {name: linear.weight.requires_grad_() for name, linear in linears.items()}
    totals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    was_training = model.training
    model.eval()
    for start in range(0, len(examples), batch_size):
        batch = collate(examples[start : start + batch_size])
        loss = model(**{name: values.to(model.device) for name, values in batch.items()}).loss
        for total, gradient in zip(totals.values(), torch.autograd.grad(loss, list(weights.values())), strict=True):
            total += gradient.square()
    model.train(was_training)
    return totals


@dataclass(frozen=True)
class _Plan:
    """Which linear layers of a model are tuned how."""

    structured: tuple[str, ...]
    sparse: dict[str, Tensor]
    """Entries [entries] of the flattened weight that train one by one."""
    passes: float
    """Over the training data, for the sensitivity."""


def _plan(model: PreTrainedModel, context: Context, structured_cost: Callable[[Linear], int]) -> _Plan:
    settings, names = _settings(context), module_names(model)
    modules = prunable_modules(model).values()
    linears = {names[linear]: linear for module in modules for linear in module.linears}
    sample = draw(context.examples, settings.samples, context.seed)
    sensitivity = taylor_sensitivity(model, linears, sample, context.tokenizer, settings.batch_size)
    allocation = allocate(
        {name: values.cpu().numpy() for name, values in sensitivity.items()},
        {name: structured_cost(linear) for name, linear in linears.items()},
        allowance(model, context.budget),
        settings.threshold,
    )
    sparse = {name: torch.from_numpy(entries) for name, entries in allocation.sparse.items()}
    return _Plan(allocation.structured, sparse, len(sample) / len(context.examples))


def _attached(
    model: PreTrainedModel, plan: _Plan, structured: set[str], merge: Callable[[], object] | None
) -> Attached:
    sparse = {get_linear(model, name): entries for name, entries in plan.sparse.items()}
    updates = add_sparse_updates(sparse)
    train_only(model, structured | classifier_parameters(model))
    for values in updates:
        values.requires_grad_()

    def merge_both() -> None:
        merge_sparse_updates(sparse)
        if merge is not None:
            merge()

    entries = {name: len(indices) for name, indices in plan.sparse.items()}
    return Attached(merge_both, plan.passes, {"structured": list(plan.structured), "sparse": entries})


def _settings(context: Context) -> SptParams:
    assert isinstance(context.settings, SptParams)
    return context.settings

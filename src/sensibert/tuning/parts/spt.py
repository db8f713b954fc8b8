"""Sensitivity-aware parameter-efficient tuning, SPT (arXiv 2303.08566).

The sensitivity of a weight is, to first order, how much one gradient step on it alone would lower the loss: the
learning rate times its squared gradient. Where a matrix holds many of the most sensitive weights, it is tuned by a
structured module (LoRA or an adapter); elsewhere the weights train one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.config.method_settings import SptParams
from sensibert.data.encoding import Examples, collator, draw
from sensibert.models.anatomy import Linear, get_linear, module_names, prunable_modules
from sensibert.training.attach import Attached, TuningContext, allowance, classifier_parameters, set_trainable_params
from sensibert.tuning.parts.allocation import allocate
from sensibert.tuning.parts.sparse import add_sparse_updates, merge_sparse_updates


def taylor_sensitivity(
    model: PreTrainedModel,
    linears: dict[str, Linear],
    examples: Examples,
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
class Plan:
    """Which linear layers of a model are tuned how."""

    structured: tuple[str, ...]
    sparse: dict[str, Tensor]
    """Entries [entries] of the flattened weight that train one by one."""
    passes: float
    """Passes over the training data, for the sensitivity."""


def plan_tuning(model: PreTrainedModel, context: TuningContext, structured_cost: Callable[[Linear], int]) -> Plan:
    """Spend the budget on the most sensitive weights.

    Args:
        model: The pre-trained model with its new classifier.
        context: The training data, the budget, and the settings of SPT.
        structured_cost: Parameters of the structured module of a linear layer.
    """
    settings, names = spt_settings(context), module_names(model)
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
    return Plan(allocation.structured, sparse, len(sample) / len(context.examples))


def attach_plan(
    model: PreTrainedModel, plan: Plan, structured: set[str], merge: Callable[[], object] | None = None
) -> Attached:
    """Let the structured modules, which the model already has, a plan's single weights, and the classifier train.

    Args:
        model: With its structured modules.
        plan: Which single weights train.
        structured: The names of the parameters of the structured modules.
        merge: Folds the structured modules into the weights after training.
    """
    sparse = {get_linear(model, name): entries for name, entries in plan.sparse.items()}
    updates = add_sparse_updates(sparse)
    set_trainable_params(model, structured | classifier_parameters(model))
    for values in updates:
        values.requires_grad_()

    def merge_both() -> None:
        merge_sparse_updates(sparse)
        if merge is not None:
            merge()

    entries = {name: len(indices) for name, indices in plan.sparse.items()}
    return Attached(merge_both, plan.passes, {"structured": list(plan.structured), "sparse": entries})


def spt_settings(context: TuningContext) -> SptParams:
    """The settings of SPT in a context."""
    assert isinstance(context.settings, SptParams)
    return context.settings

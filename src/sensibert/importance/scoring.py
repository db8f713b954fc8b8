"""The scoring pass: one epoch with a learnable mask on every intermediate dimension (arXiv 2307.11764).

Masks (1 at the start, L1 penalty), weights and classifier train together, the masks with their own
learning rate. The trained weights are thrown away; what stays is what the criteria saw.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from datasets import Dataset
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.artifacts import ScoreFile
from sensibert.cost import unit_costs
from sensibert.dropout import cheap_dropout
from sensibert.encoding import Example, draw, encode, mean_length, training_batches
from sensibert.hardware import autocast, best_device, keep_for_reuse, make_deterministic, resolve_precision
from sensibert.importance import CRITERIA, criterion_class
from sensibert.importance.base import Criterion
from sensibert.masks import ModuleKey, Modules
from sensibert.models.anatomy import costs_of, grains_of, prunable_modules
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.models.gates import gated
from sensibert.params import ModelParams, Precision, ScoringParams
from sensibert.tasks import Task
from sensibert.used_rows import only_used_rows

Masks = dict[ModuleKey, Tensor]


def score_task(
    train: Dataset, task: Task, model: ModelParams, settings: ScoringParams, seed: int, precision: Precision = "auto"
) -> Iterator[ScoreFile]:
    """Score a backbone on the training split of a task; yields a score file after each epoch.

    Args:
        train: The normalized training split; nothing else is ever seen.
        task: What the labels mean.
        model: Names the backbone.
        settings: Epochs, rates and penalty.
        seed: Of the classifier, the order of the data and dropout.
        precision: Number format of the matrix products.
    """
    tokenizer = load_tokenizer(model.backbone)
    backbone = load_backbone(model.backbone, task, seed).to(best_device())  # type: ignore[arg-type]
    examples = encode(train, tokenizer, model.max_length)
    sample = draw(examples, settings.max_samples, seed) if settings.max_samples else examples
    tokens = mean_length(examples)
    about = {"backbone": model.backbone, "task": task.name, "seed": seed, "tokens": tokens}
    costs, grains, units = costs_of(backbone), grains_of(backbone), unit_costs(backbone, tokens)
    for epoch, scores in enumerate(score(backbone, sample, tokenizer, settings, seed, precision), start=1):
        passes = {"epoch": epoch, "passes": epoch * len(sample) / len(examples)}
        yield ScoreFile(scores, costs, grains, about | passes, units)


def score(
    model: PreTrainedModel,
    examples: list[Example],
    tokenizer: PreTrainedTokenizerBase,
    settings: ScoringParams,
    seed: int,
    precision: Precision = "auto",
) -> Iterator[dict[str, Modules]]:
    """Run the pass; yields the scores of every criterion after each epoch.

    Args:
        model: The pre-trained model with its new classifier. Its weights change.
        examples: Training data, never validation data.
        tokenizer: Pads the batches.
        settings: Epochs, rates and penalty.
        seed: Of the order of the data and of dropout.
        precision: Number format of the matrix products.

    Yields:
        criterion -> module -> scores. There is no learning rate schedule, so the scores after the first
        epoch do not depend on how many follow.
    """
    make_deterministic(seed)
    keep_for_reuse()
    with only_used_rows(model, examples), cheap_dropout(model):
        yield from _passes(model, examples, tokenizer, settings, seed, resolve_precision(precision, model.device))


def _passes(
    model: PreTrainedModel,
    examples: list[Example],
    tokenizer: PreTrainedTokenizerBase,
    settings: ScoringParams,
    seed: int,
    precision: Precision,
) -> Iterator[dict[str, Modules]]:
    modules = prunable_modules(model)
    criteria = {
        name: {key: criterion_class(name)(module, seed) for key, module in modules.items()} for name in CRITERIA
    }
    masks: Masks = {key: torch.ones(module.shape.dimensions, device=model.device) for key, module in modules.items()}
    optimizers = [
        torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0, fused=True),
        torch.optim.Adam(masks.values(), lr=settings.mask_learning_rate),
    ]
    batches = training_batches(examples, tokenizer, settings.batch_size, seed)
    skipped = int(settings.skip_fraction * len(batches))
    model.train()
    for epoch in range(settings.epochs):
        batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for step, batch in enumerate(
            tqdm(batches, desc=f"scoring, epoch {epoch + 1}/{settings.epochs}", mininterval=1)
        ):
            batch = {name: values.to(model.device) for name, values in batch.items()}
            gradients = mask_gradients(model, batch, masks, precision)
            if epoch > 0 or step >= skipped:
                _observe(criteria, masks, gradients)
            for key, mask in masks.items():
                mask.grad = gradients[key].mean(dim=0) + settings.l1 * mask.sign()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
        yield {name: {key: of_module.scores() for key, of_module in by.items()} for name, by in criteria.items()}


def mask_gradients(
    model: PreTrainedModel, batch: dict[str, Tensor], masks: Masks, precision: Precision = "fp32"
) -> Masks:
    """Gradients of each example's own loss with respect to the masks; the weights' gradients are left on the model.

    Every example gets its own copy of the mask, so one backward pass gives all of them: a mask is an
    elementwise factor and mixes no examples.

    Returns:
        For each module [batch, dimensions]. The loss is a batch mean, so they are scaled by the batch size.
    """
    size = batch["labels"].shape[0]
    copies = {key: mask.detach().expand(size, -1).clone().requires_grad_() for key, mask in masks.items()}
    gates = {key: copy.unsqueeze(1) for key, copy in copies.items()}
    with gated(model, gates), autocast(precision, model.device):
        loss = model(**batch).loss
    loss.backward()
    return {key: _gradient(copy) * size for key, copy in copies.items()}


def _gradient(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad


def _observe(criteria: dict[str, dict[ModuleKey, Criterion]], masks: Masks, gradients: Masks) -> None:
    for by_module in criteria.values():
        for key, criterion in by_module.items():
            criterion.observe(masks[key], gradients[key])

"""The scoring pass: one epoch with a learnable mask on every intermediate dimension (arXiv 2307.11764).

Masks (1 at the start, L1 penalty), weights and classifier train together, the masks with their own
learning rate. The trained weights are discarded; what the criteria saw is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.compute import processes
from sensibert.compute.compact_embeddings import compact_embeddings
from sensibert.compute.dropout import cheap_dropout
from sensibert.compute.hardware import autocast, keep_for_reuse, make_deterministic, resolve_precision
from sensibert.config.methods import METHODS, names
from sensibert.config.settings import Precision, ScoringParams
from sensibert.data.encoding import Examples, draw, mean_length, training_batches
from sensibert.errors import DivergedError
from sensibert.models.anatomy import costs_of, grains_of, prunable_modules, removable_of
from sensibert.models.cost import unit_costs
from sensibert.models.gates import gated
from sensibert.models.mask import MadeFor, ModuleKey, Modules
from sensibert.models.subject import Subject
from sensibert.models.targets import begin_training
from sensibert.scoring.criteria.base import Criterion
from sensibert.scoring.files import ScoreFile, ScoreOrigin

Masks = dict[ModuleKey, Tensor]


def score(
    model: PreTrainedModel,
    examples: Examples,
    tokenizer: PreTrainedTokenizerBase,
    settings: ScoringParams,
    *,
    seed: int,
    precision: Precision = "auto",
    criteria: Sequence[str] = names("criterion"),
    made_for: MadeFor = MadeFor(),  # noqa: B008 (frozen)
) -> Iterator[ScoreFile]:
    """Score the dimensions of a model; yields the scores after each epoch.

    Args:
        model: The pre-trained model with its new classifier. Its weights change, unless their rate is 0: then they
            need no gradients, and there is no dropout. A regressor answers in standardized labels afterwards
            (`models.targets`).
        examples: Training data, never validation data.
        tokenizer: Pads the batches.
        settings: Epochs, rates, penalty, and how many of the examples the pass sees.
        seed: Decides the sample, the order of the data and dropout.
        precision: Number format of the matrix products.
        criteria: What to score by. If none of them reads data, there is no pass, and one score file comes out.
        made_for: Recorded in the score files.

    Yields:
        All that any budget needs. There is no learning rate schedule, so the scores after the first epoch do not
        depend on how many follow.

    Raises:
        DivergedError: a score is not finite.
    """
    examples, _ = begin_training(model, examples)
    sample = draw(examples, settings.max_samples, seed) if settings.max_samples else examples
    tokens = mean_length(examples)
    costs, grains, units = costs_of(model), grains_of(model), unit_costs(model, tokens)
    removable = removable_of(model)
    make_deterministic(seed)
    keep_for_reuse()
    watching = _watching(model, criteria, seed)
    epochs: Iterator[int] = iter([0])
    if any(METHODS[name].reads_data for name in criteria):
        epochs = _epochs(model, sample, tokenizer, settings, seed, precision, watching)
    for epoch in epochs:
        found = {name: {key: of_module.scores() for key, of_module in by.items()} for name, by in watching.items()}
        _refuse_divergence(found, settings)
        origin = ScoreOrigin(made_for, seed, tokens, epoch, epoch * len(sample) / len(examples))
        yield ScoreFile(found, costs, grains, units, origin, removable)


def score_subject(
    subject: Subject,
    settings: ScoringParams,
    *,
    seed: int,
    precision: Precision = "auto",
    criteria: Sequence[str] = names("criterion"),
) -> Iterator[ScoreFile]:
    """Score the backbone of a subject on its training data; as `score`, which says what comes out."""
    model = subject.new_model(seed)
    given = model, subject.train, subject.tokenizer, settings
    return score(*given, seed=seed, precision=precision, criteria=criteria, made_for=subject.made_for(model))


def _refuse_divergence(found: dict[str, Modules], settings: ScoringParams) -> None:
    for criterion, modules in found.items():
        if broken := [key for key, values in modules.items() if not np.isfinite(values).all()]:
            raise DivergedError(
                f"the scoring pass diverged at learning_rate {settings.learning_rate:g} and mask_learning_rate "
                f"{settings.mask_learning_rate:g}: the scores of {criterion} in layer {broken[0].layer}, "
                f"{broken[0].group}, are not finite; give lower rates"
            )


Watching = dict[str, dict[ModuleKey, Criterion]]
"""Criterion -> module -> the object that observes the pass."""


def _watching(model: PreTrainedModel, criteria: Sequence[str], seed: int) -> Watching:
    modules = prunable_modules(model)
    return {
        name: {key: METHODS[name].implementation(module, seed) for key, module in modules.items()} for name in criteria
    }


def _epochs(
    model: PreTrainedModel,
    examples: Examples,
    tokenizer: PreTrainedTokenizerBase,
    settings: ScoringParams,
    seed: int,
    precision: Precision,
    watching: Watching,
) -> Iterator[int]:
    """Run the pass while the criteria observe it; yields the number of each finished epoch."""
    precision = resolve_precision(precision, model.device)
    with compact_embeddings(model, examples), cheap_dropout(model):
        masks: Masks = {
            key: torch.ones(module.shape.dimensions, device=model.device)
            for key, module in prunable_modules(model).items()
        }
        optimizers: list[torch.optim.Optimizer] = []
        if settings.learning_rate:
            optimizers.append(
                torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0, fused=True)
            )
        if settings.mask_learning_rate:
            optimizers.append(torch.optim.Adam(masks.values(), lr=settings.mask_learning_rate))
        batches = training_batches(examples, tokenizer, settings.batch_size, seed)
        skipped = int(settings.skip_fraction * len(batches))
        if settings.learning_rate:
            model.train()
        else:
            model.eval().requires_grad_(False)
        for epoch in range(1, settings.epochs + 1):
            batches.sampler.set_epoch(epoch - 1)  # type: ignore[attr-defined]
            progress = tqdm(
                batches,
                desc=f"scoring, epoch {epoch}/{settings.epochs}",
                mininterval=1,
                disable=not processes.is_first(),
            )
            for step, batch in enumerate(progress):
                batch = {name: values.to(model.device) for name, values in batch.items()}
                gradients = mask_gradients(model, batch, masks, precision)
                if epoch > 1 or step >= skipped:
                    _observe(watching, masks, gradients)
                for key, mask in masks.items():
                    mask.grad = gradients[key].mean(dim=0) + settings.l1 * mask.sign()
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
            yield epoch


def mask_gradients(
    model: PreTrainedModel, batch: dict[str, Tensor], masks: Masks, precision: Precision = "fp32"
) -> Masks:
    """Gradients of each example's own loss with respect to the masks; the weights' gradients are left on the model.

    Every example gets its own copy of the mask, so one backward pass gives all of them: a mask is an
    elementwise factor and mixes no examples. Of several processes each computes its rows, and all get all gradients.

    Returns:
        For each module [batch, dimensions]. The loss is a batch mean, so they are scaled by the batch size.
    """
    with processes.sharing(batch) as (own, share):
        copies = {key: mask.detach().expand(share.size, -1).clone().requires_grad_() for key, mask in masks.items()}
        gates = {key: copy.unsqueeze(1) for key, copy in copies.items()}
        with gated(model, gates), autocast(precision, model.device):
            loss = model(**own).loss
        (loss * share.weight).backward()
    processes.sum_gradients(model)
    gradients = processes.all_rows((_gradient(copy) for copy in copies.values()), share)
    return {key: gradient * share.total for key, gradient in zip(copies, gradients, strict=True)}


def _gradient(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad


def _observe(watching: Watching, masks: Masks, gradients: Masks) -> None:
    for by_module in watching.values():
        for key, criterion in by_module.items():
            criterion.observe(masks[key], gradients[key])

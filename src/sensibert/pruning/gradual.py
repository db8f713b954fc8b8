"""Gradual shrinking inside one schedule: the model trains while its dimensions are scored and dropped little by little.

No pass is for scoring alone. In the first part of the epochs the importance |m · dL/dm| of every dimension is smoothed
over the steps, and weighted with how uncertain it still is (PLATON, arXiv 2206.12562, equations 6 to 8); the budget
falls with the cube of the time that is left (Zhu and Gupta, arXiv 1710.01878). Then the dimensions are removed, and the
rest of the schedule trains what is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel, Trainer

from sensibert.compute.compact_embeddings import compact_embeddings
from sensibert.compute.dropout import cheap_dropout
from sensibert.compute.hardware import autocast, keep_for_reuse, make_deterministic, resolve_precision
from sensibert.config.method_settings import GradualParams
from sensibert.config.settings import TrainingParams
from sensibert.data.encoding import training_batches
from sensibert.io import replacing
from sensibert.models.anatomy import prunable_modules
from sensibert.models.backbones import load_model
from sensibert.models.gates import gated
from sensibert.models.mask import Mask, ModuleKey, Modules, read_mask, write_mask
from sensibert.models.slim import slim
from sensibert.models.targets import begin_training
from sensibert.pruning.base import Pruned, PruningContext
from sensibert.results import History
from sensibert.training.cell import train_cell

_LARGEST_GRADIENT = 1.0
"""Norm at which gradients are cut, as the Trainer does."""


def prune(context: PruningContext) -> Pruned:
    """Shrink the pre-trained model while it trains, and fine-tune what is left for the rest of the epochs."""
    settings, training = context.settings, context.training
    assert isinstance(settings, GradualParams)
    epochs = training.epochs_for(len(context.examples))
    steps = training.steps_for(len(context.examples))
    shrinking = min(steps - 1, max(settings.cuts, round(settings.shrinking * steps)))
    folder = context.scratch / "shrunk"
    if not folder.exists():
        model = context.new_model()
        mask = shrink(model, context, settings, steps=shrinking, of=steps)
        with replacing(folder) as beside:
            slim(model, mask).save_pretrained(beside)
            write_mask(beside / "mask.safetensors", mask)
    trained = train_cell(
        load_model(folder).to(context.new_model().device),  # type: ignore[arg-type]
        context.examples,
        context.tokenizer,
        training.of_steps(steps - shrinking).model_copy(update={"warmup_fraction": 0.0}),
        options=settings.at(settings.rate * _rate(shrinking, steps, training)),  # where the schedule is by then
        seed=_seed(context.seed),
        checkpoints=context.scratch / "checkpoints",
    )
    # The training while it shrank is the first part of the epochs, none on top of them.
    history = _after(trained.training.history, shrinking, epochs * shrinking / steps)
    return Pruned(trained.model, read_mask(folder / "mask.safetensors"), [history], 0, {"shrinking_steps": shrinking})


def _after(history: History, steps: int, epochs: float) -> History:
    """The history of a training that goes on after so many steps."""
    log = [replace(point, step=point.step + steps, epoch=point.epoch + epochs) for point in history.log]
    return replace(history, steps=history.steps + steps, log=log)


def shrink(model: PreTrainedModel, context: PruningContext, settings: GradualParams, *, steps: int, of: int) -> Mask:
    """Train a model, in place, for the first steps of a schedule while its mask shrinks to the budget.

    Args:
        model: The pre-trained model with its new classifier.
        context: Data, budget and the like.
        settings: The peak rate, and how the scores are smoothed.
        steps: Optimizer steps until the budget is met.
        of: Steps of the whole schedule.
    """
    examples, _ = begin_training(model, context.examples)
    make_deterministic(context.seed)
    keep_for_reuse()
    precision = resolve_precision(context.training.precision, model.device)
    tracker = _Importance(model, settings)
    cuts = {math.ceil(steps * cut / settings.cuts): cut / settings.cuts for cut in range(1, settings.cuts + 1)}
    mask = None
    with compact_embeddings(model, examples), cheap_dropout(model):
        optimizer = torch.optim.AdamW(_groups(model, context.training.weight_decay), lr=settings.rate, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, of, context.training))
        batches = training_batches(examples, context.tokenizer, context.training.batch_size, context.seed)
        model.train()
        for step, batch in enumerate(tqdm(_endless(batches, steps), desc="shrinking", total=steps, mininterval=1), 1):
            batch = {name: values.to(model.device) for name, values in batch.items()}
            gates = {key: gate.clone().requires_grad_() for key, gate in tracker.gates.items()}
            with gated(model, gates), autocast(precision, model.device):
                loss = model(**batch).loss
            loss.backward()
            tracker.observe(gates)
            torch.nn.utils.clip_grad_norm_(model.parameters(), _LARGEST_GRADIENT)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            if step in cuts:
                budget = context.budget + (1 - context.budget) * (1 - cuts[step]) ** 3
                scores = replace(context.scores, scores={context.criterion: tracker.scores()})
                mask = context.mask(scores, budget)
                tracker.keep(mask)
    assert mask is not None
    assert mask.origin is not None
    return replace(mask, origin=replace(mask.origin, scoring_passes=0))


class _Importance:
    """The smoothed importance of every dimension, and which of them are left."""

    def __init__(self, model: PreTrainedModel, settings: GradualParams) -> None:
        self.settings = settings
        self.shapes = {key: module.shape for key, module in prunable_modules(model).items()}
        zeros = {key: torch.zeros(shape.dimensions, device=model.device) for key, shape in self.shapes.items()}
        self.gates = {key: torch.ones_like(values) for key, values in zeros.items()}
        self.mean = zeros
        self.uncertainty = {key: torch.zeros_like(values) for key, values in zeros.items()}

    def observe(self, gates: dict[ModuleKey, Tensor]) -> None:
        """Smooth the importance of a step into what is known, and how far it was off into the uncertainty."""
        for key, gate in gates.items():
            assert gate.grad is not None
            found = (gate.detach() * gate.grad).abs()
            self.mean[key].lerp_(found, 1 - self.settings.smoothing)
            self.uncertainty[key].lerp_((found - self.mean[key]).abs(), 1 - self.settings.uncertainty_smoothing)

    def scores(self) -> Modules:
        """Mean times uncertainty; 0 for what is gone already."""
        return {
            key: (self.mean[key] * self.uncertainty[key] * gate).cpu().numpy().reshape(self.shapes[key])
            for key, gate in self.gates.items()
        }

    def keep(self, mask: Mask) -> None:
        """Close the gates of all else."""
        for key, kept in mask.keep.items():
            self.gates[key] = torch.from_numpy(kept.reshape(-1)).to(self.gates[key])


def _groups(model: PreTrainedModel, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters that decay and those that do not, as the Trainer has them: biases and norms do not."""
    decaying = set(Trainer.get_decay_parameter_names(None, model))  # type: ignore[arg-type]
    parts: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        parts[name in decaying].append(parameter)
    return [{"params": parts[decays], "weight_decay": weight_decay * decays} for decays in parts]


def _rate(step: int, of: int, training: TrainingParams) -> float:
    """Linear warm-up and decay, as a part of the peak rate."""
    warmup = math.ceil(training.warmup_fraction * of)
    return (step + 1) / warmup if step < warmup else (of - step) / max(1, of - warmup)


def _endless(batches: DataLoader[Any], steps: int) -> Iterator[dict[str, Tensor]]:
    """As many batches as there are steps, epoch after epoch."""
    for epoch in range(math.ceil(steps / len(batches))):
        batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for number, batch in enumerate(batches, epoch * len(batches)):
            if number == steps:
                return
            yield batch


def _seed(seed: int) -> int:
    """Another one for the second part: with the same one it would begin with the same batches."""
    return int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])

"""Iterative pruning: rounds of pruning and fine-tuning instead of one, with the same total number of epochs.

The kept fraction falls geometrically, so that each round removes the same share of what is left. From the second
round on, the scores are those of the partly pruned, partly fine-tuned model.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from sensibert.config.method_settings import IterativeParams
from sensibert.io import read_record, replacing, write_record
from sensibert.models.backbones import load_model
from sensibert.models.mask import Mask, read_mask, write_mask
from sensibert.pruning.base import Pruned, PruningContext
from sensibert.results import History, Passes
from sensibert.scoring.budgets import kept_of
from sensibert.training.cell import train_cell


@dataclass(frozen=True)
class _Round:
    """The outcome of a round."""

    history: History
    left: float
    """Kept fraction of the dense model, in the unit of the budget."""
    passes: Passes
    """Passes over the training data, to score."""


def prune(context: PruningContext) -> Pruned:
    """Prune and fine-tune round by round, with new scores of the criterion in each."""
    assert isinstance(context.settings, IterativeParams)
    fractions = kept_fractions(context.budget, context.settings.rounds)
    model, mask, rounds, left = context.new_model(), None, [], 1.0
    for number, fraction in enumerate(fractions):
        folder = context.scratch / f"round-{number + 1}"
        if not folder.exists():
            _run_round(context, model, mask, number, fraction / left, left, folder)
        model = load_model(folder).to(model.device)  # type: ignore[arg-type]
        mask = read_mask(folder / "mask.safetensors")
        rounds.append(read_record(folder / "round.json", _Round))
        left = rounds[-1].left
    assert mask is not None
    passes = context.passes(sum(done.passes for done in rounds))
    return Pruned(model, mask, [done.history for done in rounds], passes, {"kept_fractions": fractions})


def kept_fractions(budget: float, rounds: int) -> list[float]:
    """The fraction of the dense model that is kept after each round: a geometric sequence that ends at the budget."""
    return [budget ** (done / rounds) for done in range(1, rounds)] + [budget]


def compose(outer: Mask, inner: Mask) -> Mask:
    """The mask of the dense model that does what `outer` does, and then `inner` to the slim model."""
    keep = {}
    for key, kept in outer.keep.items():
        flat = np.zeros(kept.size, dtype=bool)
        flat[np.flatnonzero(kept)[inner.keep[key].reshape(-1)]] = True
        keep[key] = flat.reshape(kept.shape)
    return Mask(keep, outer.costs, inner.origin)


def _run_round(
    context: PruningContext,
    model: PreTrainedModel,
    earlier: Mask | None,
    number: int,
    fraction: float,
    left: float,
    folder: Path,
) -> None:
    """Prune to a fraction of what is left, fine-tune, and save the result; the folder appears whole."""
    assert isinstance(context.settings, IterativeParams)
    # A copy, since the pass trains its weights.
    scores = context.scores if number == 0 else context.score(copy.deepcopy(model))
    found = context.mask(scores, min(1.0, fraction))
    trained = train_cell(
        model,
        context.examples,
        context.tokenizer,
        context.training.part(context.settings.rounds),
        options=context.settings,
        mask=found,
        seed=_seed(context.seed, number),
        checkpoints=context.scratch / "checkpoints",
    )
    history, kept = trained.training.history, kept_of(found, scores, context.masking.budget_kind)
    with replacing(folder) as beside:
        trained.model.save_pretrained(beside)
        write_mask(beside / "mask.safetensors", found if earlier is None else compose(earlier, found))
        write_record(beside / "round.json", _Round(history, left * kept, history.extra_passes))


def _seed(seed: int, number: int) -> int:
    """A seed for each round: with the seed of the run, every round would see the same data order and dropout."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])

"""Allocation by measured loss: how much of each module stays is decided by what a model loses without it.

The scores of a criterion are comparable within a module; whether they are between modules is an assumption. Here the
order within each module stays the criterion's, and the value of its dimensions is measured: the tuned model runs with
the module cut to some sizes, everything else whole, and the distance of its answers from its own uncut ones is what the
missing dimensions are worth (as ZipLM, arXiv 2302.04089, and SPDY, arXiv 2201.13096, allocate).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.compute.hardware import autocast, resolve_precision
from sensibert.config.settings import Precision
from sensibert.data.encoding import Example, evaluation_batches
from sensibert.models.gates import gated
from sensibert.models.mask import Modules
from sensibert.training.distillation import distilled_loss

KEPT = (0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)
"""The parts of a module that are measured, beside the whole."""

_BATCH_SIZE = 64
_TIE_BREAK = 1e-6
"""Between two measured sizes all dimensions gain the same; this much of it keeps them in their order."""


def measured_scores(
    model: PreTrainedModel,
    scores: Modules,
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    precision: Precision = "fp32",
) -> Modules:
    """Scores in the order of others within each module, whose sums are measured losses.

    Args:
        model: The tuned dense model, in evaluation mode; it is not changed.
        scores: One array per module, [heads, head size] or [1, intermediate size]; larger is better.
        examples: Training examples; their labels are ignored.
        tokenizer: Pads the batches.
        precision: Number format of the matrix products.
    """
    batches = [
        {name: values.to(model.device) for name, values in batch.items() if name != "labels"}
        for _, batch in evaluation_batches(list(examples), tokenizer, _BATCH_SIZE)
    ]
    precision = resolve_precision(precision, model.device)
    wanted = [_answers(model, batch, precision) for batch in batches]
    whole = {key: torch.ones(values.size, device=model.device) for key, values in scores.items()}
    found: Modules = {}
    for key, values in tqdm(sorted(scores.items()), desc="measuring modules", mininterval=1):
        order = np.argsort(-values.reshape(-1), kind="stable")
        losses = {values.size: 0.0}
        for size in sorted({round(part * values.size) for part in KEPT}):
            gate = torch.zeros(values.size, device=model.device)
            gate[torch.from_numpy(order[:size].copy())] = 1.0
            with gated(model, whole | {key: gate}):
                answers = [_answers(model, batch, precision) for batch in batches]
            losses[size] = _distance(answers, wanted)
        found[key] = marginal_scores(order, losses).reshape(values.shape)
    return found


def marginal_scores(order: np.ndarray, losses: Mapping[int, float]) -> np.ndarray:
    """What each dimension of a module is worth: the slope of the loss at its rank.

    The slopes are those of the largest convex curve below the losses, so they never grow along the order.

    Args:
        order: The dimensions of the module from the best to the worst.
        losses: The loss with so many of the best dimensions left; none and all of them are among the sizes.
    """
    worth = np.zeros(len(order))
    for (size, loss), (larger, smaller_loss) in pairwise(_convex(losses)):
        worth[size:larger] = max(0.0, loss - smaller_loss) / (larger - size)
    ranks = np.arange(len(order), 0, -1) / len(order)
    # The second part keeps the order where more dimensions did not help.
    ranked = worth * (1 + _TIE_BREAK * ranks) + _TIE_BREAK**2 * ranks
    scores = np.empty(len(order))
    scores[order] = ranked
    return scores


def _convex(losses: Mapping[int, float]) -> list[tuple[int, float]]:
    """The points on the lower convex hull."""
    hull: list[tuple[int, float]] = []
    for size, loss in sorted(losses.items()):
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], (size, loss)):
            hull.pop()
        hull.append((size, loss))
    return hull


def _slope(first: tuple[int, float], second: tuple[int, float]) -> float:
    return (second[1] - first[1]) / (second[0] - first[0])


@torch.no_grad()
def _answers(model: PreTrainedModel, batch: dict[str, Tensor], precision: Precision) -> Tensor:
    with autocast(precision, model.device):
        return model(**batch).logits.float()


def _distance(answers: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Mean distance of answers from others: of the distributions, or squared in a regression."""
    texts = sum(len(batch) for batch in wanted)
    nothing = wanted[0].new_zeros(())
    pairs = zip(answers, wanted, strict=True)
    return sum(len(ours) * float(distilled_loss(nothing, ours, theirs, 1.0, 1.0)) for ours, theirs in pairs) / texts

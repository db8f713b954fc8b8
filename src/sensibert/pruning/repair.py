"""Repair at the cut: the output projections of a slim model, solved anew so that each module gives what it gave before.

Module by module from the input on, a weight W and a bias b of the output projection minimise ‖x W + b - y‖² over the
tokens of a sample, plus a ridge on the change of W: x is what enters the projection once everything before it was cut
and repaired, and y the output of the dense model. So what was dropped is expressed by what was kept as far as it can be
(the reconstruction of ZipLM, arXiv 2302.04089, and K-prune, arXiv 2308.03449), and its mean goes into the bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.config.settings import Precision
from sensibert.data.encoding import Examples, evaluation_batches
from sensibert.models.anatomy import Linear, weight_by_output
from sensibert.models.mask import ModuleKey
from sensibert.pruning.layerwise import Station, stations

RIDGE = 0.01
"""Weight of the change of W, as a part of the mean square of the inputs: what the sample does not determine stays."""


_BATCH_SIZE = 32


class Repair(NamedTuple):
    """Squared errors of a module's output, as fractions of the dense output's square."""

    before: float
    after: float


@torch.no_grad()
def repair(
    dense: PreTrainedModel,
    small: PreTrainedModel,
    batches: Sequence[Mapping[str, Tensor]],
    precision: Precision = "fp32",
) -> dict[ModuleKey, Repair]:
    """Repair the output projections of a slim model, in place.

    Args:
        dense: The model that `small` was cut from, in evaluation mode.
        small: The slim model, in evaluation mode.
        batches: Training texts, on the models' device; labels are ignored.
        precision: Number format of the matrix products.
    """
    return {station.key: _repair(station) for station in stations(dense, small, batches, precision, title="repairing")}


def repaired(
    dense: PreTrainedModel, small: PreTrainedModel, sample: Examples, tokenizer: PreTrainedTokenizerBase
) -> dict[str, dict[str, float]]:
    """Repair a slim model, in place, with a sample of training examples; what is worth recording, JSON-ready."""
    dense.eval()
    small.eval()
    batches = [
        {name: values.to(small.device) for name, values in batch.items()}
        for _, batch in evaluation_batches(sample, tokenizer, _BATCH_SIZE)
    ]
    return {str(key): found._asdict() for key, found in repair(dense, small, batches).items()}


def _repair(station: Station) -> Repair:
    linear = station.module.output_projection
    size = station.module.shape.dimensions + (linear.bias is not None)
    width = weight_by_output(linear).shape[0]
    gram = torch.zeros(size, size, dtype=torch.float64)
    right = torch.zeros(size, width, dtype=torch.float64)
    error = square = 0.0
    for inputs, output, wanted in station.tokens():
        known = inputs if linear.bias is None else torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)
        missing = wanted - output
        gram += (known.T @ known).double().cpu()
        right += (known.T @ missing).double().cpu()
        error += float(missing.square().sum())
        square += float(wanted.square().sum())
    squares = gram.diagonal()[: station.module.shape.dimensions]
    ridge = RIDGE * squares.mean().clamp(min=1e-12) if len(squares) else 0.0
    change = torch.linalg.solve(gram + ridge * torch.eye(size, dtype=torch.float64), right)
    after = error - 2 * float((change * right).sum()) + float((change * (gram @ change)).sum())
    _add(linear, change)
    return Repair(error / square, max(0.0, after) / square)


def _add(linear: Linear, change: Tensor) -> None:
    """Add a change [inputs, outputs], the bias's last if there is one, in place."""
    change = change.to(linear.weight)
    inputs = weight_by_output(linear).shape[1]
    weight_by_output(linear).add_(change[:inputs].T)
    if linear.bias is not None:
        linear.bias.add_(change[inputs])

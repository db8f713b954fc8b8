"""Mask tuning: rescale the kept units so that each module gives what it gave before (arXiv 2204.09656, section 4.3).

With the modules rescaled one by one from the input on, the scale m of the kept units of a module minimises
‖A m - b‖² over the tokens of the sample: A holds what each unit of the pruned model adds to the output of the
output projection, after everything before it was pruned and rescaled, and b is the output of the dense model.
The scales are folded into the columns of the projection. The tokens that count are those whose output reaches the
logits: no padding, and in the last layer of most classifiers the first token alone.

A is never built. With x the inputs of the projection, W its weight and e = b - A 1 the error without rescaling,
AᵀA = xᵀx ∘ WᵀW and Aᵀe is the sum over the tokens of x ∘ eW, added up over the dimensions of each unit. The
system is solved for d = m - 1 with a small ridge, so that scales that the sample does not determine stay 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sensibert.config.settings import Precision
from sensibert.models.anatomy import Linear, PrunableModule, weight_by_output
from sensibert.models.mask import ModuleKey
from sensibert.pruning.kwon.units import unit_count, unit_size
from sensibert.pruning.layerwise import stations

LARGEST_SCALE = 10.0
"""Scales beyond this, in either direction, are a sign of an ill-conditioned system (the authors' limit)."""

RIDGE = 0.1
"""Weight of ‖m - 1‖², as a part of the mean diagonal of AᵀA. With a sample of 256 texts it brought the logits of a
pruned MiniLM-L6 on dev texts closer to the dense model's than 0.001 did, and no further from them than 1 did."""


class Rescaling(NamedTuple):
    """What happened to one module."""

    scales: np.ndarray
    """Scales of the kept units; all 1 if rescaling was given up."""
    before: float
    """Squared error of the module's output without rescaling, as a fraction of the dense output's square."""
    after: float
    """The same with rescaling."""


@torch.no_grad()
def rescale(
    dense: PreTrainedModel,
    small: PreTrainedModel,
    batches: Sequence[Mapping[str, Tensor]],
    precision: Precision = "fp32",
) -> dict[ModuleKey, Rescaling]:
    """Rescale the output projections of a slim model, in place. Labels are ignored.

    A module keeps its weights if the best scales do not lower its error or one of them exceeds `LARGEST_SCALE`.

    Args:
        dense: The model that `small` was cut from, in evaluation mode.
        small: The slim model, in evaluation mode.
        batches: The sample, on the models' device.
        precision: Number format of the matrix products.
    """
    found = {}
    for station in stations(dense, small, batches, precision, title="rescaling"):
        module = station.module
        system = _System.empty(module)
        for tokens in station.tokens():
            system.add(module, *tokens)
        found[station.key] = _solve(*system.by_unit(module))
        scales = np.repeat(found[station.key].scales, unit_size(module))
        scale_columns(module.output_projection, torch.from_numpy(scales).to(module.output_projection.weight))
    return found


def scale_columns(linear: Linear, scales: Tensor) -> None:
    """Multiply the columns of a projection, one per input, in place."""
    linear.weight.mul_(scales[:, None] if isinstance(linear, Conv1D) else scales)


class _System:
    """The normal equations of one module, by dimension."""

    def __init__(self, gram: Tensor, right: Tensor) -> None:
        self.gram = gram
        self.right = right
        self.error = 0.0
        self.square = 0.0

    @classmethod
    def empty(cls, module: PrunableModule) -> _System:
        zeros = module.output_projection.weight.new_zeros
        size = module.shape.dimensions
        return cls(zeros(size, size, dtype=torch.float64), zeros(size, dtype=torch.float64))

    def add(self, module: PrunableModule, inputs: Tensor, output: Tensor, wanted: Tensor) -> None:
        """Add tokens: the projection's inputs [tokens, dimensions], its output and the dense one [tokens, hidden]."""
        missing = wanted - output
        self.gram += inputs.T @ inputs
        self.right += (inputs * (missing @ weight_by_output(module.output_projection))).sum(dim=0)
        self.error += float(missing.square().sum())
        self.square += float(wanted.square().sum())

    def by_unit(self, module: PrunableModule) -> tuple[np.ndarray, np.ndarray, float, float]:
        """AᵀA [units, units], Aᵀe [units], the error and the square of the dense output."""
        units, size = unit_count(module), unit_size(module)
        weight = weight_by_output(module.output_projection).double()
        gram = (self.gram * (weight.T @ weight)).reshape(units, size, units, size).sum(dim=(1, 3))
        return gram.cpu().numpy(), self.right.reshape(units, size).sum(dim=1).cpu().numpy(), self.error, self.square


def _solve(gram: np.ndarray, right: np.ndarray, error: float, square: float) -> Rescaling:
    """The best scales, or 1 if they cannot be trusted."""
    units = len(right)
    ridge = RIDGE * np.trace(gram) / units or 1.0  # nothing reaches the output: any number will do
    change = np.linalg.solve(gram + ridge * np.eye(units), right)
    after = max(0.0, error - 2 * float(change @ right) + float(change @ gram @ change))
    scales = 1 + change
    if not (after < error and np.abs(scales).max() <= LARGEST_SCALE):
        scales, after = np.ones(units), error
    return Rescaling(scales, error / square, after / square)

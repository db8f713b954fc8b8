"""Sensitivity: how much the loss changes when a dimension does."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sensibert.models.anatomy import PrunableModule
from sensibert.scoring.criteria.base import Criterion


class Sensitivity(Criterion):
    """The sum over the steps of |m · dL/dm|, L being the batch mean of the loss.

    The first-order estimate of what removing the dimension would cost, accumulated while the mask
    trains (Sensi-BERT, arXiv 2307.11764).
    """

    def __init__(self, module: PrunableModule, seed: int) -> None:
        super().__init__(module, seed)
        self.total: Tensor = torch.zeros(module.shape.dimensions, dtype=torch.float64)

    def observe(self, mask: Tensor, gradients: Tensor) -> None:
        """Add the first-order estimate of this step."""
        self.total += (mask * gradients.mean(dim=0)).abs().to("cpu", torch.float64)

    def scores(self) -> np.ndarray:
        """The sum so far."""
        return self._shaped(self.total)

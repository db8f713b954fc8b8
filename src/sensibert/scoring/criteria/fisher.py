"""Fisher information: the expected squared gradient of an example's log-likelihood."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sensibert.models.anatomy import PrunableModule
from sensibert.scoring.criteria.base import Criterion


class Fisher(Criterion):
    """The sum over the examples of (dL_i/dm)²: the diagonal of the empirical Fisher information.

    Each example's gradient is squared on its own (arXiv 2204.09656, equation 7); the square of a batch
    mean would be a different quantity.
    """

    def __init__(self, module: PrunableModule, seed: int) -> None:
        super().__init__(module, seed)
        self.total: Tensor = torch.zeros(module.shape.dimensions, dtype=torch.float64)

    def observe(self, mask: Tensor, gradients: Tensor) -> None:
        """Add the squared gradient of each example."""
        self.total += gradients.square().sum(dim=0).to("cpu", torch.float64)

    def scores(self) -> np.ndarray:
        """The sum so far."""
        return self._shaped(self.total)

"""The learned mask itself."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sensibert.models.anatomy import PrunableModule
from sensibert.scoring.criteria.base import Criterion


class LearnedMask(Criterion):
    """|m|: the mask as training left it, pulled down by the L1 penalty.

    The other reading of Sensi-BERT (arXiv 2307.11764): the mask is the ranking.
    """

    def __init__(self, module: PrunableModule, seed: int) -> None:
        super().__init__(module, seed)
        self.mask: Tensor = torch.ones(module.shape.dimensions)

    def observe(self, mask: Tensor, gradients: Tensor) -> None:
        """Remember the mask; the optimizer keeps changing it in place."""
        self.mask = mask

    def scores(self) -> np.ndarray:
        """The mask as it is now."""
        return self._shaped(self.mask.abs())

"""Magnitude: the baseline that needs no data."""

from __future__ import annotations

import numpy as np

from sensibert.importance.base import Criterion
from sensibert.models.anatomy import PrunableModule


class Magnitude(Criterion):
    """The sum of the absolute values of the parameters that a dimension holds, in the pre-trained model.

    Ranked by score per parameter this is their mean absolute value, which an attention dimension (four
    matrices) and a feed-forward dimension (two) can be compared by.
    """

    def __init__(self, module: PrunableModule, seed: int) -> None:
        super().__init__(module, seed)
        # Computed here: the scoring pass changes the weights.
        total = module.column.weight.detach().abs().sum(dim=0)
        for row in module.rows:
            total = total + row.weight.detach().abs().sum(dim=1)
            if row.bias is not None:
                total = total + row.bias.detach().abs()
        self.total = total

    def scores(self) -> np.ndarray:
        """The sums of the pre-trained weights."""
        return self._shaped(self.total)

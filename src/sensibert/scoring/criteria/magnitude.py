"""Magnitude: the baseline that needs no data."""

from __future__ import annotations

import numpy as np

from sensibert.models.anatomy import PrunableModule, weight_by_output
from sensibert.scoring.criteria.base import Criterion


class Magnitude(Criterion):
    """The sum of the absolute values of the parameters that a dimension holds, in the pre-trained model.

    Ranked by score per parameter this is their mean absolute value, which makes an attention dimension (four
    matrices) and a feed-forward dimension (two) comparable.
    """

    def __init__(self, module: PrunableModule, seed: int) -> None:
        super().__init__(module, seed)
        # Computed here: the scoring pass changes the weights.
        total = weight_by_output(module.output_projection).abs().sum(dim=0)
        for projection, linear in module.input_projections.items():
            of_output = weight_by_output(linear).abs().sum(dim=1)
            if linear.bias is not None:
                of_output = of_output + linear.bias.detach().abs()
            total = total + of_output.reshape(projection.blocks, -1).sum(dim=0)
        self.total = total

    def scores(self) -> np.ndarray:
        """The sums of the pre-trained weights."""
        return self._shaped(self.total)

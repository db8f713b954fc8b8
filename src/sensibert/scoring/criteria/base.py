"""The one signature of every criterion."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from torch import Tensor

from sensibert.models.anatomy import PrunableModule


class Criterion(ABC):
    """Scores the dimensions of one module.

    A criterion is created before the scoring pass, observes each of its steps, and can give its scores
    at any time. A criterion that needs no data does not observe.
    """

    def __init__(self, module: PrunableModule, seed: int) -> None:
        self.module = module
        self.seed = seed

    def observe(self, mask: Tensor, gradients: Tensor) -> None:  # noqa: B027 (most criteria observe, not all)
        """Observe one step of the pass.

        Args:
            mask: The learnable mask [dimensions], before the optimizer's step.
            gradients: Gradient of each example's own loss with respect to the mask [batch, dimensions].
        """

    @abstractmethod
    def scores(self) -> np.ndarray:
        """The scores so far, [heads, head size] or [1, intermediate size]; larger is more important."""

    def _shaped(self, values: Tensor) -> np.ndarray:
        return values.detach().to("cpu").float().numpy().reshape(self.module.shape).copy()

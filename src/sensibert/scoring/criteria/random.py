"""Random scores: the control."""

from __future__ import annotations

import numpy as np

from sensibert.models.anatomy import GROUPS
from sensibert.scoring.criteria.base import Criterion


class Random(Criterion):
    """Uniform random scores, the same for the same seed and module."""

    def scores(self) -> np.ndarray:
        """A new draw, the same one each time."""
        key = self.module.key
        generator = np.random.default_rng([self.seed, key.layer, GROUPS.index(key.group)])
        return generator.random(self.module.shape, dtype=np.float32)

"""Layers in the order of their scores. Pure numpy."""

from __future__ import annotations

import numpy as np


def rank(scores: np.ndarray) -> list[int]:
    """The layers from the largest score to the smallest; of equal ones the earlier comes first."""
    return [int(layer) for layer in np.argsort(-scores, kind="stable")]

"""Units: what this method keeps or drops as a whole, an attention head or a feed-forward filter."""

from __future__ import annotations

import numpy as np

from sensibert.models.anatomy import PrunableModule
from sensibert.models.mask import ModuleKey

Units = dict[ModuleKey, np.ndarray]
"""One array [units] per module."""


def unit_size(module: PrunableModule) -> int:
    """Dimensions of one unit."""
    return module.shape.size if module.key.group == "attention" else 1


def unit_count(module: PrunableModule) -> int:
    """Units of a module."""
    return module.shape.dimensions // unit_size(module)


def stays_whole(module: PrunableModule) -> bool:
    """Whether the architecture requires every head of a module."""
    return module.key.group == "attention" and module.grain.heads == module.shape.heads


def by_dimension(keep: np.ndarray, module: PrunableModule) -> np.ndarray:
    """Values of the units [units], repeated for their dimensions, as in `models.mask.Mask`."""
    return np.repeat(keep, unit_size(module)).reshape(module.shape)

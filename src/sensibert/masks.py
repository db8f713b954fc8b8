"""placeholder"""
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Any, NamedTuple
import numpy as np


class ModuleKey(NamedTuple):
    """The prunable module of one layer."""

    layer: int
    group: str
    """`attention` or `feed_forward`."""

    def __str__(self) -> str:
        return f"{self.layer}.{self.group}"

    @classmethod
    def parse(cls, text: str) -> ModuleKey:
        """The inverse of `str`."""
        layer, _, group = text.partition(".")
        return cls(int(layer), group)


Modules = dict[ModuleKey, np.ndarray]
"""One array per module: [heads, head size] for attention, [1, intermediate size] for feed-forward."""


@dataclass(frozen=True)
class Mask:
    """Which dimensions stay."""

    keep: Modules
    """True where a dimension stays."""
    costs: dict[ModuleKey, int]
    """Parameters that one dimension of a module holds."""
    about: dict[str, Any] = field(default_factory=dict)
    """Where the mask comes from: task, criterion, budget, seed."""

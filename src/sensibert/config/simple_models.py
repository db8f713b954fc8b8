"""The registry of simple models that one would pick instead of a fine-tuned encoder: one row each.

This module imports no implementation: a row names it, and `SimpleModel.fit` loads it when it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class SimpleModel:
    """What the project knows about a simple model, apart from its code."""

    name: str
    """Its name in params.yaml and in file names, and that of its module in `sensibert.alternatives`."""
    title: str
    """A short name for tables."""

    @property
    def fit(self) -> Callable[..., Any]:
        """From `alternatives.base.Given` to `alternatives.base.Simple`."""
        return import_module(f"sensibert.alternatives.{self.name}").fit  # type: ignore[no-any-return]


_ROWS = (
    SimpleModel("words", "TF-IDF, linear"),
    SimpleModel("frozen", "frozen embeddings, linear"),
    SimpleModel("static", "static embeddings, linear"),
)

SIMPLE_MODELS: dict[str, SimpleModel] = {row.name: row for row in _ROWS}
"""Every one by its name, in the order of tables."""

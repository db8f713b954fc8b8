"""The points of the grid, and the names that their files have."""

from __future__ import annotations

from typing import NamedTuple

from sensibert.config.methods import METHODS

DENSE_BUDGET = 1.0
"""The budget of a cell that neither prunes nor limits what trains."""


class Point(NamedTuple):
    """The cells that differ in their seed alone: one row of the comparison table."""

    task: str
    method: str
    budget: float

    @property
    def name(self) -> str:
        """A file-system name."""
        budget = "" if METHODS[self.method].budget is None else f"-{self.budget}"
        return f"{self.task}-{self.method}{budget}"


class Cell(NamedTuple):
    """One point of the grid."""

    task: str
    method: str
    budget: float
    """Kept fraction of the prunable parameters, or trained fraction of the backbone's; see `Method.budget`."""
    seed: int

    @property
    def name(self) -> str:
        """A file-system name; the same one that the DVC matrix gives it."""
        return f"{self.point.name}-{self.seed}"

    @property
    def is_pruned(self) -> bool:
        """Whether this cell's model was made smaller."""
        return METHODS[self.method].budget == "kept"

    @property
    def point(self) -> Point:
        """What it shares with the cells of other seeds."""
        return Point(self.task, self.method, self.budget)

    @property
    def dense(self) -> Cell:
        """The cell whose model is the dense one, fully tuned on the same task with the same seed."""
        return self._replace(method="full", budget=DENSE_BUDGET)


class TransferredCell(NamedTuple):
    """The model of one cell, evaluated on a task that it was not tuned on."""

    cell: Cell
    to: str

    @property
    def name(self) -> str:
        """A file-system name; the same one that the DVC matrix gives it."""
        return f"{self.cell.name}-{self.to}"


class SearchedCell(NamedTuple):
    """One search: a tuning method on a task."""

    task: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """A file-system name; the same one that the DVC matrix gives it."""
        return f"{self.task}-{self.method}-{self.seed}"

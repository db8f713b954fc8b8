"""Which stages a run needs, level by level: pure, so that it is tested without DVC and without Ray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from graphlib import TopologicalSorter

from sensibert.errors import GridError

_SHOWN = 12
"""Names in a message, at most."""


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml, as the plan sees it."""

    name: str
    """Such as `finetune@sst2-sensitivity-0.5-0`."""
    needs: frozenset[str]
    """The stages whose outputs it reads."""
    travels: bool
    """Whether it is a cell that any host may compute; what gathers, and what reads from outside, stays on the head."""

    @property
    def cell(self) -> str:
        """What it is a stage of: the name without that of its family; empty for a stage that has no cells."""
        return self.name.partition("@")[2]


def select(stages: Mapping[str, Stage], pattern: str | None) -> frozenset[str]:
    """The stages that a user asked for, and all that they need.

    Args:
        stages: By name, all of them.
        pattern: A shell pattern of cells (`sst2-*-0.5-0`) or of whole stages (`evaluate@*`); None takes everything.

    Raises:
        GridError: nothing matches.
    """
    if pattern is None:
        return frozenset(stages)
    cells = {name: stage.cell for name, stage in stages.items() if stage.cell}
    chosen = {name for name, cell in cells.items() if fnmatchcase(cell, pattern) or fnmatchcase(name, pattern)}
    if not chosen:
        raise GridError(
            f"--cells {pattern!r} is no cell of the grid, which has {_shortened(sorted(set(cells.values())))}"
        )
    return with_needs(stages, chosen)


def with_needs(stages: Mapping[str, Stage], names: Iterable[str]) -> frozenset[str]:
    """Some stages and everything that they need, directly or not."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += stages[name].needs
    return frozenset(found)


def levels(stages: Mapping[str, Stage], wanted: frozenset[str]) -> list[list[str]]:
    """The wanted stages in an order that works: each level needs only what stands before it.

    Within a level the stages that most others need come first, then by name.
    """
    order = TopologicalSorter({name: stages[name].needs & wanted for name in wanted})
    order.prepare()
    weights = Counter(need for name in wanted for need in with_needs(stages, stages[name].needs))
    found = []
    while order.is_active():
        ready = sorted(order.get_ready(), key=lambda name: (-weights[name], name))
        order.done(*ready)
        found.append(ready)
    return found


def blocked(stages: Mapping[str, Stage], level: Iterable[str], lost: set[str]) -> set[str]:
    """The stages of a level that cannot run, since something that they need failed or cannot run either."""
    return {name for name in level if stages[name].needs & lost}


def _shortened(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

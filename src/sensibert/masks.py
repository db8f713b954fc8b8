"""Scores and a budget give a mask. Pure numpy: no torch, no files.

A slim layer must be a stock layer, so each kept head of a layer keeps the same number of dimensions.
That makes the global ranking a small optimisation: choose for every module a *shape* (heads, dimensions
per head), so that the kept score is as large as possible under the budget. It is solved as a Lagrangian:
at a price per dimension every module picks its own best shape, independently of the others, and a
bisection finds the price whose total just fits the budget. Without the head constraint this is exactly
"keep what scores above a threshold". What the last jump left over is then filled step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from sensibert.errors import MaskError

BISECTIONS = 100
"""Halvings of the price interval: more than a float64 has bits, so the result does not depend on it."""


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


class Shape(NamedTuple):
    """Size of a module: heads x dimensions per head (1 x intermediate size for feed-forward)."""

    heads: int
    size: int

    @property
    def dimensions(self) -> int:
        """Number of dimensions."""
        return self.heads * self.size


@dataclass(frozen=True)
class Mask:
    """Which dimensions stay."""

    keep: Modules
    """True where a dimension stays."""
    costs: dict[ModuleKey, int]
    """Parameters (or MACs) of one dimension of a module."""
    about: dict[str, Any] = field(default_factory=dict)
    """Where the mask comes from: task, criterion, budget, seed."""

    @property
    def kept_cost(self) -> int:
        """Prunable parameters that stay."""
        return sum(self.costs[key] * int(keep.sum()) for key, keep in self.keep.items())

    @property
    def dense_cost(self) -> int:
        """Prunable parameters of the dense model."""
        return sum(self.costs[key] * keep.size for key, keep in self.keep.items())

    @property
    def kept_fraction(self) -> float:
        """Kept part of the prunable parameters."""
        return self.kept_cost / self.dense_cost

    def shapes(self) -> dict[ModuleKey, Shape]:
        """The stock-layer shape that each module keeps."""
        return {key: _shape_of(keep, key) for key, keep in self.keep.items()}


def _shape_of(keep: np.ndarray, key: ModuleKey) -> Shape:
    per_head = keep.sum(axis=1)
    kept = per_head[per_head > 0]
    if kept.size == 0:
        raise MaskError(f"layer {key.layer}: the mask leaves no dimension of {key.group}")
    if np.ptp(kept) != 0:
        raise MaskError(
            f"layer {key.layer}: the kept heads of {key.group} keep different numbers of dimensions "
            f"({sorted(set(kept.tolist()))}); a stock layer needs the same number in each"
        )
    return Shape(int(kept.size), int(kept[0]))


class _Module:
    """The best kept score of one module at every possible shape."""

    def __init__(self, scores: np.ndarray, cost: int, price_per_dimension: float, floor: float) -> None:
        heads, size = scores.shape
        self.cost = cost
        self.price_per_dimension = price_per_dimension
        # A stable sort of the negated scores breaks ties by position, the same way every time.
        self.order = np.argsort(-scores, axis=1, kind="stable")
        best_of_head = np.cumsum(np.take_along_axis(scores, self.order, axis=1), axis=1)
        self.head_order = np.argsort(-best_of_head, axis=0, kind="stable")
        # value[h - 1, s - 1]: the best total score of h heads with s dimensions each.
        self.value = np.cumsum(np.take_along_axis(best_of_head, self.head_order, axis=0), axis=0)
        self.dimensions = np.outer(np.arange(1, heads + 1), np.arange(1, size + 1))
        self.allowed = self.dimensions >= max(1, int(np.ceil(floor * scores.size)))
        self.smallest = self._first(np.where(self.allowed, self.dimensions, np.inf))
        self.largest = Shape(heads, size)

    def _first(self, table: np.ndarray) -> Shape:
        heads, size = np.unravel_index(int(np.argmin(table)), table.shape)
        return Shape(int(heads) + 1, int(size) + 1)

    def best(self, price: float) -> Shape:
        """The shape of the largest kept score minus price; the smaller one on a tie."""
        surplus = self.value - price * self.price_per_dimension * self.dimensions
        surplus = np.where(self.allowed, surplus, -np.inf)
        smallest_of_best = np.where(surplus == surplus.max(), self.dimensions, np.inf)
        return self._first(smallest_of_best)

    def steps(self, shape: Shape) -> list[Shape]:
        """The next larger shapes: one dimension more in each kept head, or one head more."""
        wider = Shape(shape.heads, shape.size + 1)
        taller = Shape(shape.heads + 1, shape.size)
        return [s for s in (wider, taller) if s.heads <= self.largest.heads and s.size <= self.largest.size]

    def gain(self, old: Shape, new: Shape) -> float:
        """Score gained per unit of price by a step."""
        value = self.value[new.heads - 1, new.size - 1] - self.value[old.heads - 1, old.size - 1]
        return float(value) / (self.price_per_dimension * (new.dimensions - old.dimensions))

    def mask(self, shape: Shape) -> np.ndarray:
        """True at the dimensions that `shape` keeps."""
        keep = np.zeros(self.order.shape, dtype=bool)
        for head in self.head_order[: shape.heads, shape.size - 1]:
            keep[head, self.order[head, : shape.size]] = True
        return keep


def make_mask(
    scores: Modules,
    costs: dict[ModuleKey, int],
    budget: float,
    *,
    allocation: str = "global",
    rank_by: str = "score",
    floor: float = 0.0,
    about: dict[str, Any] | None = None,
) -> Mask:
    """Keep the best dimensions under a budget.

    Args:
        scores: One array per module, [heads, head size] or [1, intermediate size]; larger is better.
        costs: Parameters (or MACs) that one dimension of each module holds.
        budget: Fraction of the prunable cost that may be kept, in (0, 1].
        allocation: What competes with what: `global` (everything), `per_group` (attention with attention,
            feed-forward with feed-forward) or `per_layer` (within a layer). Each pool gets its share of the budget.
        rank_by: `score`, or `score_per_parameter` (score divided by the dimension's cost).
        floor: Fraction of each module that stays in any case; one dimension always stays.
        about: Recorded in the mask.

    Returns:
        A mask whose cost never exceeds the budget, and misses it by less than the cheapest step that
        is left in any pool (one feed-forward dimension, usually).

    Raises:
        MaskError: the budget is out of range or too small to keep one dimension of each module, or the
            scores are not finite.
    """
    if not 0 < budget <= 1:
        raise MaskError(f"budget {budget} is out of range; allowed: above 0, at most 1")
    for key, values in scores.items():
        if not np.isfinite(values).all():
            raise MaskError(f"the scores of layer {key.layer}, {key.group}, are not all finite numbers")
    modules = {
        key: _Module(
            np.asarray(values, dtype=np.float64),
            costs[key],
            float(costs[key]) if rank_by == "score_per_parameter" else 1.0,
            floor,
        )
        for key, values in sorted(scores.items())
    }
    keep: Modules = {}
    for pool in _pools(modules, allocation):
        members = {key: modules[key] for key in pool}
        shapes = _shapes_within(members, budget)
        keep |= {key: members[key].mask(shape) for key, shape in shapes.items()}
    return Mask(dict(sorted(keep.items())), {key: costs[key] for key in sorted(keep)}, about or {})


def full_mask(scores: Modules, costs: dict[ModuleKey, int]) -> Mask:
    """A mask that keeps everything."""
    return Mask({key: np.ones(values.shape, dtype=bool) for key, values in scores.items()}, costs)


_POOL_OF: dict[str, Callable[[ModuleKey], object]] = {
    "global": lambda key: "all",
    "per_group": lambda key: key.group,
    "per_layer": lambda key: key.layer,
}
ALLOCATIONS = tuple(_POOL_OF)


def _pools(keys: Iterable[ModuleKey], allocation: str) -> list[list[ModuleKey]]:
    if allocation not in _POOL_OF:
        raise MaskError(f"unknown allocation {allocation!r}; allowed: {', '.join(ALLOCATIONS)}")
    pools: dict[object, list[ModuleKey]] = {}
    for key in keys:
        pools.setdefault(_POOL_OF[allocation](key), []).append(key)
    return list(pools.values())


def _shapes_within(modules: dict[ModuleKey, _Module], budget: float) -> dict[ModuleKey, Shape]:
    """The best shapes of one pool whose cost fits the budget."""
    dense = sum(module.cost * module.largest.dimensions for module in modules.values())
    # The product is rounded first: 0.3 * 10 is 3.0000000000000004 in binary, and 0.7 * 10 is below 7.
    limit = int(np.floor(np.round(budget * dense, 6)))
    shapes = {key: module.smallest for key, module in modules.items()}
    if (least := _cost(modules, shapes)) > limit:
        names = sorted({f"layer {key.layer}" for key in modules}) if len(modules) < 3 else ["the model"]
        raise MaskError(
            f"budget {budget} is too small for {', '.join(names)}: the floor of each module "
            f"(one dimension at least) already takes {least / dense:.4f}"
        )
    low, high = 0.0, 1.0 + max(float(module.value[0, 0]) / module.price_per_dimension for module in modules.values())
    for _ in range(BISECTIONS):
        price = (low + high) / 2
        candidate = {key: module.best(price) for key, module in modules.items()}
        if _cost(modules, candidate) <= limit:
            high, shapes = price, candidate
        else:
            low = price
    return _fill(modules, shapes, limit)


def _cost(modules: dict[ModuleKey, _Module], shapes: dict[ModuleKey, Shape]) -> int:
    return sum(modules[key].cost * shape.dimensions for key, shape in shapes.items())


def _fill(modules: dict[ModuleKey, _Module], shapes: dict[ModuleKey, Shape], limit: int) -> dict[ModuleKey, Shape]:
    """Spend what the bisection left over: always the step with the best gain that still fits."""
    shapes = dict(shapes)
    left = limit - _cost(modules, shapes)
    while True:
        fitting = [
            (module.gain(shapes[key], step), key, step)
            for key, module in modules.items()
            for step in module.steps(shapes[key])
            if module.cost * (step.dimensions - shapes[key].dimensions) <= left
        ]
        if not fitting:
            return shapes
        _, key, step = max(fitting, key=lambda item: item[0])
        left -= modules[key].cost * (step.dimensions - shapes[key].dimensions)
        shapes[key] = step

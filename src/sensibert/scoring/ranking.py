"""Scores and a budget give a mask. Pure numpy: no torch, no files.

A slim layer must be a stock layer, so each kept head of a layer keeps the same number of dimensions.
That makes the global ranking a small optimisation: choose for every module a *shape* (heads, dimensions
per head), so that the kept score is as large as possible under the budget. Plotted as kept score against
kept dimensions, only the shapes on the upper concave hull of a module can be part of a best choice. Along
the hull each further step gains less per dimension, so the steps of all modules merge into one ranking,
which is cut where the budget ends. Without the head constraint this is exactly "keep what scores above a
threshold". What is left of the budget is then filled step by step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from sensibert.errors import MaskError
from sensibert.models.mask import SINGLE, Mask, ModuleKey, Modules, Shape

SCORE_BITS = 48
"""Scores are compared as integers of this many bits: sums are exact, so equal scores tie on any machine."""

BUDGET_DENOMINATOR = 10**9
"""A budget is read as the nearest fraction with at most this denominator: 0.3 is 3/10, as intended."""


class _Module:
    """The best kept score of one module at every possible shape."""

    def __init__(self, scores: np.ndarray, cost: int, weight: int, min_keep_fraction: float, grain: Shape) -> None:
        self.cost = cost
        self.weight = weight
        self.grain = grain
        self.least = min(scores.size, max(1, int(np.ceil(np.round(min_keep_fraction * scores.size, 6)))))
        self.largest = Shape(*scores.shape)
        # A stable sort of the negated scores breaks ties by position, the same way every time.
        self.order = np.argsort(-scores, axis=1, kind="stable")
        best_of_head = np.cumsum(np.take_along_axis(scores, self.order, axis=1), axis=1)
        self.head_order = np.argsort(-best_of_head, axis=0, kind="stable")
        # value[h - 1][s - 1]: the best total score of h heads with s dimensions each.
        self.value: list[list[int]] = np.cumsum(
            np.take_along_axis(best_of_head, self.head_order, axis=0), axis=0
        ).tolist()

    def price_of(self, shape: Shape) -> int:
        """Cost of all dimensions of a shape."""
        return self.cost * shape.dimensions

    def value_of(self, shape: Shape) -> int:
        """The best total score that a shape can keep."""
        return self.value[shape.heads - 1][shape.size - 1] if shape.dimensions else 0

    def gain(self, old: Shape, new: Shape) -> float:
        """Score that a step gains per dimension, or per unit of cost."""
        return (self.value_of(new) - self.value_of(old)) / (self.weight * (new.dimensions - old.dimensions))

    @cached_property
    def allowed(self) -> list[Shape]:
        """The shapes that respect the grain and `min_keep_fraction`, the smallest first."""
        heads = range(self.grain.heads, self.largest.heads + 1, self.grain.heads)
        sizes = range(self.grain.size, self.largest.size + 1, self.grain.size)
        shapes = {*(Shape(h, s) for h in heads for s in sizes), self.largest}
        allowed = [shape for shape in shapes if shape.dimensions >= self.least]
        # Of shapes with the same number of dimensions the best comes first, and of equally good ones the fewest heads.
        return sorted(allowed, key=lambda shape: (shape.dimensions, -self.value_of(shape), shape.heads))

    @cached_property
    def hull(self) -> list[Shape]:
        """The shapes on the upper concave hull of kept score over dimensions, from the smallest one allowed."""
        allowed = self.allowed
        hull = allowed[:1]
        for shape in allowed:
            if shape.dimensions == hull[-1].dimensions:
                continue
            while len(hull) > 1 and self.gain(hull[-2], hull[-1]) < self.gain(hull[-1], shape):
                hull.pop()
            hull.append(shape)
        return hull

    def steps(self, shape: Shape) -> list[Shape]:
        """The next larger shapes: one more grain in each kept head, or one more grain of heads."""
        wider = Shape(shape.heads, shape.size + self.grain.size)
        taller = Shape(shape.heads + self.grain.heads, shape.size)
        return [s for s in (wider, taller) if s.heads <= self.largest.heads and s.size <= self.largest.size]

    def mask(self, shape: Shape) -> np.ndarray:
        """True at the dimensions that `shape` keeps."""
        keep = np.zeros(self.order.shape, dtype=bool)
        if shape.dimensions == 0:
            return keep
        for head in self.head_order[: shape.heads, shape.size - 1]:
            keep[head, self.order[head, : shape.size]] = True
        return keep


def make_mask(scores: Modules, costs: dict[ModuleKey, int], budget: float, **options: Any) -> Mask:
    """Keep the best dimensions under a budget.

    Args:
        scores: One array per module, [heads, head size] or [1, intermediate size]; larger is better.
        costs: What one dimension of each module costs: parameters, or any other unit.
        budget: Fraction of the prunable cost that may be kept, in (0, 1].
        options: Those of `Ranking`.

    Returns:
        A mask whose cost never exceeds the budget. Each pool falls short of its share by less than its
        cheapest remaining step (of one grain), usually one feed-forward dimension.

    Raises:
        MaskError: the budget is out of range or too small to keep one dimension of each module, the
            scores are not finite, or an option is unknown or out of range.
    """
    return Mask(Ranking(scores, costs, **options).cut(budget), dict(sorted(costs.items())))


def check_budget(budget: float) -> None:
    """Refuse a budget that is not a fraction in (0, 1]."""
    if not 0 < budget <= 1:
        raise MaskError(f"budget {budget} is out of range; allowed: above 0, at most 1")


def rounded(grain: Shape, size: int, round_to: int) -> Shape:
    """The grain whose sizes are multiples of `round_to` too; a module too small for that keeps its whole `size`."""
    return Shape(grain.heads, max(1, min(math.lcm(grain.size, round_to), size)))


_POOL_OF: dict[str, Callable[[ModuleKey], object]] = {
    "global": lambda key: "all",
    "per_group": lambda key: key.group,
    "per_layer": lambda key: key.layer,
}
ALLOCATIONS = tuple(_POOL_OF)
RANKINGS = ("score", "score_per_parameter")


class Ranking:
    """Dimensions in the order in which they are kept: made once, cut at any budget.

    Args:
        scores: One array per module, [heads, head size] or [1, intermediate size]; larger is better.
        costs: What one dimension of each module costs.
        grains: What the kept heads and the kept head size of a module must be multiples of (or all of them
            stay); 1 and 1 for a module that is not named.
        allocation: What competes with what: `global` (everything), `per_group` (attention with attention,
            feed-forward with feed-forward) or `per_layer` (within a layer). Each pool gets its share of the budget.
        rank_by: `score`, or `score_per_parameter` (score divided by the dimension's cost).
        min_keep_fraction: Fraction of each module that always stays; at least one dimension does.
        removable: The modules that may keep nothing.
        remove_below: One of these that would keep less than this fraction of its dimensions goes altogether, and the
            others share what that frees.
        round_to: The kept size of a head, and of a feed-forward module, is a multiple of this, or all of it stays.
        attention_weight: Factor of the attention scores, to shift the balance between the groups.

    Raises:
        MaskError: the scores are not finite, or an option is unknown or out of range.
    """

    def __init__(
        self,
        scores: Modules,
        costs: dict[ModuleKey, int],
        *,
        grains: dict[ModuleKey, Shape] | None = None,
        allocation: str = "global",
        rank_by: str = "score",
        min_keep_fraction: float = 0.0,
        removable: Collection[ModuleKey] = (),
        remove_below: float = 0.0,
        round_to: int = 1,
        attention_weight: float = 1.0,
    ) -> None:
        if allocation not in _POOL_OF:
            raise MaskError(f"unknown allocation {allocation!r}; allowed: {', '.join(ALLOCATIONS)}")
        if rank_by not in RANKINGS:
            raise MaskError(f"unknown rank_by {rank_by!r}; allowed: {', '.join(RANKINGS)}")
        if round_to < 1:
            raise MaskError(f"round_to {round_to} is out of range; allowed: 1 (no rounding) and more")
        for key, values in scores.items():
            if not np.isfinite(values).all():
                raise MaskError(f"the scores of layer {key.layer}, {key.group}, are not all finite numbers")
        if attention_weight != 1:
            scores = {
                key: values * (attention_weight if key.group == "attention" else 1) for key, values in scores.items()
            }
        pools: dict[object, dict[ModuleKey, _Module]] = {}
        for key, values in sorted(_as_integers(scores).items()):
            weight = costs[key] if rank_by == "score_per_parameter" else 1
            grain = rounded((grains or {}).get(key, SINGLE), values.shape[1], round_to)
            pools.setdefault(_POOL_OF[allocation](key), {})[key] = _Module(
                values, costs[key], weight, min_keep_fraction, grain
            )
        self._pools = [_Pool(modules) for modules in pools.values()]
        self._removable = frozenset(removable)
        self._remove_below = remove_below

    @property
    def least_budget(self) -> float:
        """The smallest budget that allows a mask."""
        return max(pool.least / pool.dense for pool in self._pools)

    @property
    def dense_cost(self) -> int:
        """Cost of all dimensions."""
        return sum(pool.dense for pool in self._pools)

    def cut(self, budget: float) -> Modules:
        """What stays: the best dimensions under a budget.

        Raises:
            MaskError: the budget is out of range or too small.
        """
        check_budget(budget)
        keep: Modules = {}
        for pool in self._pools:
            for key, shape in self._shapes(pool, budget).items():
                keep[key] = pool.modules[key].mask(shape)
        return dict(sorted(keep.items()))

    def _shapes(self, pool: _Pool, budget: float) -> dict[ModuleKey, Shape]:
        """The best shapes of a pool, without the modules of which too little would stay."""
        shapes = pool.shapes_within(budget)
        gone = {
            key: shape._replace(heads=0)
            for key, shape in shapes.items()
            if key in self._removable and shape.dimensions < self._remove_below * pool.modules[key].largest.dimensions
        }
        if len(gone) == len(shapes):
            raise MaskError(f"remove_below {self._remove_below} would remove every module at budget {budget}")
        return pool.filled(shapes | gone, budget, without=gone) if gone else shapes


def best_in_shapes(scores: Modules, shapes: dict[ModuleKey, Shape]) -> Modules:
    """What stays if every module keeps the best dimensions that a given shape allows."""
    return {
        key: _Module(values, cost=1, weight=1, min_keep_fraction=0.0, grain=SINGLE).mask(shapes[key])
        for key, values in sorted(_as_integers(scores).items())
    }


def _as_integers(scores: Modules) -> Modules:
    """The scores on one common scale of `SCORE_BITS` bits."""
    # A module of which an earlier round left nothing has no scores.
    _, exponent = np.frexp(max(float(np.abs(values).max(initial=0)) for values in scores.values()))
    scaled = {key: np.ldexp(values.astype(np.float64), SCORE_BITS - exponent) for key, values in scores.items()}
    return {key: np.rint(values).astype(np.int64) for key, values in scaled.items()}


class _Pool:
    """Modules that compete for one share of the budget."""

    def __init__(self, modules: dict[ModuleKey, _Module]) -> None:
        self.modules = modules
        self.dense = sum(module.price_of(module.largest) for module in modules.values())
        self.least = sum(module.price_of(module.allowed[0]) for module in modules.values())

    @cached_property
    def steps(self) -> list[tuple[ModuleKey, Shape]]:
        """Every step along the hulls, starting with the one that gains most per cost."""
        steps = [
            (module.gain(old, new), key, new)
            for key, module in self.modules.items()
            for old, new in pairwise(module.hull)
        ]
        # A stable sort: ties in the order of the modules.
        return [(key, shape) for _, key, shape in sorted(steps, key=lambda step: -step[0])]

    def shapes_within(self, budget: float) -> dict[ModuleKey, Shape]:
        """The best shapes whose cost fits the budget."""
        modules = self.modules
        limit = self._limit(budget)
        if self.least > limit:
            names = sorted({f"layer {key.layer}" for key in modules}) if len(modules) < 3 else ["the model"]
            raise MaskError(
                f"budget {budget} is too small for {', '.join(names)}: what each module keeps in any case "
                f"(one dimension at least) already takes {self.least / self.dense:.4f}"
            )
        left = limit - self.least
        shapes = {key: module.allowed[0] for key, module in modules.items()}
        for key, shape in self.steps:
            price = modules[key].price_of(shape) - modules[key].price_of(shapes[key])
            if price > left:
                break
            left -= price
            shapes[key] = shape
        return _fill(modules, shapes, left)

    def filled(
        self, shapes: dict[ModuleKey, Shape], budget: float, without: Collection[ModuleKey]
    ) -> dict[ModuleKey, Shape]:
        """Larger shapes that spend what shapes leave of a budget, all but some modules."""
        left = self._limit(budget) - sum(self.modules[key].price_of(shape) for key, shape in shapes.items())
        growing = {key: module for key, module in self.modules.items() if key not in without}
        return shapes | _fill(growing, {key: shapes[key] for key in growing}, left)

    def _limit(self, budget: float) -> int:
        """The cost that a budget allows."""
        return math.floor(Fraction(budget).limit_denominator(BUDGET_DENOMINATOR) * self.dense)


def _fill(modules: dict[ModuleKey, _Module], shapes: dict[ModuleKey, Shape], left: int) -> dict[ModuleKey, Shape]:
    """Spend what the cut left over: always take the step with the best gain that still fits."""
    shapes = dict(shapes)
    while True:
        steps = [
            (module.gain(shapes[key], step), module.price_of(step) - module.price_of(shapes[key]), key, step)
            for key, module in modules.items()
            for step in module.steps(shapes[key])
        ]
        fitting = [step for step in steps if step[1] <= left]
        if not fitting:
            return shapes
        _, price, key, shape = max(fitting, key=lambda step: step[0])
        left -= price
        shapes[key] = shape

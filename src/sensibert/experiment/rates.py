"""The search for a method's peak rate: factors of two, judged on the dev split, until the best is not at the edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from sensibert.errors import DataError, DivergedError
from sensibert.results import WORST_METRIC, RateCurve, TriedRate

MOST_EXTENSIONS = 6
"""Rates that are tried beyond a range; a method that wants still more has no best rate."""


def search_rate(
    dev_metric: Callable[[float, int], float],
    grid: Sequence[float],
    seeds: Sequence[int],
    *,
    further: int = MOST_EXTENSIONS,
    at_edge: Literal["refuse", "take"] = "refuse",
) -> RateCurve:
    """Try every rate of a grid with every seed; beyond the grid as long as its lowest or highest rate is the best.

    Args:
        dev_metric: Gives the metric on the dev split for a rate and a seed; may raise a DivergedError.
        grid: Rates in ascending order, each twice the one before.
        seeds: A rate counts with its mean over them.
        further: Rates that are tried beyond the grid at most.
        at_edge: What happens if the best rate is still at the edge then.

    Raises:
        DataError: every rate diverged, or the best rate is at the edge and that is refused.
    """
    tried = {rate: _try(dev_metric, rate, seeds) for rate in grid}
    for left in range(further, -1, -1):
        curve = [tried[rate] for rate in sorted(tried)]
        best = _best_of(curve)
        if best.mean == WORST_METRIC:
            raise DataError(f"every rate from {grid[0]:g} to {grid[-1]:g} diverged; give a lower one")
        is_inside = best is not curve[0] and best is not curve[-1]
        if is_inside or (at_edge == "take" and not left):
            return RateCurve(best.learning_rate, curve)
        if left:
            beyond = best.learning_rate * (0.5 if best is curve[0] else 2)
            tried[beyond] = _try(dev_metric, beyond, seeds)
    raise DataError(f"no best rate between {min(tried):g} and {max(tried):g}: the metric still rises at the edge")


def _best_of(curve: Sequence[TriedRate]) -> TriedRate:
    """The rate with the best mean; of several that are equally good, the middle one of those inside the curve."""
    most = max(point.mean for point in curve)
    best = [point for point in curve if point.mean == most]
    inside = [point for point in best if point is not curve[0] and point is not curve[-1]]
    return inside[(len(inside) - 1) // 2] if inside else best[0]


def _try(dev_metric: Callable[[float, int], float], rate: float, seeds: Sequence[int]) -> TriedRate:
    def reached(seed: int) -> float:
        try:
            return dev_metric(rate, seed)
        except DivergedError:
            return WORST_METRIC

    return TriedRate(rate, [reached(seed) for seed in seeds])

"""Mask search: which heads and filters to keep under a budget (arXiv 2204.09656, algorithm 1). Pure numpy."""

from __future__ import annotations

import math
from collections.abc import Collection
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from sensibert.errors import MaskError
from sensibert.models.mask import ModuleKey
from sensibert.pruning.kwon.units import Units
from sensibert.scoring.ranking import BUDGET_DENOMINATOR, check_budget


def search(importance: Units, costs: dict[ModuleKey, int], budget: float, whole: Collection[ModuleKey] = ()) -> Units:
    """Keep the heads and filters with the largest total importance under a budget.

    For every number of heads, kept in the order of their importance, the rest of the budget goes to filters in
    the order of theirs; the best of these masks wins. No mask is better if all heads cost the same and all
    filters do, as in a dense model.

    Args:
        importance: The diagonal of the Fisher information of each module [units]. The dropped values add up to the
            estimate of the loss, so the largest kept sum is the smallest loss.
        costs: What one unit of each module costs: multiply-accumulates, parameters or any other.
        budget: Fraction of the cost of all units that may be kept, in (0, 1].
        whole: Modules that keep every unit.

    Returns:
        For each module [units], True where a unit stays: at least one in each module. Never above the budget.

    Raises:
        MaskError: the budget is out of range or too small, or the importance is not finite.
    """
    check_budget(budget)
    for key, values in importance.items():
        if not np.isfinite(values).all():
            raise MaskError(f"the Fisher information of layer {key.layer}, {key.group}, is not all finite numbers")
    heads = _rank({key: values for key, values in importance.items() if key.group == "attention"}, costs, whole)
    filters = _rank({key: values for key, values in importance.items() if key.group != "attention"}, costs, whole)
    dense = int(heads.cost[-1] + filters.cost[-1])
    limit = math.floor(Fraction(budget).limit_denominator(BUDGET_DENOMINATOR) * dense)
    least = int(heads.cost[heads.least] + filters.cost[filters.least])
    if least > limit:
        raise MaskError(
            f"budget {budget} is too small for the model: the heads and filters that every layer keeps "
            f"(one of each at least) already take {least / dense:.4f}"
        )
    head_counts = np.arange(heads.least, np.searchsorted(heads.cost, limit - filters.cost[filters.least], "right"))
    filter_counts = np.searchsorted(filters.cost, limit - heads.cost[head_counts], "right") - 1
    totals = heads.importance[head_counts] + filters.importance[filter_counts]
    best = np.flatnonzero(totals == totals.max())[-1]  # of equally good masks, the one with the most heads
    keep = {**heads.keep(head_counts[best]), **filters.keep(filter_counts[best])}
    return {key: keep[key] for key in importance}


class _Ranked(NamedTuple):
    """The units of all modules of one group, in the order in which they are kept."""

    counts: dict[ModuleKey, int]
    order: np.ndarray
    """Positions [units], starting with the ones that always stay."""
    least: int
    """How many always stay."""
    importance: np.ndarray
    """Total importance of the first n units [units + 1]."""
    cost: np.ndarray
    """Total cost of the first n units [units + 1]."""

    def keep(self, count: int) -> Units:
        """The first units, by module."""
        kept = np.zeros(len(self.order), dtype=bool)
        kept[self.order[:count]] = True
        return dict(zip(self.counts, np.split(kept, np.cumsum([*self.counts.values()])[:-1]), strict=True))


def _rank(importance: Units, costs: dict[ModuleKey, int], whole: Collection[ModuleKey]) -> _Ranked:
    stays = [
        np.ones(len(values), dtype=bool) if key in whole else np.arange(len(values)) == np.argmax(values)
        for key, values in importance.items()
    ]
    in_any_case, values = np.concatenate(stays), np.concatenate([*importance.values()])
    cost = np.concatenate([np.full(len(values), costs[key]) for key, values in importance.items()])
    order = np.lexsort((-values, ~in_any_case))  # stable: ties by position
    return _Ranked(
        counts={key: len(values) for key, values in importance.items()},
        order=order,
        least=int(in_any_case.sum()),
        importance=np.concatenate([[0.0], np.cumsum(values[order])]),
        cost=np.concatenate([[0], np.cumsum(cost[order])]),
    )

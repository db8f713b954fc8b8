"""How SPT spends its budget: which weight matrices are tuned as a whole, and which weights alone. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Allocation:
    """What trains in each weight matrix; no matrix is in both parts."""

    structured: tuple[str, ...]
    """Matrices that get a structured module (low-rank matrices or an adapter)."""
    sparse: dict[str, np.ndarray]
    """Matrix -> the entries of the flattened weight that train, ascending [entries]."""
    trained: int
    """Parameters that train; never more than the budget."""


def allocate(
    sensitivity: Mapping[str, np.ndarray], structured_costs: Mapping[str, int], budget: int, threshold: int | None
) -> Allocation:
    """Tune the most sensitive weights over all matrices, as many as fit the budget.

    A matrix that holds at least `threshold` of the chosen weights is tuned by its structured module, at that
    module's cost; in any other the chosen weights themselves train (arXiv 2303.08566, section 3.2).

    Args:
        sensitivity: Matrix -> the sensitivity of its weights, of any shape.
        structured_costs: Matrix -> parameters of its structured module.
        budget: Parameters that may train.
        threshold: The paper's sigma; None takes each matrix's structured cost. Then a module never costs more than
            the weights it replaces, and the budget is met exactly unless every matrix gets a module.
    """
    names = list(sensitivity)
    values = np.concatenate([sensitivity[name].ravel() for name in names])
    sizes = np.array([sensitivity[name].size for name in names])
    order = np.argsort(-values, kind="stable")
    matrix = np.repeat(np.arange(len(names)), sizes)[order]
    place_in_matrix = _running_count(matrix, len(names))  # 1 for the most sensitive weight of its matrix
    costs = np.array([structured_costs[name] for name in names])
    sigmas = costs if threshold is None else np.full(len(names), threshold)
    reaches = place_in_matrix == sigmas[matrix]  # with this weight the matrix gets its module
    step = np.where(reaches, (costs - sigmas + 1)[matrix], place_in_matrix < sigmas[matrix])
    cost = np.cumsum(step)
    affordable = np.flatnonzero(cost <= budget)
    top = int(affordable[-1]) + 1 if len(affordable) else 0
    held = np.bincount(matrix[:top], minlength=len(names))
    is_structured = held >= sigmas
    starts = np.cumsum(sizes) - sizes
    chosen = np.sort(order[:top])
    by_matrix = np.split(chosen, np.searchsorted(chosen, starts[1:]))
    sparse = {
        name: entries - start
        for name, entries, start, whole in zip(names, by_matrix, starts, is_structured, strict=True)
        if len(entries) and not whole
    }
    structured = tuple(name for name, whole in zip(names, is_structured, strict=True) if whole)
    return Allocation(structured, sparse, int(cost[top - 1]) if top else 0)


def _running_count(labels: np.ndarray, count: int) -> np.ndarray:
    """For each element, how often its label has occurred up to here, [elements]."""
    by_label = np.argsort(labels, kind="stable")
    starts = np.cumsum(np.bincount(labels, minlength=count))
    starts = np.concatenate([[0], starts[:-1]])
    counts = np.empty(len(labels), dtype=np.int64)
    counts[by_label] = np.arange(len(labels)) - starts[labels[by_label]] + 1
    return counts

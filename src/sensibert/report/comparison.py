"""The comparison of all methods, and the tests of its differences, as data frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from sensibert.analysis.statistics import mcnemar, paired_difference, spread
from sensibert.config.grid import DENSE_BUDGET, Cell, Point
from sensibert.config.methods import METHODS
from sensibert.results import Deployed, Effort, Result

COLUMNS = (
    "task", "method", "budget", "metric", "mean", "std", "n", "vs_magnitude", "vs_full",
    "prunable_kept", "trainable_parameters", "stored_parameters", "total_parameters",
    "extra_passes", "relative_time", "relative_fine_tuning_time", "peak_memory",
    "model_bytes", "latency_ms", "int8_bytes", "int8_latency_ms", "int8_mean",
)  # fmt: skip
"""Columns of the comparison table.

`method` is a criterion or a tuning method, `metric` the task's primary metric; `mean` and `std` are over
the `n` seeds; `vs_magnitude` and `vs_full` are mean differences over shared seeds, to the criterion
`magnitude` at the same budget and to dense `full` fine-tuning; `stored_parameters` are those that a task needs on top
of a shared backbone; `extra_passes` over the training data come before fine-tuning; `relative_time` is the time from
the pre-trained to the tuned model, relative to `full` on the same task, and `relative_fine_tuning_time` that of the
fine-tuning alone; `peak_memory` is the most bytes that the fine-tuning held at once. Latencies are of one
text of the task's mean length; `int8_mean` is the primary metric of the INT8 export. Costs are means over the
seeds, latencies and exports over the deployed ones. Cells that do not apply are empty.
"""

TEST_COLUMNS = ("task", "method", "budget", "versus", "difference", "n", "test", "p_value")
"""Columns of the table of tests; `p_value` is not corrected for the number of comparisons."""

BASELINE_CRITERION = "magnitude"
REFERENCE_TUNING = "full"
REFERENCE = (REFERENCE_TUNING, DENSE_BUDGET)
"""Method and budget of the dense model that all others are compared with."""


Points = Mapping[Point, Mapping[int, Result]]
"""The results of each point by seed, in the order of the rows."""


def comparison_table(
    results: Sequence[Result], efforts: Mapping[Cell, Effort], deployed: Sequence[Deployed] = ()
) -> pd.DataFrame:
    """Primary metric and cost of every method at every budget.

    Args:
        results: the outcome of every cell of the grid, in grid order.
        efforts: time and memory of the fine-tuning of each cell.
        deployed: how the deployed cells do in each runtime.

    Returns:
        One row per task, method and budget with the columns `COLUMNS`: per task the dense methods, then the
        criteria from the largest budget to the smallest.
    """
    points = _points(results)
    rows = [_row(point, points, efforts) | _deployment(point, points, deployed) for point in points]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def significance_table(results: Sequence[Result], correct: Mapping[Cell, np.ndarray]) -> pd.DataFrame:
    """Test every difference that the comparison table shows.

    Over several seeds with a paired t-test; for one seed with an exact McNemar test on the examples.

    Args:
        results: the outcome of every cell of the grid, in grid order.
        correct: cell -> [examples], whether each example is answered correctly. Used for one seed only;
            a cell that is missing (a regression task has no right or wrong) is not tested.

    Returns:
        One row per difference with the columns `TEST_COLUMNS`.
    """
    points = _points(results)
    rows = []
    for point in points:
        for versus in (_baseline(point), _reference(point)):
            if versus is None or versus == point or versus not in points:
                continue
            difference = paired_difference(_primary(points[point]), _primary(points[versus]))
            test, p_value = "paired t-test", difference.p_value
            if difference.n == 1:
                test, p_value = "exact McNemar", _mcnemar(points[point], points[versus], correct)
            rows.append((*point, versus.method, difference.mean, difference.n, test, p_value))
    return pd.DataFrame(rows, columns=list(TEST_COLUMNS))


def _points(results: Sequence[Result]) -> Points:
    grouped: dict[Point, dict[int, Result]] = {}
    for result in results:
        grouped.setdefault(Point(result.task, result.method, result.budget), {})[result.seed] = result
    tasks = list(dict.fromkeys(point.task for point in grouped))

    def place(point: Point) -> tuple[int, bool, float]:
        return tasks.index(point.task), _is_pruned(point), -point.budget

    # The sort is stable: methods stay in the order of the grid.
    return {point: grouped[point] for point in sorted(grouped, key=place)}


def _is_pruned(point: Point) -> bool:
    return METHODS[point.method].budget == "kept"


def _baseline(point: Point) -> Point | None:
    return point._replace(method=BASELINE_CRITERION) if _is_pruned(point) else None


def _reference(point: Point) -> Point:
    return Point(point.task, REFERENCE_TUNING, DENSE_BUDGET)


def _row(point: Point, points: Points, efforts: Mapping[Cell, Effort]) -> dict[str, object]:
    of_seed = points[point]
    measured = spread(list(_primary(of_seed).values()))
    costs = [result.cost for result in of_seed.values()]
    reference = points.get(_reference(point))
    return {
        **point._asdict(),
        "metric": next(iter(of_seed.values())).primary_metric,
        **measured._asdict(),
        "vs_magnitude": _difference(point, _baseline(point), points),
        "vs_full": _difference(point, _reference(point), points),
        "prunable_kept": _mean(cost.prunable_kept for cost in costs),
        "trainable_parameters": round(_mean(cost.trainable_parameters for cost in costs)),
        "stored_parameters": round(_mean(cost.stored_parameters for cost in costs)),
        "total_parameters": round(_mean(cost.total_parameters for cost in costs)),
        "extra_passes": _mean(cost.extra_passes for cost in costs),
        "relative_time": _relative_time(of_seed, reference or {}, efforts, lambda effort: effort.total_seconds),
        "relative_fine_tuning_time": _relative_time(of_seed, reference or {}, efforts, lambda effort: effort.seconds),
        "peak_memory": _mean(efforts[result.cell].peak_memory or math.nan for result in of_seed.values()),
    }


def _deployment(point: Point, points: Points, deployed: Sequence[Deployed]) -> dict[str, float]:
    """Size and latency, and the same for INT8."""
    results = points[point].values()
    own = [entry for entry in deployed if Point(entry.task, entry.method, entry.budget) == point]
    torch = [entry for entry in own if entry.runtime == "torch"]
    int8 = [entry for entry in own if entry.runtime == "onnx-int8"]
    metric = next(iter(results)).primary_metric
    return {
        "model_bytes": _mean(result.cost.model_bytes for result in results),
        "latency_ms": _mean(1000 * entry.seconds["1"] for entry in torch),
        "int8_bytes": _mean(entry.file_bytes for entry in int8),
        "int8_latency_ms": _mean(1000 * entry.seconds["1"] for entry in int8),
        "int8_mean": _mean(entry.metrics[metric] for entry in int8),
    }


def _mean(values: Iterable[float]) -> float:
    """Mean of the values; NaN if there are none."""
    found = list(values)
    return float(np.mean(found)) if found else math.nan


def _primary(of_seed: Mapping[int, Result]) -> dict[int, float]:
    return {seed: result.primary for seed, result in of_seed.items()}


def _relative_time(
    ours: Mapping[int, Result],
    theirs: Mapping[int, Result],
    efforts: Mapping[Cell, Effort],
    seconds: Callable[[Effort], float],
) -> float:
    """Mean over the seeds for which both times are known."""
    times = [(seconds(efforts[ours[seed].cell]), seconds(efforts[theirs[seed].cell])) for seed in ours.keys() & theirs]
    known = np.array([pair for pair in times if not any(map(math.isnan, pair))])
    return float(np.divide(*known.mean(axis=0))) if len(known) else math.nan


def _difference(point: Point, versus: Point | None, points: Points) -> float:
    if versus is None or versus not in points:
        return math.nan
    return paired_difference(_primary(points[point]), _primary(points[versus])).mean


def _mcnemar(ours: Mapping[int, Result], theirs: Mapping[int, Result], correct: Mapping[Cell, np.ndarray]) -> float:
    (seed,) = ours.keys() & theirs.keys()
    cells = ours[seed].cell, theirs[seed].cell
    return mcnemar(*(correct[cell] for cell in cells)) if all(cell in correct for cell in cells) else math.nan

"""The results in a few numbers, as `dvc metrics` and `dvc exp` show them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from sensibert.config.methods import METHODS


def summary(table: pd.DataFrame) -> dict[str, Any]:
    """The mean of the primary metric of every method: task -> method -> budget, if it has one.

    DVC shows every number as a column of its own, so there are no more of them, and the only task of a grid is not
    named. Deviations, latencies and sizes are in table.csv.

    Args:
        table: The comparison (`comparison.COLUMNS`).
    """
    tasks = {str(task): _of_task(rows) for task, rows in table.groupby("task", sort=False)}
    return tasks if len(tasks) > 1 else next(iter(tasks.values()))


def _of_task(rows: pd.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for method, budget, mean in zip(rows["method"], rows["budget"], rows["mean"], strict=True):
        if METHODS[method].budget is None:
            found[method] = round(mean, 2)
        else:
            found.setdefault(method, {})[str(budget)] = round(mean, 2)
    return found

"""The metric of every method: curves over the budgets, or sorted dots where there is one budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from sensibert.config.methods import METHODS
from sensibert.report.curves import curve_figure
from sensibert.report.dots import dot_figure
from sensibert.report.figures import Picture, write_picture
from sensibert.results import Result

CURVE_COLUMNS = ("task", "method", "budget", "seed", "metric", "value")
"""Columns of budget_curve.csv: one row per cell; `metric` names the primary metric, `value` is its value."""


def write_budget_curve(results: Sequence[Result], folder: Path) -> None:
    """Write the metric of every method at every budget as budget_curve.csv, .svg and .png.

    Args:
        results: the outcome of every cell of the grid, in grid order.
        folder: where the files go.
    """
    write_picture(BUDGET_CURVE, curve_table(results), folder)


def curve_table(results: Sequence[Result]) -> pd.DataFrame:
    """The primary metric of every cell, with the columns `CURVE_COLUMNS`."""
    rows = [(*result.cell, result.primary_metric, round(result.primary, 6)) for result in results]
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def budget_figure(curve: pd.DataFrame) -> Figure:
    """The metric against the budget; sorted dots if there is only one budget to prune to."""
    pruned = curve[curve["method"].map(lambda method: METHODS[method].budget == "kept")]
    return curve_figure(curve) if pruned["budget"].nunique() > 1 else dot_figure(curve)


BUDGET_CURVE = Picture("budget_curve", "budget_curve", budget_figure)

"""The searches for peak rates: what every rate reached on the dev split, as a table and as curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from sensibert.analysis.statistics import spread
from sensibert.config.grid import Point
from sensibert.config.methods import METHODS
from sensibert.data.tasks import TASKS
from sensibert.report.labels import TIMES, metric_label
from sensibert.report.plots import COLOURS, INK, MARKERS, headline, write_csv, write_figure
from sensibert.results import WORST_METRIC, RateCurve

RATE_COLUMNS = ("task", "method", "budget", "learning_rate", "metric", "mean", "std", "n", "chosen")
"""Columns of rates.csv: one row per rate that was tried; `mean` and `std` over `n` seeds are of the primary metric on
the dev split, empty where a training diverged."""

_COLUMNS = 4


def write_rates(curves: Mapping[Point, RateCurve], folder: Path) -> None:
    """Write every rate that was tried as rates.csv and rates.svg."""
    table = rate_table(curves)
    write_csv(table, folder / "rates.csv")
    write_figure(rate_figure, table, folder / "rates.svg")


def rate_table(curves: Mapping[Point, RateCurve]) -> pd.DataFrame:
    """What every searched rate reached, with the columns `RATE_COLUMNS`; no row for a rate that was given."""
    rows = []
    for point, curve in curves.items():
        for tried in curve.tried:
            values = tried.dev if WORST_METRIC not in tried.dev else [np.nan]
            chosen = tried.learning_rate == curve.learning_rate
            metric = TASKS[point.task].primary_metric
            rows.append((*point, tried.learning_rate, metric, *spread(values), chosen))
    return pd.DataFrame(rows, columns=list(RATE_COLUMNS))


def rate_figure(rates: pd.DataFrame) -> Figure:
    """Dev metric against the rate: one panel per task and method, one line per budget, a ring around the choice."""
    panels = list(rates.groupby(["task", "method"], sort=False))
    columns = min(_COLUMNS, max(1, len(panels)))
    rows = max(1, -(-len(panels) // columns))
    figure = Figure(figsize=(2.6 * columns, 2.3 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, ((task, method), of_method) in zip(axes, panels, strict=False):
        _draw_panel(panel, of_method)
        panel.set_title(f"{task}: {METHODS[str(method)].title}", fontsize=9)
    for panel in axes[len(panels) :]:
        panel.remove()
    what = "Peak rates, mean ± standard deviation on the dev split" if panels else "No rate was searched"
    headline(figure, what)
    return figure


def _draw_panel(panel: Axes, rates: pd.DataFrame) -> None:
    budgets = list(rates.groupby("budget", sort=False))
    for place, (budget, curve) in enumerate(budgets):
        label = f"{budget:g}{TIMES}" if METHODS[curve["method"].iloc[0]].budget == "kept" else f"{budget:.2%}"
        panel.errorbar(
            curve["learning_rate"],
            curve["mean"],
            yerr=curve["std"].fillna(0),
            color=COLOURS[place % len(COLOURS)],
            marker=MARKERS[place % len(MARKERS)],
            markersize=4,
            linewidth=1.4,
            capsize=2,
            label=label,
        )
        chosen = curve[curve["chosen"]]
        panel.plot(chosen["learning_rate"], chosen["mean"], "o", markersize=10, fillstyle="none", color=INK)
    panel.set_xscale("log", base=2)
    ticks = sorted(rates["learning_rate"].unique())
    panel.set_xticks(ticks[:: 1 + len(ticks) // 5])
    panel.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:.0e}".replace("e-0", "e-")))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_ylabel(metric_label(rates["metric"].iloc[0]), fontsize=8)
    panel.grid(axis="y")
    if len(budgets) > 1:
        panel.legend(fontsize=7, frameon=False)

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
from sensibert.report.figures import INK, Picture, fitting, headline, in_order, look, panels_of, title, write_picture
from sensibert.report.labels import budget_label, metric_label
from sensibert.results import WORST_METRIC, RateCurve

RATE_COLUMNS = ("task", "method", "budget", "learning_rate", "metric", "mean", "std", "n", "chosen")
"""Columns of rates.csv: one row per rate that was tried; `mean` and `std` over `n` seeds are of the primary metric on
the dev split, empty where a training diverged."""

_WIDTH = 2.75
"""Inches of a panel."""


def write_rates(curves: Mapping[Point, RateCurve], folder: Path) -> None:
    """Write every rate that was tried as rates.csv, rates.svg and rates.png; nothing if all rates were given."""
    write_picture(RATES, rate_table(curves), folder)


def rate_table(curves: Mapping[Point, RateCurve]) -> pd.DataFrame:
    """What every searched rate reached, with the columns `RATE_COLUMNS`; no row for a rate that was given."""
    rows = []
    for point, curve in curves.items():
        for tried in curve.tried:
            values = tried.dev if WORST_METRIC not in tried.dev else [np.nan]
            chosen = tried.learning_rate == curve.learning_rate
            metric = TASKS[point.task].primary_metric
            mean, std, seeds = spread(values)
            rows.append((*point, tried.learning_rate, metric, round(mean, 6), round(std, 6), seeds, chosen))
    return pd.DataFrame(rows, columns=list(RATE_COLUMNS))


def rate_figure(rates: pd.DataFrame) -> Figure:
    """Dev metric against the rate: one panel per task and method, one line per budget, a ring around the choice.

    Args:
        rates: `RATE_COLUMNS`.
    """
    curves = list(rates.groupby(["task", "method"], sort=False))
    figure, panels = panels_of(len(curves), fitting(len(curves), _WIDTH), (_WIDTH, 2.4))
    for panel, ((task, method), of_method) in zip(panels, curves, strict=True):
        _draw_panel(panel, of_method)
        title(panel, f"{task}, {METHODS[str(method)].title}", _WIDTH - 0.6)
    headline(figure, "Peak rates, mean ± standard deviation on the dev split")
    return figure


def _draw_panel(panel: Axes, rates: pd.DataFrame) -> None:
    method = rates["method"].iloc[0]
    for place, budget in enumerate(in_order(rates["budget"])):
        curve, (colour, marker) = rates[rates["budget"] == budget], look(place)
        panel.errorbar(
            curve["learning_rate"],
            curve["mean"],
            yerr=curve["std"].fillna(0),
            color=colour,
            marker=marker,
            markersize=4,
            linewidth=1.4,
            capsize=2,
            label=budget_label(method, budget),
        )
        chosen = curve[curve["chosen"]]
        panel.plot(chosen["learning_rate"], chosen["mean"], "o", markersize=10, fillstyle="none", color=INK)
    panel.set_xscale("log", base=2)
    ticks = sorted(rates["learning_rate"].unique())
    panel.set_xticks(ticks[:: 1 + len(ticks) // 5])
    panel.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:.0e}".replace("e-0", "e-")))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("Peak learning rate")
    panel.set_ylabel(metric_label(rates["metric"].iloc[0]))
    panel.grid(axis="y")
    if rates["budget"].nunique() > 1:
        panel.legend(fontsize=7)


RATES = Picture("rates", "rates", rate_figure)

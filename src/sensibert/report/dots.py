"""One budget, many methods: a row for each, the best on top."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sensibert.analysis.statistics import Spread, spread
from sensibert.config.methods import METHODS
from sensibert.report.comparison import REFERENCE
from sensibert.report.figures import INK, Look, fitting, headline, in_order, measured, panels_of, title
from sensibert.report.labels import metric_label, point_label

_ROW = 0.21
"""Inches from one method to the next."""
_LETTER = 0.078
"""Inches of a letter of a name, at most."""

_KINDS = {
    "tuning": ("dense", Look("#767676", "D")),
    "peft": ("dense, trained in part", Look("#009E73", "^")),
    "criterion": ("pruned in one cut", Look("#D55E00", "o")),
    "control": ("control", Look("#E69F00", "v")),
    "procedure": ("pruned by a procedure", Look("#0072B2", "s")),
}
"""Kind of a method -> what the legend calls it, and how its dots look."""


def dot_figure(curve: pd.DataFrame) -> Figure:
    """The metric of every method as a dot with its interval: one panel per task, one row per method and budget.

    The rows are the same in all panels, sorted by the mean over the tasks.

    Args:
        curve: The metric of every cell (`plots.CURVE_COLUMNS`).
    """
    tasks, points = in_order(curve["task"]), _best_first(curve)
    names = [point_label(method, budget) for method, budget in points]
    width, margin = (4.6 if len(tasks) == 1 else 2.7), max(map(len, names)) * _LETTER
    columns = fitting(len(tasks), width, margin)
    figure, panels = panels_of(len(tasks), columns, (width, _ROW * (len(points) + 1) + 1.0), margin, sharey=True)
    for panel, task in zip(panels, tasks, strict=True):
        _draw(panel, curve[curve["task"] == task], points)
        title(panel, task, width)
    panels[0].set_ylim(len(points) - 0.4, -0.6)
    panels[0].set_yticks(range(len(points)), names)
    headline(figure, f"Metric after fine-tuning{measured(curve)}")
    kinds = [kind for kind in _KINDS if kind in {METHODS[method].kind for method, _ in points}]
    dots = [Line2D([], [], **_dot(kind), label=_KINDS[kind][0]) for kind in kinds]
    figure.legend(handles=dots, loc="outside lower left", ncols=len(dots) if len(tasks) > 1 else 3, handletextpad=0.2)
    return figure


def _best_first(curve: pd.DataFrame) -> list[tuple[str, float]]:
    """The methods with their budgets, by the mean over the tasks of their mean over the seeds."""
    of_tasks = curve.groupby(["task", "method", "budget"], sort=False)["value"].mean()
    means = of_tasks.groupby(["method", "budget"], sort=False).mean()
    return list(means.sort_values(ascending=False, kind="stable").index)


def _draw(panel: Axes, curve: pd.DataFrame, points: list[tuple[str, float]]) -> None:
    values = {point: of_point["value"] for point, of_point in curve.groupby(["method", "budget"])}
    found = {row: spread(values[point].tolist()) for row, point in enumerate(points) if point in values}
    for kind in _KINDS:
        if rows := [row for row in found if METHODS[points[row][0]].kind == kind and points[row] != REFERENCE]:
            _draw_rows(panel, {row: found[row] for row in rows}, **_dot(kind))
    if REFERENCE in values:
        row = points.index(REFERENCE)
        mean, std, seeds = found[row]
        if seeds > 1:
            panel.axvspan(mean - std, mean + std, color="#9A9A9A", alpha=0.2, linewidth=0)
        panel.axvline(mean, color=INK, linewidth=1)
        _draw_rows(panel, {row: found[row]}, **_dot("tuning") | {"color": INK})
    panel.set_xlabel(metric_label(curve["metric"].iloc[0]))
    panel.grid(axis="x")
    panel.tick_params(axis="y", length=0)


def _draw_rows(panel: Axes, found: dict[int, Spread], **dot: Any) -> None:
    """Dots with their intervals; one seed has none."""
    means, stds = [of_row.mean for of_row in found.values()], [of_row.std for of_row in found.values()]
    panel.errorbar(means, list(found), xerr=stds, elinewidth=1.2, capsize=2.5, zorder=3, **dot)


def _dot(kind: str) -> dict[str, Any]:
    colour, marker = _KINDS[kind][1]
    return {"color": colour, "marker": marker, "markersize": 6, "markeredgecolor": "white", "linestyle": "none"}

"""Several budgets: a curve for each method, from the dense model on the left to the smallest budget on the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count, pairwise

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from sensibert.analysis.statistics import spread
from sensibert.config.grid import DENSE_BUDGET
from sensibert.config.methods import METHODS
from sensibert.report.comparison import REFERENCE
from sensibert.report.figures import INK, MARKERS, Look, fitting, headline, in_order, look, measured, panels_of, title
from sensibert.report.labels import TIMES, metric_label, point_label
from sensibert.report.names import name_beside, room_for_names, spread_names

Series = tuple[str, float | None]
"""A method, and its budget if that is not what the axis shows."""

_STROKES = {"criterion": "-", "control": ":", "procedure": "--"}


def curve_figure(curve: pd.DataFrame) -> Figure:
    """Metric against budget: one panel per task, one curve per pruning method, one line per dense model.

    The budget shrinks to the right, where the curves diverge and where their names are. Dense models stand at 1.0.

    Args:
        curve: The metric of every cell (`plots.CURVE_COLUMNS`).
    """
    tasks, looks = in_order(curve["task"]), _looks(curve)
    beside, tall = room_for_names([_name(*series) for series in looks])
    size = (3.9 + beside, 0.6 + max(2.7, tall))
    figure, panels = panels_of(len(tasks), fitting(len(tasks), size[0]), size)
    for panel, task in zip(panels, tasks, strict=True):
        _draw(panel, curve[curve["task"] == task], looks)
        title(panel, task, size[0])
    headline(figure, f"Metric after fine-tuning{measured(curve)}")
    figure.supxlabel(f"Budget: kept fraction; dense is 1.0{TIMES}", fontsize=9)
    spread_names(figure)
    return figure


def _looks(curve: pd.DataFrame) -> dict[Series, Look]:
    """The look of every series; dense full fine-tuning, to which all others compare, is black."""
    places = count()
    return {
        series: Look(INK, "o") if series == REFERENCE else look(next(places))
        for series in in_order(map(_series, curve["method"], curve["budget"]))
    }


def _series(method: str, budget: float) -> Series:
    return method, None if METHODS[method].budget == "kept" else budget


def _name(method: str, budget: float | None) -> str:
    return METHODS[method].title if budget is None else point_label(method, budget)


def _draw(panel: Axes, curve: pd.DataFrame, looks: Mapping[Series, Look]) -> None:
    pruned = curve[curve["method"].map(lambda method: METHODS[method].budget == "kept")]
    budgets = sorted({DENSE_BUDGET, *pruned["budget"]})
    margin = 0.06 * (budgets[-1] - budgets[0])
    panel.set_xlim(budgets[-1] + margin, budgets[0] - margin)
    panel.set_xticks(budgets)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda budget, _: f"{budget}{TIMES}"))
    panel.tick_params(axis="x", rotation=45 if _are_dense(budgets) else 0)
    panel.set_ylabel(metric_label(curve["metric"].iloc[0]))
    panel.grid(axis="y")

    for place, (series, of_series) in enumerate(looks.items()):
        # A small sideways shift keeps error bars at the same budget apart.
        shift = (place - (len(looks) - 1) / 2) * 0.7 * margin / len(looks)
        rows = [_series(*row) == series for row in zip(curve["method"], curve["budget"], strict=True)]
        if any(rows):
            _draw_series(panel, series, curve[rows], of_series, shift)


def _are_dense(budgets: Sequence[float]) -> bool:
    """Whether the names of neighbouring budgets would touch."""
    nearest = min(after - before for before, after in pairwise(budgets))
    return nearest < 0.13 * (budgets[-1] - budgets[0])


def _draw_series(panel: Axes, series: Series, values: pd.DataFrame, own: Look, shift: float) -> None:
    method, fixed = series
    at_dense = values.assign(budget=DENSE_BUDGET) if fixed is not None else values
    budgets = sorted(at_dense["budget"].unique())
    spreads = [spread(at_dense.loc[at_dense["budget"] == budget, "value"].tolist()) for budget in budgets]
    last = spreads[0]
    if fixed is not None:
        panel.axhline(last.mean, color=own.colour, linewidth=1.4 if series == REFERENCE else 0.8, zorder=2)
    if series == REFERENCE and last.n > 1:
        panel.axhspan(last.mean - last.std, last.mean + last.std, color="#9A9A9A", alpha=0.2, linewidth=0)
    panel.errorbar(
        [budget + shift for budget in budgets],
        [found.mean for found in spreads],
        yerr=[found.std for found in spreads],
        color=own.colour,
        marker=own.marker,
        markersize=6,
        markeredgecolor="white",
        markeredgewidth=0.4,
        linewidth=1.8,
        linestyle=_STROKES.get(METHODS[method].kind, "none"),
        elinewidth=1.1,
        capsize=2.5,
        zorder=3,
    )
    name, weight = f"{MARKERS[own.marker]} {_name(*series)}", "bold" if series == REFERENCE else "normal"
    name_beside(panel, name, last.mean, own.colour, weight)

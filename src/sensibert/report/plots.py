"""The plots of the report, as svg files with real text; equal data gives equal bytes.

Everything is drawn with matplotlib's objects and never with pyplot: no window, no global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter
from scipy.optimize import isotonic_regression

from sensibert.analysis.statistics import spread
from sensibert.config.grid import Cell
from sensibert.config.methods import METHODS, names
from sensibert.io import replacing
from sensibert.models.mask import Mask
from sensibert.report.comparison import REFERENCE_TUNING
from sensibert.report.labels import TIMES, metric_label, words
from sensibert.results import Result

CURVE_COLUMNS = ("task", "method", "budget", "seed", "metric", "value")
"""Columns of budget_curve.csv: one row per cell; `metric` names the primary metric, `value` is its value."""

KEPT_COLUMNS = ("task", "criterion", "budget", "layer", "group", "kept")
"""Columns of kept_dimensions.csv; `kept` is the kept fraction of the group's dimensions, the mean over seeds."""

# The palette of Okabe and Ito (2008), which colour-blind readers can tell apart, and a grey.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#767676", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ((0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 3)), (0, (8, 2)))
INK = "#222222"
_MUTED = "#666666"
_PRUNED = names("criterion", "control", "procedure")
_DENSE = tuple(name for name in names("tuning", "peft") if name != REFERENCE_TUNING)
_NAME_OFFSET = 14
"""Points between the panel and the names of its lines."""

_STYLE: list[str | dict[str, Any]] = [
    # The reader's own matplotlibrc must have no effect.
    "default",
    {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
        "font.size": 9,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelcolor": INK,
        "axes.edgecolor": _MUTED,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": "#E4E4E4",
        "grid.linewidth": 0.8,
        "xtick.color": _MUTED,
        "ytick.color": _MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "text.color": INK,
        "figure.constrained_layout.w_pad": 0.08,
        "figure.constrained_layout.h_pad": 0.08,
        "svg.fonttype": "none",
        "svg.hashsalt": "sensibert",
    },
]


def write_budget_curve(results: Sequence[Result], folder: Path) -> None:
    """Write the metric against the budget as budget_curve.csv and budget_curve.svg.

    Args:
        results: the outcome of every cell of the grid, in grid order.
        folder: where the files go.
    """
    curve = curve_table(results)
    write_csv(curve, folder / "budget_curve.csv")
    write_figure(budget_figure, curve, folder / "budget_curve.svg")


def write_kept_dimensions(masks: Mapping[Cell, Mask], folder: Path) -> None:
    """Write what each layer and group keeps as kept_dimensions.csv and kept_dimensions.svg."""
    kept = kept_table(masks)
    write_csv(kept, folder / "kept_dimensions.csv")
    write_figure(kept_figure, kept, folder / "kept_dimensions.svg")


def write_stability_matrix(matrices: Mapping[tuple[str, str], pd.DataFrame], folder: Path) -> None:
    """Write the Spearman matrices (`stability.spearman_matrix`) of each task and criterion as stability.svg."""
    write_figure(matrix_figure, matrices, folder / "stability.svg")


def curve_table(results: Sequence[Result]) -> pd.DataFrame:
    """The primary metric of every cell, with the columns `CURVE_COLUMNS`."""
    rows = [(*result.cell, result.primary_metric, result.primary) for result in results]
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def kept_table(masks: Mapping[Cell, Mask]) -> pd.DataFrame:
    """What each layer and group keeps, with the columns `KEPT_COLUMNS`."""
    rows = [
        (cell.task, cell.method, cell.budget, key.layer, key.group, float(keep.mean()))
        for cell, mask in masks.items()
        for key, keep in mask.keep.items()
    ]
    table = pd.DataFrame(rows, columns=list(KEPT_COLUMNS))
    return table.groupby(list(KEPT_COLUMNS[:-1]), sort=False)["kept"].mean().reset_index()


def budget_figure(curve: pd.DataFrame) -> Figure:
    """Metric against budget: one panel per task, one line per criterion, the dense model as a band.

    The budget shrinks to the right, where the lines diverge and where their names are.
    """
    tasks = list(dict.fromkeys(curve["task"]))
    columns = 2 if len(tasks) == 4 else min(3, len(tasks))
    rows = -(-len(tasks) // columns)
    longest_name = max(len(_line_name(method)) for method in curve["method"])
    figure = Figure(figsize=((3.6 + 0.08 * longest_name) * columns, 3.2 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, task in zip(panels, tasks, strict=False):
        _draw_budget_panel(panel, curve[curve["task"] == task])
        panel.set_title(task)
    for panel in panels[len(tasks) :]:
        panel.remove()
    seeds = curve["seed"].nunique()
    headline(figure, "Metric after fine-tuning" + (f", mean ± standard deviation of {seeds} seeds" * (seeds > 1)))
    figure.supxlabel("Budget: kept fraction of the prunable parameters", fontsize=9)
    # The names next to the lines are placed by the final heights of the lines.
    figure.draw_without_rendering()
    for panel in figure.axes:
        _spread_names(panel, points=72 / figure.dpi)
    return figure


def _draw_budget_panel(panel: Axes, curve: pd.DataFrame) -> None:
    pruned = curve[curve["method"].map(lambda method: method in _PRUNED)]
    dense = curve.drop(pruned.index)
    budgets = sorted(pruned["budget"].unique())
    margin = max(0.06 * (budgets[-1] - budgets[0]), 0.02)
    panel.set_xlim(budgets[-1] + margin, budgets[0] - margin)
    panel.set_xticks(budgets)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda budget, _: f"{budget:g}{TIMES}"))
    panel.set_ylabel(metric_label(curve["metric"].iloc[0]))
    panel.grid(axis="y")

    criteria = list(dict.fromkeys(pruned["method"]))
    for place, criterion in enumerate(criteria):
        # A small sideways shift keeps error bars at the same budget apart.
        shift = (place - (len(criteria) - 1) / 2) * 0.12 * margin
        _draw_criterion(panel, criterion, pruned[pruned["method"] == criterion], shift)
    for (method, budget), rows in dense.groupby(["method", "budget"], sort=False):
        share = f" {budget:.2%}" if METHODS[str(method)].budget == "trained" else ""
        _draw_dense(panel, str(method), share, rows["value"].tolist())


def _draw_criterion(panel: Axes, criterion: str, rows: pd.DataFrame, shift: float) -> None:
    place = _PRUNED.index(criterion)
    colour = COLOURS[place % len(COLOURS)]
    budgets = sorted(rows["budget"].unique())
    spreads = [spread(rows.loc[rows["budget"] == budget, "value"].tolist()) for budget in budgets]
    panel.errorbar(
        [budget + shift for budget in budgets],
        [measured.mean for measured in spreads],
        yerr=[measured.std for measured in spreads],
        color=colour,
        marker=MARKERS[place % len(MARKERS)],
        markersize=5.5,
        markeredgecolor="white",
        markeredgewidth=0.7,
        linewidth=1.8,
        linestyle={"criterion": "-", "control": ":"}.get(METHODS[criterion].kind, "--"),
        elinewidth=1.1,
        capsize=2.5,
        zorder=3,
    )
    _name_line(panel, _line_name(criterion), spreads[0].mean, colour)


def _draw_dense(panel: Axes, method: str, share: str, values: list[float]) -> None:
    measured = spread(values)
    if method == REFERENCE_TUNING:
        if measured.n > 1:
            low, high = measured.mean - measured.std, measured.mean + measured.std
            panel.axhspan(low, high, color="#9A9A9A", alpha=0.3, linewidth=0)
        panel.axhline(measured.mean, color=INK, linewidth=1.4)
        _name_line(panel, _line_name(method), measured.mean, INK, weight="bold")
    else:
        dashes = _DASHES[_DENSE.index(method) % len(_DASHES)]
        panel.axhline(measured.mean, color=_MUTED, linewidth=1.3, linestyle=dashes)
        _name_line(panel, _line_name(method) + share, measured.mean, _MUTED)


def _line_name(method: str) -> str:
    title = METHODS[method].title
    return title if method in _PRUNED else f"dense, {title}"


def _name_line(panel: Axes, name: str, height: float, colour: str, weight: str = "normal") -> None:
    """Name a line at the right of the panel, in its colour, and join the two."""
    panel.annotate(
        name,
        xy=(1, height),
        xycoords=panel.get_yaxis_transform(),
        xytext=(_NAME_OFFSET, 0),
        textcoords="offset points",
        va="center",
        color=colour,
        weight=weight,
        fontsize=8.5,
        annotation_clip=False,
        arrowprops={
            "arrowstyle": "-",
            "color": colour,
            "linewidth": 0.7,
            "relpos": (0, 0.5),
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )


def _spread_names(panel: Axes, points: float) -> None:
    """Move the names next to a panel up and down until none overlap; `points` is the size of a pixel in points."""
    names = sorted((text for text in panel.texts if isinstance(text, Annotation)), key=lambda name: name.xy[1])
    heights = [float(panel.transData.transform((0, name.xy[1]))[1]) * points for name in names]
    for name, height, free in zip(names, heights, spaced(heights, gap=10.5), strict=True):
        name.set_position((_NAME_OFFSET, free - height))


def spaced(heights: Sequence[float], gap: float) -> list[float]:
    """The nearest heights (least squares) with at least `gap` between neighbours.

    Args:
        heights: in ascending order.
        gap: the smallest distance allowed.
    """
    # With k gaps taken off the k-th height, "a gap apart" is "ascending": isotonic regression.
    gaps = gap * np.arange(len(heights))
    flat = isotonic_regression(np.asarray(heights) - gaps).x if len(heights) else gaps
    return list(map(float, flat + gaps))


def kept_figure(kept: pd.DataFrame) -> Figure:
    """Percent of the dimensions that each layer keeps: tasks below each other, criteria side by side."""
    tasks, criteria = (list(dict.fromkeys(kept[column])) for column in ("task", "criterion"))
    layers = kept["layer"].nunique()
    lines = kept.groupby(["budget", "group"]).ngroups
    size = (len(criteria) * (0.42 * layers + 0.2) + 1.5, len(tasks) * (0.32 * lines + 0.65) + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(tasks), len(criteria), squeeze=False, sharey=True)
    for of_task, task in zip(panels, tasks, strict=True):
        for panel, criterion in zip(of_task, criteria, strict=True):
            _draw_kept_panel(panel, kept[(kept["task"] == task) & (kept["criterion"] == criterion)])
            panel.set_title(f"{task}: {METHODS[criterion].title}")
    headline(figure, "Kept dimensions in percent, mean over the seeds")
    figure.supxlabel("Layer", fontsize=9)
    return figure


def _draw_kept_panel(panel: Axes, kept: pd.DataFrame) -> None:
    grid = kept.pivot(index=["budget", "group"], columns="layer", values="kept").sort_index(ascending=[False, True])
    _heat_map(panel, 100 * grid.to_numpy(), highest=100, text="{:.0f}")
    panel.set_xticks(range(grid.shape[1]), [str(layer) for layer in grid.columns])
    panel.set_yticks(range(grid.shape[0]), [f"{budget}{TIMES} {words(group)}" for budget, group in grid.index])
    groups = grid.index.get_level_values("group").nunique()
    for edge in range(groups, len(grid), groups):
        panel.axhline(edge - 0.5, color="white", linewidth=4)


def matrix_figure(matrices: Mapping[tuple[str, str], pd.DataFrame]) -> Figure:
    """Spearman correlation of each pair of scoring passes: tasks below each other, criteria side by side."""
    tasks, criteria = (list(dict.fromkeys(names)) for names in zip(*matrices, strict=True))
    runs = max(len(matrix) for matrix in matrices.values())
    size = (len(criteria) * (0.5 * runs + 0.4) + 1.2, len(tasks) * (0.5 * runs + 0.4) + 1.5)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(tasks), len(criteria), squeeze=False, sharex=True, sharey=True)
    for (task, criterion), matrix in matrices.items():
        panel = panels[tasks.index(task), criteria.index(criterion)]
        _heat_map(panel, matrix.to_numpy(), highest=1, text="{:.2f}")
        panel.set_xticks(range(len(matrix)), list(matrix.columns), rotation=40, ha="right", rotation_mode="anchor")
        panel.set_yticks(range(len(matrix)), list(matrix.index))
        panel.set_title(f"{task}: {METHODS[criterion].title}")
    headline(figure, "Spearman correlation of the scores of two passes")
    return figure


def _heat_map(panel: Axes, values: np.ndarray, highest: float, text: str) -> None:
    """Draw a matrix as cells that are coloured from 0 to `highest` and show their numbers."""
    # A mesh, because svg files carry images as blurred pixels.
    rows, columns = (np.arange(length + 1) - 0.5 for length in values.shape)
    panel.pcolormesh(columns, rows, values, cmap="YlGnBu", vmin=0, vmax=highest, edgecolors="white", linewidth=1.2)
    panel.set_ylim(rows[-1], rows[0])
    for (row, column), value in np.ndenumerate(values):
        ink = "white" if value > 0.6 * highest else INK
        panel.text(column, row, text.format(value), ha="center", va="center", color=ink, fontsize=8)
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0)


def headline(figure: Figure, text: str) -> None:
    """Say above the panels what they show."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=10, color=_MUTED)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write the numbers behind a plot."""
    with replacing(path) as beside:
        table.round(6).to_csv(beside, index=False, lineterminator="\n")


def write_figure(draw: Any, data: Any, path: Path) -> None:
    """Draw a figure of some data and write it as svg."""
    with style.context(_STYLE), replacing(path) as beside:
        # Without its date and creator the same figure is the same file.
        draw(data).savefig(beside, format="svg", metadata={"Date": None, "Creator": None})

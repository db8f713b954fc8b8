"""Heat maps: what each layer keeps, and whether scoring passes agree."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sensibert.config.grid import Cell
from sensibert.config.methods import METHODS
from sensibert.models.mask import Mask
from sensibert.report.figures import Picture, fitting, headline, heat_map, in_order, panels_of, title, write_picture
from sensibert.report.labels import point_label, words

KEPT_COLUMNS = ("task", "criterion", "budget", "layer", "group", "kept")
"""Columns of kept_dimensions.csv; `kept` is the kept fraction of the group's dimensions, the mean over seeds."""

PAIR_COLUMNS = ("task", "criterion", "run", "other", "spearman")
"""Columns of stability_pairs.csv: one row for each ordered pair of scoring passes."""

_CELL = 0.34
"""Inches of a cell that holds a percentage."""
_LETTER = 0.078
"""Inches of a letter of a name, at most."""


def write_kept_dimensions(masks: Mapping[Cell, Mask], folder: Path) -> None:
    """Write what each layer and group keeps as kept_dimensions.csv, .svg and .png."""
    write_picture(KEPT_DIMENSIONS, kept_table(masks), folder)


def kept_table(masks: Mapping[Cell, Mask]) -> pd.DataFrame:
    """What each layer and group keeps, with the columns `KEPT_COLUMNS`."""
    rows = [
        (cell.task, cell.method, cell.budget, key.layer, key.group, float(keep.mean()))
        for cell, mask in masks.items()
        for key, keep in mask.keep.items()
    ]
    table = pd.DataFrame(rows, columns=list(KEPT_COLUMNS))
    return table.groupby(list(KEPT_COLUMNS[:-1]), sort=False)["kept"].mean().round(6).reset_index()


def kept_figure(kept: pd.DataFrame) -> Figure:
    """Percent of the dimensions that each layer keeps: a panel per task and group, a row per method and budget.

    Args:
        kept: `KEPT_COLUMNS`.
    """
    panels = list(kept.groupby(["task", "group"], sort=False))
    rows = _method_rows(kept)
    names = [point_label(*row) for row in rows]
    width, margin = max(_CELL * kept["layer"].nunique(), 1.6) + 0.2, max(map(len, names)) * _LETTER
    groups = kept["group"].nunique()
    columns = groups if fitting(groups, width, margin) == groups else 1
    figure, axes = panels_of(len(panels), columns, (width, 0.27 * len(rows) + 0.8), margin, sharey=True)
    for panel, ((task, group), of_panel) in zip(axes, panels, strict=True):
        _draw_kept(panel, of_panel, rows)
        title(panel, f"{task}, {words(str(group))}", width)
    axes[0].set_yticks(range(len(rows)), names)
    headline(figure, "Kept dimensions of each layer in percent, mean over the seeds")
    return figure


def _method_rows(kept: pd.DataFrame) -> list[tuple[str, float]]:
    """The methods in the order of the grid, each with its budgets from the largest to the smallest."""
    budgets = sorted(kept["budget"].unique(), reverse=True)
    there = set(zip(kept["criterion"], kept["budget"], strict=True))
    return [row for method in in_order(kept["criterion"]) for budget in budgets if (row := (method, budget)) in there]


def _draw_kept(panel: Axes, kept: pd.DataFrame, rows: list[tuple[str, float]]) -> None:
    grid = kept.pivot(index=["criterion", "budget"], columns="layer", values="kept").reindex(rows)
    heat_map(panel, 100 * grid.to_numpy(), highest=100, text="{:.0f}")
    panel.set_xticks(range(grid.shape[1]), [str(layer) for layer in grid.columns])
    panel.set_xlabel("Layer")
    if len(rows) > len({method for method, _ in rows}):
        for place, ((before, _), (method, _)) in enumerate(pairwise(rows), start=1):
            if method != before:
                panel.axhline(place - 0.5, color="white", linewidth=4)


def write_stability_matrix(matrices: Mapping[tuple[str, str], pd.DataFrame], folder: Path) -> None:
    """Write the Spearman matrices (`stability.spearman_matrices`) as stability_pairs.csv, stability.svg and .png."""
    write_picture(STABILITY, pair_table(matrices), folder)


def pair_table(matrices: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """The correlation of each pair of scoring passes, with the columns `PAIR_COLUMNS`."""
    rows = [
        (*key, run, other, round(float(value), 6))
        for key, matrix in matrices.items()
        for run, of_run in matrix.iterrows()
        for other, value in of_run.items()
    ]
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


def matrix_figure(pairs: pd.DataFrame) -> Figure:
    """Spearman correlation of each pair of scoring passes: a panel per task and criterion.

    Args:
        pairs: `PAIR_COLUMNS`.
    """
    pairs = pairs.astype({"run": str, "other": str})
    panels = list(pairs.groupby(["task", "criterion"], sort=False))
    runs = in_order(pairs["run"])
    side, labels = max(0.5 * len(runs), 1.4), max(map(len, runs)) * _LETTER
    size = (side + 0.2, side + 0.7 * labels + 0.4)
    columns = fitting(len(panels), size[0], margin=labels)
    figure, axes = panels_of(len(panels), columns, size, margin=labels, sharey=True)
    for panel, ((task, criterion), of_panel) in zip(axes, panels, strict=True):
        matrix = of_panel.pivot(index="run", columns="other", values="spearman").reindex(index=runs, columns=runs)
        heat_map(panel, matrix.to_numpy(), highest=1, text="{:.2f}")
        panel.set_xticks(range(len(runs)), runs, rotation=40, ha="right", rotation_mode="anchor")
        title(panel, f"{task}, {METHODS[str(criterion)].title}", side)
    axes[0].set_yticks(range(len(runs)), runs)
    headline(figure, "Spearman correlation of the scores of two passes")
    return figure


KEPT_DIMENSIONS = Picture("kept_dimensions", "kept_dimensions", kept_figure)
STABILITY = Picture("stability", "stability_pairs", matrix_figure)

"""What the deployed models cost and give: accuracy against latency, with the size of the file as area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from sensibert.analysis.statistics import spread
from sensibert.data.tasks import TASKS
from sensibert.report.comparison import REFERENCE
from sensibert.report.figures import (
    MUTED,
    Picture,
    fitting,
    headline,
    in_order,
    look,
    panels_of,
    title,
    write_picture,
)
from sensibert.report.labels import metric_label, point_label
from sensibert.report.names import name_beside, room_for_names, spread_names
from sensibert.results import Deployed

DEPLOYED_COLUMNS = (
    "task", "method", "budget", "runtime", "metric", "mean", "std", "n", "latency_ms", "file_bytes",
)  # fmt: skip
"""Columns of deployed.csv: one row per method, budget and runtime; `metric` is the primary one, its `mean` and `std`
are over the `n` seeds that were deployed; latency of one text of mean length on one thread, and size of the file that
holds the weights, are means over them."""

RUNTIMES = {"torch": ("PyTorch", "o"), "onnx": ("ONNX", "s"), "onnx-int8": ("ONNX, INT8", "D")}
"""Runtime -> what a reader calls it, and its marker."""


def write_deployed(deployed: Sequence[Deployed], folder: Path) -> None:
    """Write how the deployed models do as deployed.csv, .svg and .png; nothing if none was deployed."""
    write_picture(DEPLOYED, deployed_table(deployed), folder)


def deployed_table(deployed: Sequence[Deployed]) -> pd.DataFrame:
    """Metric, latency and size of every deployed model in every runtime, with the columns `DEPLOYED_COLUMNS`."""
    grouped: dict[tuple[str, str, float, str], list[Deployed]] = {}
    for entry in deployed:
        grouped.setdefault((entry.task, entry.method, entry.budget, entry.runtime), []).append(entry)
    rows = []
    for point, entries in grouped.items():
        metric = TASKS[point[0]].primary_metric
        mean, std, seeds = spread([entry.metrics[metric] for entry in entries])
        latency = 1000 * float(np.mean([entry.seconds["1"] for entry in entries]))
        size = round(float(np.mean([entry.file_bytes for entry in entries])))
        rows.append((*point, metric, round(mean, 4), round(std, 4), seeds, round(latency, 3), size))
    return pd.DataFrame(rows, columns=list(DEPLOYED_COLUMNS))


_SIZE = (4.4, 3.2)
"""Inches of a panel, without the names beside it."""
_LARGEST = 700.0
"""Square points of the largest model's mark."""
_AREA = {"o": 1.0, "s": np.pi / 4, "D": np.pi / 4}
"""What makes a mark as large as the circle that matplotlib draws for the same number."""
_FEW = 4
"""Models in a panel whose marks leave room for their sizes in words."""


def deployed_figure(table: pd.DataFrame) -> Figure:
    """Metric against latency: one panel per task, one line per model through its runtimes.

    Args:
        table: `DEPLOYED_COLUMNS`.
    """
    tasks, models = in_order(table["task"]), in_order(zip(table["method"], table["budget"], strict=True))
    places = count()
    colours = {model: MUTED if model == REFERENCE else look(next(places)).colour for model in models}
    beside, tall = room_for_names([point_label(*model) for model in models])
    size = (_SIZE[0] + beside, max(_SIZE[1], tall + 1.2))
    figure, panels = panels_of(len(tasks), fitting(len(tasks), size[0]), size)
    areas = table.assign(area=_LARGEST * table["file_bytes"] / table["file_bytes"].max())
    for panel, task in zip(panels, tasks, strict=True):
        _draw(panel, areas[areas["task"] == task], colours)
        title(panel, task, size[0])
    headline(figure, "Deployed models; the area of a mark is the size of its file")
    shown = [RUNTIMES[runtime] for runtime in RUNTIMES if runtime in set(table["runtime"])]
    marks = [Line2D([], [], color=MUTED, marker=marker, linestyle="none", label=name) for name, marker in shown]
    figure.legend(handles=marks, loc="outside lower left", ncols=len(marks), handletextpad=0.2)
    spread_names(figure)
    return figure


def _draw(panel: Axes, table: pd.DataFrame, colours: Mapping[tuple[str, float], str]) -> None:
    models = in_order(zip(table["method"], table["budget"], strict=True))
    for method, budget in models:
        model = table[(table["method"] == method) & (table["budget"] == budget)].sort_values("latency_ms")
        colour = colours[method, budget]
        _draw_model(panel, model, colour, sizes=len(models) <= _FEW)
        name_beside(panel, point_label(method, budget), model["mean"].iloc[-1], colour)
    low, high = table["latency_ms"].min() / 1.4, table["latency_ms"].max() * 1.4
    panel.set_xscale("log")
    panel.set_xlim(low, high)
    panel.set_xticks([tick for tick in _TICKS if low <= tick <= high])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda time, _: f"{time:g}"))
    panel.margins(y=0.25)
    panel.set_xlabel("Latency of one text on one thread (ms)")
    panel.set_ylabel(metric_label(table["metric"].iloc[0]))
    panel.grid()


_TICKS = [digit * 10.0**power for power in range(-3, 6) for digit in (1, 2, 5)]


def _draw_model(panel: Axes, model: pd.DataFrame, colour: str, *, sizes: bool) -> None:
    """The marks of a model in its runtimes, fastest first; `sizes` writes the megabytes below them."""
    panel.plot(model["latency_ms"], model["mean"], color=colour, linewidth=1, alpha=0.5, zorder=2)
    panel.errorbar(model["latency_ms"], model["mean"], model["std"].fillna(0), fmt="none", ecolor=colour, elinewidth=1)
    columns = (model[column].tolist() for column in ("runtime", "latency_ms", "mean", "area", "file_bytes"))
    for runtime, latency, mean, area, size in zip(*columns, strict=True):
        marker = RUNTIMES[runtime][1]
        of_mark = area * _AREA[marker]
        panel.scatter(latency, mean, of_mark, colour, marker=marker, alpha=0.85, edgecolors="white", zorder=3)
        if sizes:
            panel.annotate(
                _megabytes(size),
                xy=(latency, mean),
                xytext=(0, -(area**0.5) / 2 - 3),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=7.5,
            )


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.2g} MB"


DEPLOYED = Picture("deployed", "deployed", deployed_figure)

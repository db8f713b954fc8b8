"""The results of a profile: every method on every task, as drawings and as one table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from sensibert.config.methods import METHODS
from sensibert.config.simple_models import SIMPLE_MODELS
from sensibert.report.comparison import BASELINE_CRITERION, REFERENCE_TUNING
from sensibert.report.labels import NOTHING, TIMES, budget_label, metric_label, point_label
from sensibert.report.page.blocks import Cell, Column, Drawing, Row, Table, text
from sensibert.report.page.charts import Line, Measured, intervals, lines
from sensibert.report.page.profile_data import ProfileData, reference_of
from sensibert.report.page.svg import axis
from sensibert.report.page.words import count, megabytes, milliseconds, plain, signed

NamedCells = tuple[Column, Sequence[Cell]]
"""A column of a table and its cells."""


def result_charts(table: pd.DataFrame) -> list[Drawing]:
    """For each task every method at the smallest budget; with several budgets also the metric against the budget."""
    drawings = []
    for task, rows in table.groupby("task", sort=False):
        if (against := _against_budget(str(task), rows)) is not None:
            drawings.append(against)
        drawings.append(_at_smallest_budget(str(task), rows))
    return drawings


def _against_budget(task: str, rows: pd.DataFrame) -> Drawing | None:
    pruned = rows[rows["method"].map(lambda method: METHODS[method].budget == "kept")]
    budgets = sorted(pruned["budget"].unique())
    if len(budgets) < 2:
        return None
    curves = []
    for method, rows_of in pruned.groupby("method", sort=False):
        curve = rows_of.sort_values("budget")
        points = list(zip(curve["budget"], curve["mean"], strict=True))
        curves.append(Line(METHODS[str(method)].title, points, curve["std"].tolist()))
    if (dense := reference_of(rows)) is not None:
        ends = [(budget, float(dense["mean"])) for budget in (budgets[0], budgets[-1])]
        curves.append(Line("dense", ends, is_reference=True))
    half = pruned["std"].fillna(0)
    heights = [*(pruned["mean"] - half), *(pruned["mean"] + half), *(value for _, value in curves[-1].points)]
    x = replace(axis("budget: kept part", budgets, f"{{:g}}{TIMES}".format), at=budgets)
    y = axis(metric_label(rows["metric"].iloc[0]), heights)
    return lines(f"{task}: mean ± standard deviation against the budget", curves, x, y, has_marks=True)


def _at_smallest_budget(task: str, rows: pd.DataFrame) -> Drawing:
    """The methods at the smallest budget of each kind, dense models included; the best on top."""
    kinds = rows["method"].map(lambda method: METHODS[method].budget or "dense")
    shown = rows[rows["budget"] == rows.groupby(kinds)["budget"].transform("min")].sort_values("mean", ascending=False)
    measured = [
        Measured(
            point_label(row["method"], row["budget"]),
            row["mean"],
            row["std"],
            colour=_COLOURS[METHODS[row["method"]].budget or "dense"],
            is_reference=row["method"] == REFERENCE_TUNING,
        )
        for _, row in shown.iterrows()
    ]
    where = ", at the smallest budget" if len(shown) < len(rows) else ""
    label = metric_label(rows["metric"].iloc[0])
    kinds_there = [kind for kind in _COLOURS if kind in set(kinds)]
    legend = [(_KINDS[kind], f"s{_COLOURS[kind]}") for kind in kinds_there]
    return intervals(f"{task}: mean ± standard deviation{where}", measured, label, legend if len(legend) > 1 else ())


_COLOURS = {"kept": 0, "trained": 2, "dense": 4}
"""What a budget limits, or `dense` -> the colour of such methods."""
_KINDS = {"kept": "pruned", "trained": "a part is trained", "dense": "dense"}


def result_table(data: ProfileData) -> Table:
    """One row per task, method and budget."""
    rows = data.table
    points = list(zip(rows["task"], rows["method"], rows["budget"], strict=True))
    columns: list[NamedCells] = [
        (Column("Method", is_number=False, is_filter=True), [text(METHODS[name].title) for name in rows["method"]]),
        task_column(rows["task"]),
        (
            Column("Budget", is_filter=True, hint="Kept or trained part; a dense model keeps all"),
            [Cell(budget_label(method, budget), budget) for _, method, budget in points],
        ),
        (Column(_metric_of(rows), best="high"), [_mean(row) for _, row in rows.iterrows()]),
        *_compared_with(REFERENCE_TUNING, "dense", data, points),
        *_compared_with(BASELINE_CRITERION, BASELINE_CRITERION, data, points),
        *(_column(rows, *column) for column in _COSTS if column[0] in rows),
    ]
    return made_of(columns, "All methods", "Best: the highest mean of its task at its budget.", _best_at_budget(rows))


def simple_models_table(rows: pd.DataFrame) -> Table:
    """One row per task and simple model."""
    columns: list[NamedCells] = [
        (Column("Model", is_number=False), [text(SIMPLE_MODELS[name].title) for name in rows["model"]]),
        task_column(rows["task"]),
        (Column(_metric_of(rows), best="high"), each(rows["mean"], plain)),
        (Column("vs dense", best="high", hint="Difference in points"), each(rows["vs_full"], signed)),
        (
            Column("Size", best="low", hint="On disk, with the backbone where it needs one"),
            each(rows["model_bytes"], megabytes),
        ),
        (
            Column("Needs", is_number=False, hint="What must be installed to run it"),
            [text(need) for need in rows["needs"]],
        ),
    ]
    return made_of(columns, "Simple models", "Nothing of the encoder is tuned for these.")


def _metric_of(rows: pd.DataFrame) -> str:
    """What a column of the primary metrics is called."""
    metrics = rows["metric"].unique()
    return metric_label(metrics[0]) if len(metrics) == 1 else "Primary metric"


_Form = Callable[[float], str]
_COSTS: tuple[tuple[str, str, _Form, str], ...] = (
    ("prunable_kept", "Kept", "{:.1%}".format, "Of the prunable parameters"),
    ("total_parameters", "Parameters", count, "Of the whole model"),
    ("model_bytes", "Size", megabytes, "Of the weights"),
    ("latency_ms", "Latency", lambda time: milliseconds(time / 1e3), "One text of mean length, PyTorch, one thread"),
    ("int8_bytes", "INT8 size", megabytes, "Of the ONNX file"),
    ("int8_latency_ms", "INT8 latency", lambda time: milliseconds(time / 1e3), "The same in ONNX Runtime"),
    ("int8_mean", "INT8 metric", plain, "Of the INT8 export"),
    ("trainable_parameters", "Trainable", count, "Parameters that trained"),
    ("stored_parameters", "Stored", count, "Parameters of each further task beside a shared backbone"),
    ("extra_passes", "Passes", "{:.2g}".format, "Over the training data, before fine-tuning"),
    (
        "relative_time",
        "Time",
        f"{{:.2f}}{TIMES}".format,
        "All that the model took, relative to full tuning",
    ),
    ("peak_memory", "Memory", lambda size: f"{size / 1e9:.2f} GB", "Most that the fine-tuning held at once"),
)
"""Columns of the comparison, their titles, how they are written, and what they mean."""


def _column(rows: pd.DataFrame, name: str, title: str, form: _Form, hint: str) -> NamedCells:
    return Column(title, best="high" if name == "int8_mean" else "low", hint=hint), each(rows[name], form)


def _compared_with(
    reference: str, title: str, data: ProfileData, points: Sequence[tuple[str, str, float]]
) -> tuple[NamedCells, NamedCells]:
    """The differences from a method, and how probable they are by chance."""
    tests = data.tests[data.tests["versus"] == reference]
    keys = zip(tests["task"], tests["method"], tests["budget"], strict=True)
    p_of = dict(zip(keys, tests["p_value"], strict=True))
    differences = [_difference(row, reference) for _, row in data.table.iterrows()]
    return (
        (Column(f"vs {title}", best="high", hint="Difference of the means in points"), differences),
        (Column("p", hint=f"Of the difference to {title}"), [_probability(p_of.get(point)) for point in points]),
    )


def _mean(row: Any) -> Cell:
    return Cell(mean_and_spread(row), row["mean"])


def mean_and_spread(row: Any) -> str:
    """The metric of a row of the comparison; without the spread of a single seed."""
    return plain(row["mean"]) if math.isnan(row["std"]) else f"{plain(row['mean'])} ± {row['std']:.1f}"


def _difference(row: Any, reference: str) -> Cell:
    value = row[f"vs_{reference}"]
    return Cell(NOTHING) if math.isnan(value) or row["method"] == reference else Cell(signed(value), value)


def _probability(value: float | None) -> Cell:
    if value is None or math.isnan(value):
        return Cell(NOTHING)
    return Cell("<\N{NO-BREAK SPACE}0.001" if value < 0.001 else f"{value:.3f}", value)


def _best_at_budget(rows: pd.DataFrame) -> list[bool]:
    kinds = rows["method"].map(lambda method: METHODS[method].budget)
    rivals = rows.groupby([rows["task"], kinds, rows["budget"]])["mean"]
    return (kinds.notna() & (rows["mean"] == rivals.transform("max")) & (rivals.transform("size") > 1)).tolist()


# Tables by columns


def made_of(columns: Sequence[NamedCells], title: str, note: str = "", best: Sequence[bool] = ()) -> Table:
    """A table from its columns; those of which nothing is known, and the task where there is one, are left out."""
    known = [(column, cells) for column, cells in columns if _says_something(column, cells)]
    tags = ["best" if is_best else "" for is_best in best] or [""] * len(columns[0][1])
    rows = [Row(cells, tag) for cells, tag in zip(zip(*(cells for _, cells in known), strict=True), tags, strict=True)]
    return Table(title, [column for column, _ in known], rows, note, is_searchable=True)


def _says_something(column: Column, cells: Sequence[Cell]) -> bool:
    shown = {cell.text for cell in cells}
    return shown != {NOTHING} and not (column.title == _TASK and len(shown) == 1)


_TASK = "Task"


def task_column(tasks: Iterable[str]) -> NamedCells:
    """The task of each row."""
    return Column(_TASK, is_number=False, is_filter=True), [text(task) for task in tasks]


def each(values: Iterable[float], form: _Form) -> list[Cell]:
    """A cell for each number."""
    return [Cell(NOTHING) if math.isnan(value) else Cell(form(value), value) for value in values]

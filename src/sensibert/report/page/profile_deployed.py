"""What of a profile can be deployed: each such model in each runtime, how good, how fast and how small."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from sensibert.data.tasks import TASKS
from sensibert.report.labels import metric_label, point_label
from sensibert.report.page.blocks import Block, Charts, Column, Drawing, Section, Table, text
from sensibert.report.page.charts import Dot, scatter
from sensibert.report.page.profile_results import each, made_of, task_column
from sensibert.report.page.svg import axis
from sensibert.report.page.words import milliseconds, plain
from sensibert.results import Deployed

_RUNTIMES = {"torch": "PyTorch", "onnx": "ONNX", "onnx-int8": "ONNX INT8"}
_KEYS = ["task", "method", "budget", "runtime"]
_LEAD = (
    "Each model in each runtime: one text of mean length on one thread, all taking turns. Circles are PyTorch, squares "
    "ONNX Runtime, triangles its INT8 export. The dotted stair joins those that no other one beats in both directions "
    "of a drawing; filled marks are beaten by none in quality, speed and size at once."
)


def deployment(deployed: Sequence[Deployed]) -> Section:
    """The section; without blocks if nothing was deployed."""
    blocks: list[Block] = []
    if deployed:
        found = _means(deployed)
        drawings = [
            _tradeoff(str(task), rows, *side)
            for task, rows in found.groupby("task", sort=False)
            for side in (("latency", "latency of one text (ms)"), ("size", "size of the file (MB)"))
        ]
        blocks = [Charts(drawings), _table(found)]
    return Section("deployment", "Ready to deploy", _LEAD, blocks)


def _means(deployed: Sequence[Deployed]) -> pd.DataFrame:
    """One row per task, method, budget and runtime: means over the seeds, and whether no other row beats it."""
    rows = [
        (
            *(getattr(entry, key) for key in _KEYS),
            entry.metrics[TASKS[entry.task].primary_metric],
            1e3 * entry.seconds["1"],
            1e3 * entry.seconds.get("32", math.nan),
            entry.file_bytes / 1e6,
        )
        for entry in deployed
    ]
    table = pd.DataFrame(rows, columns=[*_KEYS, "metric", "latency", "batch", "size"])
    means = table.groupby(_KEYS, sort=False).mean().reset_index()
    is_best = [not _is_beaten(row, means[means["task"] == row["task"]]) for _, row in means.iterrows()]
    names = [point_label(method, budget) for method, budget in zip(means["method"], means["budget"], strict=True)]
    return means.assign(is_best=is_best, name=names)


def _is_beaten(row: pd.Series, rivals: pd.DataFrame) -> bool:
    """Whether a rival is at least as good, as fast and as small, and better in one of these."""
    gains = [rivals["metric"] - row["metric"], row["latency"] - rivals["latency"], row["size"] - rivals["size"]]
    as_good = (gains[0] >= 0) & (gains[1] >= 0) & (gains[2] >= 0)
    better = (gains[0] > 0) | (gains[1] > 0) | (gains[2] > 0)
    return bool((as_good & better).any())


def _tradeoff(task: str, rows: pd.DataFrame, what: str, label: str) -> Drawing:
    metric = metric_label(TASKS[task].primary_metric)
    dots = [_dot(row, row[what]) for _, row in rows.iterrows()]
    costs = rows[what].tolist()
    x = axis(label, costs, is_log=max(costs) > 8 * min(costs) > 0)
    title = f"{task}: {metric.partition(' (')[0].lower()} against {what}"
    return scatter(title, dots, x, axis(metric, rows["metric"].tolist()))


def _dot(row: pd.Series, cost: float) -> Dot:
    name = f"{row['name']}, {_RUNTIMES[row['runtime']]}"
    tip = f"{name}: {plain(row['metric'])}, {milliseconds(row['latency'] / 1e3)}, {row['size']:.1f} MB"
    shape = list(_RUNTIMES).index(row["runtime"])
    return Dot(name, cost, row["metric"], tip, shape=shape, is_best=row["is_best"])


def _table(found: pd.DataFrame) -> Table:
    metrics = {metric_label(TASKS[task].primary_metric) for task in found["task"]}
    columns = [
        (Column("Model", is_number=False), [text(name) for name in found["name"]]),
        task_column(found["task"]),
        (Column("Runtime", is_number=False, is_filter=True), [text(_RUNTIMES[name]) for name in found["runtime"]]),
        (Column(metrics.pop() if len(metrics) == 1 else "Primary metric", best="high"), each(found["metric"], plain)),
        (Column("Latency, one text"), each(found["latency"] / 1e3, milliseconds)),
        (Column("Latency, 32 texts"), each(found["batch"] / 1e3, milliseconds)),
        (Column("File"), each(found["size"], "{:.1f} MB".format)),
        (
            Column("Beaten", is_number=False, is_filter=True, hint="Whether another is as good, as fast and as small"),
            [text("no" if is_best else "yes") for is_best in found["is_best"]],
        ),
    ]
    return made_of(columns, "Deployed models")

"""The trials of every search, how well the models do on other tasks, and the simple models, as data frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from sensibert.analysis.statistics import spread
from sensibert.config.grid import SearchedCell
from sensibert.data.tasks import TASKS
from sensibert.report.comparison import REFERENCE_TUNING
from sensibert.results import SimpleResult, Transferred, Trial, best_first

TRANSFER_COLUMNS = ("task", "to", "method", "budget", "metric", "mean", "std", "n")
"""Columns of the table of transfers: `metric` is the primary metric of the task `to`."""

SIMPLE_COLUMNS = ("task", "model", "metric", "mean", "vs_full", "model_bytes", "needs")
"""Columns of the table of simple models: `model` is a row of `config.simple_models`, `vs_full` the difference to the
mean of dense `full` fine-tuning, `needs` what must be installed to run it."""


def search_table(searches: Mapping[SearchedCell, tuple[Sequence[Trial], Mapping[str, float]]]) -> pd.DataFrame:
    """The trials of every search, the best first.

    `dev_1`, `dev_2`, ... are the primary metric on the dev split after each epoch, empty after a trial was ended;
    `validation` is that of the best trial's model on the validation split, which no other trial has seen.
    """
    rows = [
        {
            **cell._asdict(),
            **_trial(trial),
            "validation": round(metrics[TASKS[cell.task].primary_metric], 4) if place == 0 else math.nan,
        }
        for cell, (trials, metrics) in searches.items()
        for place, trial in enumerate(best_first(trials))
    ]
    columns = [*SearchedCell._fields, "batch_size", "learning_rate", "state", "validation"]
    epochs = max((len(trial.dev) for trials, _ in searches.values() for trial in trials), default=0)
    return pd.DataFrame(rows, columns=[*columns, *(f"dev_{epoch + 1}" for epoch in range(epochs))])


def transfer_table(transferred: Sequence[Transferred]) -> pd.DataFrame:
    """How every method does on tasks that it was not tuned on, mean and spread over the seeds (`TRANSFER_COLUMNS`)."""
    grouped: dict[tuple[str, str, str, float], list[float]] = {}
    for entry in transferred:
        grouped.setdefault((entry.task, entry.to, entry.method, entry.budget), []).append(entry.value)
    rows = [(*point, TASKS[point[1]].primary_metric, *spread(values)) for point, values in grouped.items()]
    return pd.DataFrame(rows, columns=list(TRANSFER_COLUMNS))


def simple_table(found: Sequence[SimpleResult], table: pd.DataFrame) -> pd.DataFrame:
    """How well the simple models do, and how far that is from dense fine-tuning (`SIMPLE_COLUMNS`).

    Args:
        found: The result of every simple model.
        table: The comparison (`comparison.COLUMNS`).
    """
    dense = table[table["method"] == REFERENCE_TUNING].set_index("task")["mean"]
    rows = [
        {
            "task": entry.task,
            "model": entry.name,
            "metric": entry.primary_metric,
            "mean": entry.primary,
            "vs_full": entry.primary - dense.get(entry.task, math.nan),
            "model_bytes": entry.file_bytes,
            "needs": entry.needs,
        }
        for entry in found
    ]
    return pd.DataFrame(rows, columns=list(SIMPLE_COLUMNS))


def _trial(trial: Trial) -> dict[str, object]:
    return {
        "batch_size": trial.batch_size,
        "learning_rate": trial.learning_rate,
        "state": trial.state,
        **{f"dev_{epoch}": round(value, 4) for epoch, value in enumerate(trial.dev, start=1)},
    }

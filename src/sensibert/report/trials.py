"""The trials of every search, and how the models do on other tasks: csv."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from sensibert.artifacts import replacing
from sensibert.params import SearchedCell
from sensibert.report.formats import write_csv
from sensibert.results import Transferred, Trial, best_first
from sensibert.statistics import spread
from sensibert.tasks import TASKS


def write_searches(searches: Mapping[SearchedCell, tuple[Sequence[Trial], Mapping[str, float]]], folder: Path) -> None:
    """Write the trials of every search as search.csv, the best first.

    `dev_1`, `dev_2`, ... are the primary metric on the dev split after each epoch; `validation` is that of the best
    trial's model on the validation split, which no other trial has seen.
    """
    rows = [
        {
            **cell._asdict(),
            **_trial(trial),
            "validation": metrics[TASKS[cell.task].primary_metric] if place == 0 else math.nan,
        }
        for cell, (trials, metrics) in searches.items()
        for place, trial in enumerate(best_first(trials))
    ]
    columns = [*SearchedCell._fields, "batch_size", "learning_rate", "state", "validation"]
    epochs = max((len(trial.dev) for trials, _ in searches.values() for trial in trials), default=0)
    table = pd.DataFrame(rows, columns=[*columns, *(f"dev_{epoch + 1}" for epoch in range(epochs))])
    with replacing(folder / "search.csv") as beside:
        table.to_csv(beside, index=False, lineterminator="\n", float_format="%.6g")


def write_transfers(transferred: Sequence[Transferred], folder: Path) -> None:
    """Write how every method does on tasks that it was not tuned on as transfer.csv, mean and spread over the seeds."""
    grouped: dict[tuple[str, str, str, float], list[float]] = {}
    for entry in transferred:
        grouped.setdefault((entry.task, entry.to, entry.method, entry.budget), []).append(entry.value)
    rows = [(*point, *spread(values)) for point, values in grouped.items()]
    write_csv(
        pd.DataFrame(rows, columns=["task", "to", "method", "budget", "mean", "std", "n"]), folder / "transfer.csv"
    )


def _trial(trial: Trial) -> dict[str, object]:
    return {
        "batch_size": trial.batch_size,
        "learning_rate": trial.learning_rate,
        "state": trial.state,
        **{f"dev_{epoch}": value for epoch, value in enumerate(trial.dev, start=1)},
    }

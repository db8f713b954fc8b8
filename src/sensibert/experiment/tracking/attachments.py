"""What a cell's run shows besides numbers: a table of predictions, the confusion matrix, and what its mask keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from sensibert.analysis.heat_map import heat_map, kept_dimensions
from sensibert.config.grid import Cell
from sensibert.config.paths import Paths
from sensibert.data.tasks import TASKS, Task
from sensibert.errors import ArtifactError
from sensibert.experiment.tracking.contents import title_of
from sensibert.io import how_to_mend
from sensibert.models.mask import read_mask

LISTED = 200
"""Predictions in the table, the first of the split: the same examples for every run, side by side in the UI."""

_LONGEST = 300
"""Letters of a text in the table."""


@dataclass(frozen=True)
class Attachments:
    """Files of one run."""

    predictions: pd.DataFrame | None = None
    pictures: dict[str, str] = field(default_factory=dict)
    """File name -> SVG."""


def attachments_of(paths: Paths, cell: Cell, texts: pd.DataFrame | None) -> Attachments:
    """Whatever there is of a cell.

    Args:
        paths: where its files are.
        cell: the point of the grid.
        texts: those of its task, as `texts_of` gives them.

    Raises:
        ArtifactError: a file is damaged.
    """
    task, title = TASKS[cell.task], f"{cell.task}, {title_of(cell.point)}, seed {cell.seed}"
    predictions, pictures = None, {}
    if paths.predictions(cell).exists():
        logits = [f"logit_{name}" for name in task.label_names]
        found = _read_table(paths.predictions(cell), ["idx", "label", "prediction", *logits])
        predictions = prediction_table(found, texts, task)
        if not task.is_regression:
            pictures["confusion_matrix.svg"] = confusion_matrix(found, task, title)
    if cell.is_pruned and paths.mask(cell).exists():
        pictures["mask.svg"] = kept_dimensions(read_mask(paths.mask(cell)), title)
    return Attachments(predictions, pictures)


def prediction_table(predictions: pd.DataFrame, texts: pd.DataFrame | None, task: Task) -> pd.DataFrame:
    """The first `LISTED` predictions with their texts.

    Args:
        predictions: `idx`, `label`, `prediction` and a logit for each class, as the stage `evaluate` writes them.
        texts: the columns `text` and, for pairs, `text_pair`, by `idx`; None if they are not there.
        task: names the classes.

    Returns:
        The texts, `label` and `prediction` by name, and for a classification whether the prediction is `correct` and
        its probability, the `confidence`.
    """
    first = predictions.head(LISTED)
    table = first[["idx"]].copy()
    if texts is not None:
        for column in texts:
            table[column] = texts[column].reindex(first["idx"]).str.slice(0, _LONGEST).to_numpy()
    if task.is_regression:
        return table.assign(label=first["label"], prediction=first["prediction"])
    names = dict(enumerate(task.label_names))
    logits = first[[f"logit_{name}" for name in task.label_names]].to_numpy(dtype=np.float64)
    confidence = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
    return table.assign(
        label=first["label"].map(names),
        prediction=first["prediction"].map(names),
        correct=first["label"] == first["prediction"],
        confidence=confidence.round(4),
    )


def confusion_matrix(predictions: pd.DataFrame, task: Task, title: str) -> str:
    """How often each class was taken for each other one; as dark as its share of the class."""
    counts = np.zeros((len(task.label_names), len(task.label_names)))
    np.add.at(counts, (predictions["label"], predictions["prediction"]), 1)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    heading = f"{title}: examples by true class (rows) and predicted class"
    return heat_map(counts, shares, task.label_names, task.label_names, title=heading)


def texts_of(paths: Paths, task: str) -> pd.DataFrame | None:
    """The texts of the split that the predictions of a task are of, by `idx`; None if it is not there.

    Raises:
        ArtifactError: the file is damaged.
    """
    about = TASKS[task]
    file = paths.raw(task) / f"{about.validation_splits[0]}.parquet"
    columns = ["text", "text_pair"] if about.is_pair else ["text"]
    return _read_table(file, ["idx", *columns]).set_index("idx") if file.exists() else None


def _read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, columns=columns)
    except (ValueError, OSError) as error:  # pyarrow's errors are subclasses of these
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"{path} is no table of {', '.join(columns)} ({reason}){how_to_mend(path)}") from None

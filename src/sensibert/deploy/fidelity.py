"""How close what is deployed comes to the model that was trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sensibert.data.encoding import Examples
from sensibert.data.tasks import Task
from sensibert.evaluation.evaluate import metrics_of


@dataclass(frozen=True)
class Fidelity:
    """How close a deployed file comes to PyTorch in fp32."""

    file: str
    bytes: int
    max_difference: float
    """Largest absolute difference of a logit, however the texts were batched."""
    mean_difference: float
    """Mean absolute difference of the logits."""
    agreement: float | None
    """Fraction of the texts with the same predicted class; None for a regression."""
    metrics: dict[str, float] | None
    """The task's metrics in percent; None without labels."""


def fidelity_of(
    file: str, size: int, found: np.ndarray, expected: np.ndarray, task: Task | None, examples: Examples
) -> Fidelity:
    """Compare the logits of a file with those of the model.

    Args:
        file: What gave the logits.
        size: Its bytes.
        found: Its logits [examples, classes].
        expected: Those of the model in fp32, in the same shape.
        task: Names the metrics; without it there are none.
        examples: Hold the labels.
    """
    difference = np.abs(found - expected)
    return Fidelity(
        file,
        size,
        max_difference=difference.max().item(),
        mean_difference=difference.mean().item(),
        agreement=None if found.shape[1] == 1 else float((found.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        metrics=labelled_metrics(task, examples, found),
    )


def labelled_metrics(task: Task | None, examples: Examples, logits: np.ndarray) -> dict[str, float] | None:
    """The task's metrics in percent; None without a task."""
    return None if task is None else metrics_of(task, logits, examples)

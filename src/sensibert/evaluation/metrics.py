"""The metrics of tasks, without the hub.

`evaluate.load("glue", ...)` downloads code; this is the same metric as a class of this package, for any task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import evaluate
import numpy as np
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from sensibert.data.tasks import Task
from sensibert.errors import DataError

Score = Callable[[np.ndarray, np.ndarray], float]
"""From predictions and references [examples each] to one number."""


def _accuracy(predictions: np.ndarray, references: np.ndarray) -> float:
    return float(accuracy_score(references, predictions))


def _f1(predictions: np.ndarray, references: np.ndarray) -> float:
    """F1 of class 1; 0 where neither a prediction nor a reference is of class 1."""
    return float(f1_score(references, predictions, zero_division=0.0))


def _macro_f1(predictions: np.ndarray, references: np.ndarray) -> float:
    """Mean F1 of the classes that occur; a class that is never right counts as 0."""
    return float(f1_score(references, predictions, average="macro", zero_division=0.0))


def _matthews(predictions: np.ndarray, references: np.ndarray) -> float:
    """Matthews correlation; 0 for constant predictions."""
    return float(matthews_corrcoef(references, predictions))


def _pearson(predictions: np.ndarray, references: np.ndarray) -> float:
    return 0.0 if _is_constant(predictions, references) else float(stats.pearsonr(predictions, references).statistic)


def _spearman(predictions: np.ndarray, references: np.ndarray) -> float:
    return 0.0 if _is_constant(predictions, references) else float(stats.spearmanr(predictions, references).statistic)


def _is_constant(*arrays: np.ndarray) -> bool:
    """Whether a correlation is undefined: a constant says nothing about the other values, so it counts as 0."""
    return any(np.ptp(values) == 0 for values in arrays)


METRICS: dict[str, Score] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "macro_f1": _macro_f1,
    "matthews_correlation": _matthews,
    "pearson": _pearson,
    "spearman": _spearman,
}


class TaskMetric(evaluate.Metric):
    """The metrics of a task, as fractions.

    Predictions are class ids, or real numbers for a regression task:

        TaskMetric(TASKS["mrpc"]).compute(predictions=[0, 1], references=[0, 1])  # {"accuracy": 1.0, "f1": 1.0}

    Source of the choice of metrics: Wang et al., "GLUE", ICLR 2019; Wang et al., "SuperGLUE", NeurIPS 2019.
    """

    def __init__(self, task: Task, **options: Any) -> None:
        self.task = task  # first, since evaluate asks for _info() right away
        super().__init__(config_name=task.name, **options)

    def _info(self) -> evaluate.MetricInfo:
        kind = datasets.Value("float64" if self.task.is_regression else "int64")
        return evaluate.MetricInfo(
            description="Accuracy, F1, Matthews, Pearson and Spearman correlation, as the task asks.",
            citation="@inproceedings{wang2019glue, title={{GLUE}}, booktitle={ICLR}, year={2019}}",
            inputs_description="predictions and references: one class id or real number per example",
            features=datasets.Features({"predictions": kind, "references": kind}),
        )

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        # The inputs are lists: the "numpy" format of evaluate would cut real numbers to 32 bits.
        given = np.asarray(predictions), np.asarray(references)
        return {name: METRICS[name](*given) for name in self.task.metrics}


def compute_metrics(task: Task, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Compute a task's metrics in percent, as GLUE tables print them.

    Args:
        task: Names the metrics and what the labels mean.
        predictions: Class ids [examples], or real numbers for regression.
        labels: The right answers, in the same form [examples].

    Returns:
        Metric -> 100 times its value.

    Raises:
        DataError: no example, a different number of predictions than labels, or a prediction that is not finite.
    """
    if predictions.shape != labels.shape or predictions.ndim != 1 or not predictions.size:
        raise DataError(
            f"task {task.name}: predictions have the shape {predictions.shape} and labels {labels.shape}; "
            "expected one value per example in both, and at least one example"
        )
    if not np.isfinite(predictions).all():
        raise DataError(f"task {task.name}: a prediction is not a finite number; training diverged, lower its rate")
    # evaluate makes a cache folder even when it keeps everything in memory, and the home may be read-only.
    with TemporaryDirectory() as folder:
        metric = TaskMetric(task, keep_in_memory=True, cache_dir=folder)
        fractions = metric.compute(predictions=predictions, references=labels)
    return {name: 100 * value for name, value in fractions.items()}

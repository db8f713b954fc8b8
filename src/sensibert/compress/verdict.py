"""What a compression lost, and whether that is more than chance."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from sensibert.data.tasks import Task
from sensibert.evaluation.metrics import METRICS
from sensibert.report.evidence import Drop

_RESAMPLES = 1000


def drop_of(before: pd.DataFrame, after: pd.DataFrame, task: Task, seed: int = 0) -> Drop | None:
    """What the primary metric lost, with the 95 % interval of a paired bootstrap over the held-out rows.

    Args:
        before: The predictions of the dense model, as `evaluation.evaluate.prediction_table` gives them.
        after: Those of the small model on the same rows.
        task: Names the metric.
        seed: Of the resamples.

    Returns:
        None if the dense model was not judged.
    """
    if before.empty:
        return None
    score, labels = METRICS[task.primary_metric], after["label"].to_numpy()
    answers = before["prediction"].to_numpy(), after["prediction"].to_numpy()

    def lost(rows: np.ndarray) -> float:
        dense, small = (100 * score(given[rows], labels[rows]) for given in answers)
        return dense - small

    everything = np.arange(len(labels))
    points = lost(everything)
    found = stats.bootstrap(
        (everything,),
        lost,
        n_resamples=_RESAMPLES,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return Drop(points, float(found.confidence_interval.low), float(found.confidence_interval.high))

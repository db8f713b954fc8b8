"""What a compression lost, and whether that is more than chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sensibert.data.tasks import Task
from sensibert.evaluation.metrics import METRICS
from sensibert.report.evidence import Drop

_DOUBT = 0.05

_RESAMPLES = 1000
_AT_ONCE = 10_000_000
"""Rows that are drawn at once, at most: all resamples of 100,000 rows would take 1.6 GB. The numbers are the same."""


_TWO_MORE = (100.0, -100.0)
"""A row that only the dense model has right, and one that only the small one has: with them an interval of paired rows
keeps its promise where few differ (Bonett and Price, 2012). Forty rows that agree do not prove a loss of 0."""


def interval_of(predictions: np.ndarray, labels: np.ndarray, task: Task, seed: int = 0) -> tuple[float, float, float]:
    """The primary metric in percent, with the ends of the 95 % interval of a bootstrap over the rows.

    Args:
        predictions: Class ids or numbers [rows].
        labels: What is right [rows].
        task: Names the metric.
        seed: Of the resamples.
    """
    score, rows = METRICS[task.primary_metric], np.arange(len(labels))
    how: dict[str, Any] = {"n_resamples": _RESAMPLES, "method": "percentile", "rng": np.random.default_rng(seed)}
    if task.primary_metric == "accuracy":
        found = stats.bootstrap((100.0 * (predictions == labels),), np.mean, **how, **_in_parts(len(labels)))
    else:
        found = stats.bootstrap(
            (rows,), lambda chosen: 100 * score(predictions[chosen], labels[chosen]), vectorized=False, **how
        )
    low, high = found.confidence_interval
    return 100 * score(predictions, labels), float(low), float(high)


def _in_parts(rows: int) -> dict[str, Any]:
    """How to resample a mean over rows: many resamples in one call, but no more than memory is for."""
    return {"vectorized": True, "batch": max(1, _AT_ONCE // rows)}


def bound_of(trials: int) -> float:
    """The confidence of an interval whose upper ends hold with 95 % for so many models together (Bonferroni).

    The same rows judge every budget that is tried, and the smallest that passes is taken: a bound that holds for one
    model alone would too often let a lucky one pass.
    """
    return 1 - 2 * _DOUBT / trials


def drop_of(
    before: pd.DataFrame, after: pd.DataFrame, task: Task, *, confidence: float = 0.95, seed: int = 0
) -> Drop | None:
    """What the primary metric lost, with the interval of a paired bootstrap over the held-out rows.

    The interval of accuracy allows for what few rows do not show (`_TWO_MORE`); there are no such rows for a
    correlation or F1, whose interval is 0 if all rows agree.

    Args:
        before: The predictions of the dense model, as `evaluation.evaluate.prediction_table` gives them.
        after: Those of the small model on the same rows.
        task: Names the metric.
        confidence: Of the interval.
        seed: Of the resamples.

    Returns:
        None if the dense model was not judged.
    """
    if before.empty:
        return None
    labels, dense, small = after["label"].to_numpy(), before["prediction"].to_numpy(), after["prediction"].to_numpy()
    how: dict[str, Any] = {"n_resamples": _RESAMPLES, "confidence_level": confidence, "method": "percentile"}
    how["rng"] = np.random.default_rng(seed)
    if task.primary_metric == "accuracy":  # a mean over rows: all resamples at once
        lost_rows = 100.0 * ((dense == labels).astype(int) - (small == labels))
        points = float(lost_rows.mean())
        found = stats.bootstrap((np.append(lost_rows, _TWO_MORE),), np.mean, **how, **_in_parts(len(labels)))
    else:
        score, rows = METRICS[task.primary_metric], np.arange(len(labels))

        def lost(chosen: np.ndarray) -> float:
            return 100 * (score(dense[chosen], labels[chosen]) - score(small[chosen], labels[chosen]))

        points = lost(rows)
        found = stats.bootstrap((rows,), lost, vectorized=False, **how)
    return Drop(points, float(found.confidence_interval.low), float(found.confidence_interval.high))

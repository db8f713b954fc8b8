"""Mean, spread and paired tests over seeds. Pure numpy and scipy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Spread(NamedTuple):
    """Mean and spread of repeated measurements."""

    mean: float
    std: float
    """Sample standard deviation (n - 1 in the denominator); NaN for one measurement, which has no spread."""
    n: int


class PairedDifference(NamedTuple):
    """How far one method is ahead of another on the seeds that both ran with."""

    mean: float
    """NaN if no seed is shared."""
    p_value: float
    """Two-sided paired t-test; NaN below two seeds and where every seed shows the same difference."""
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of at least one value."""
    array = np.asarray(values, dtype=np.float64)
    std = float(array.std(ddof=1)) if array.size > 1 else float("nan")
    return Spread(float(array.mean()), std, array.size)


def paired_difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> PairedDifference:
    """Compare two methods seed by seed.

    Args:
        ours: seed -> value of the method in question.
        theirs: seed -> value of the method it is compared with.

    Returns:
        The mean of `ours - theirs` over the shared seeds, and its p-value.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return PairedDifference(float("nan"), float("nan"), 0)
    first, second = (np.array([values[seed] for seed in seeds]) for values in (ours, theirs))
    differences = first - second
    # Without any spread the t statistic divides by zero: the seeds cannot say how sure the difference is.
    testable = len(seeds) > 1 and not np.allclose(differences, differences[0])
    p_value = float(stats.ttest_rel(first, second).pvalue) if testable else float("nan")
    return PairedDifference(float(differences.mean()), p_value, len(seeds))


def mcnemar(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Exact two-sided McNemar test of two models on the same examples.

    Only the examples that exactly one of the two gets right carry information; if the models are
    equally good, each of these falls to either side with probability 1/2 (McNemar, Psychometrika 1947).

    Args:
        ours: [examples], whether the first model is right.
        theirs: [examples], whether the second model is right.

    Returns:
        The p-value; 1 where the models are right on the same examples.
    """
    ours, theirs = np.asarray(ours, dtype=bool), np.asarray(theirs, dtype=bool)
    only_ours = int(np.sum(ours & ~theirs))
    discordant = int(np.sum(ours != theirs))
    return float(stats.binomtest(only_ours, discordant, 0.5).pvalue) if discordant else 1.0

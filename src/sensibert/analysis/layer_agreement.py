"""Does the Fisher ranking of the layers hold? Rankings of other moments and samples against the one that chooses."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from sensibert.tuning.parts.layer_order import rank

AGREEMENT_COLUMNS = ("epoch", "samples", "ranking", "spearman", "spearman_previous_epoch", "shared_layers", "of")
"""Columns of the table of rankings.

`ranking` names the layers from the most information to the least. `spearman` compares with the ranking by the
largest sample before fine-tuning, `spearman_previous_epoch` with the one an epoch earlier. `shared_layers` counts how
many of the first `of` layers are also among the first of the ranking before fine-tuning.
"""


def agreement(scores: pd.DataFrame, layers: int) -> pd.DataFrame:
    """How far the rankings agree with that of the largest sample before fine-tuning.

    Args:
        scores: What `layer_ranking.layer_scores` gives.
        layers: How many layers surgical fine-tuning trains.

    Returns:
        One row per sample size before fine-tuning, then one per epoch, with the columns `AGREEMENT_COLUMNS`.
    """
    largest = scores["samples"].max()
    reference = _scores(scores, 0, largest)
    of = min(layers, len(reference))
    rows = []
    for epoch, samples in scores[["epoch", "samples"]].drop_duplicates().sort_values(["epoch", "samples"]).to_numpy():
        found = _scores(scores, epoch, samples)
        previous = _spearman(found, _scores(scores, epoch - 1, samples)) if epoch else math.nan
        shared = len(set(rank(reference)[:of]) & set(rank(found)[:of]))
        ranking = " ".join(map(str, rank(found)))
        rows.append((epoch, samples, ranking, _spearman(found, reference), previous, shared, of))
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


def layer_agreements(scores: Mapping[tuple[str, int], pd.DataFrame], layers: int) -> pd.DataFrame:
    """The agreement for every task and seed; the first two columns name them."""
    parts = [
        agreement(of_run, layers).assign(task=task, seed=seed)[["task", "seed", *AGREEMENT_COLUMNS]]
        for (task, seed), of_run in scores.items()
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["task", "seed", *AGREEMENT_COLUMNS])


def _scores(table: pd.DataFrame, epoch: int, samples: int) -> np.ndarray:
    chosen = table[(table["epoch"] == epoch) & (table["samples"] == samples)]
    return chosen.sort_values("layer")["score"].to_numpy()


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    return float(spearmanr(one, other).statistic)

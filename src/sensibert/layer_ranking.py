"""Does the ranking of the layers hold? Fisher scores in the course of full fine-tuning, and by sample size.

Surgical fine-tuning (arXiv 2310.17041) ranks the layers of the pre-trained model by about 100 examples; this tells
whether another moment or another sample would have chosen other layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.encoding import Example, draw
from sensibert.params import MethodParams, TrainingParams
from sensibert.training import Watch, fine_tune
from sensibert.tuning.surgical import layer_fisher, rank

COLUMNS = ("epoch", "samples", "layer", "score")
AGREEMENT_COLUMNS = ("comparison", "epoch", "samples", "spearman", "shared_layers", "of")
"""`shared_layers` of the first `of` layers are the same as in the ranking that it is compared with."""


def layer_scores(
    model: PreTrainedModel,
    examples: list[Example],
    tokenizer: PreTrainedTokenizerBase,
    training: TrainingParams,
    options: MethodParams,
    seed: int,
    samples: list[int],
    scratch: Path,
) -> pd.DataFrame:
    """Fisher scores of the layers: before fine-tuning for every sample size, then after each epoch of it.

    Args:
        model: The pre-trained model with its new classifier; is fine-tuned.
        examples: Training data.
        tokenizer: Pads the batches.
        training: Settings of the fine-tuning.
        options: Its learning rate.
        seed: Of the samples and the fine-tuning. A larger sample contains the smaller ones.
        samples: Sample sizes in ascending order; the last is the one after each epoch.
        scratch: For checkpoints.

    Returns:
        One row per epoch, sample size and layer with the columns `COLUMNS`; epoch 0 is before fine-tuning.
    """
    rows: list[tuple[int, int, int, float]] = []

    def score(epoch: int, count: int, tuned: PreTrainedModel) -> None:
        scores = layer_fisher(tuned, draw(examples, count, seed), tokenizer)
        rows.extend((epoch, count, layer, float(value)) for layer, value in enumerate(scores))

    for count in samples:
        score(0, count, model)
    watch = Watch(examples, lambda epoch, tuned: score(epoch, samples[-1], tuned))
    settings = {"method": "full", "options": options, "seed": seed, "checkpoints": scratch, "resume": False}
    fine_tune(model, examples, tokenizer, training, **settings, watch=watch)  # type: ignore[arg-type]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def agreement(scores: pd.DataFrame, layers: int) -> pd.DataFrame:
    """How far the rankings agree with that of the largest sample before fine-tuning.

    Args:
        scores: What `layer_scores` gives.
        layers: How many layers surgical fine-tuning trains.

    Returns:
        One row per epoch (at the largest sample) and per smaller sample, with the columns `AGREEMENT_COLUMNS`.
    """
    largest = scores["samples"].max()
    reference = _scores(scores, 0, largest)
    layers = min(layers, len(reference))
    compared = [("epochs", epoch, largest) for epoch in sorted(set(scores["epoch"])) if epoch > 0]
    compared += [("samples", 0, count) for count in sorted(set(scores["samples"])) if count < largest]
    rows = []
    for comparison, epoch, count in compared:
        other = _scores(scores, epoch, count)
        shared = len(set(rank(reference)[:layers]) & set(rank(other)[:layers]))
        rows.append((comparison, epoch, count, float(spearmanr(reference, other).statistic), shared, layers))
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


def layer_agreements(scores: Mapping[tuple[str, int], pd.DataFrame], layers: int) -> pd.DataFrame:
    """The agreement of every task and seed, with two columns in front that name them."""
    parts = [
        agreement(of_run, layers).assign(task=task, seed=seed)[["task", "seed", *AGREEMENT_COLUMNS]]
        for (task, seed), of_run in scores.items()
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["task", "seed", *AGREEMENT_COLUMNS])


def _scores(table: pd.DataFrame, epoch: int, samples: int) -> np.ndarray:
    chosen = table[(table["epoch"] == epoch) & (table["samples"] == samples)]
    return chosen.sort_values("layer")["score"].to_numpy()

"""Fisher scores of the layers during full fine-tuning, and by sample size.

Surgical fine-tuning (arXiv 2310.17041) ranks the layers of the pre-trained model by about 100 examples; this tells
whether another moment or another sample would have chosen other layers.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.config.method_settings import MethodParams
from sensibert.config.settings import TrainingParams
from sensibert.data.encoding import Examples, draw
from sensibert.models.targets import begin_training
from sensibert.training.fine_tune import EpochCallback, fine_tune
from sensibert.tuning.parts.layer_fisher import layer_fisher

COLUMNS = ("epoch", "samples", "layer", "score")
"""Columns of the table of scores; epoch 0 is before fine-tuning."""


def layer_scores(
    model: PreTrainedModel,
    examples: Examples,
    tokenizer: PreTrainedTokenizerBase,
    settings: TrainingParams,
    *,
    options: MethodParams,
    seed: int,
    samples: list[int],
    checkpoints: Path,
) -> pd.DataFrame:
    """Fisher scores of the layers: before fine-tuning for every sample size, then after each epoch of it.

    Args:
        model: The pre-trained model with its new classifier; it gets fine-tuned.
        examples: Training data.
        tokenizer: Pads the batches.
        settings: How to fine-tune.
        options: The learning rate.
        seed: Decides the samples and the fine-tuning. A larger sample contains the smaller ones.
        samples: Sample sizes in ascending order; the last one is used after each epoch.
        checkpoints: Scratch folder.

    Returns:
        One row per epoch, sample size and layer with the columns `COLUMNS`; epoch 0 is before fine-tuning.
    """
    rows: list[tuple[int, int, int, float]] = []
    examples, _ = begin_training(model, examples)

    def score(epoch: int, count: int, tuned: PreTrainedModel) -> None:
        scores = layer_fisher(tuned, draw(examples, count, seed), tokenizer)
        rows.extend((epoch, count, layer, float(value)) for layer, value in enumerate(scores))

    for count in samples:
        score(0, count, model)
    callback = EpochCallback(examples, lambda epoch, tuned: score(epoch, samples[-1], tuned))
    fine_tune(
        model,
        examples,
        tokenizer,
        settings,
        method="full",
        options=options,
        seed=seed,
        checkpoints=checkpoints,
        resume=False,
        epoch_callback=callback,
    )
    return pd.DataFrame(rows, columns=list(COLUMNS))

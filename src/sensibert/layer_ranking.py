"""Fisher scores of the layers in the course of full fine-tuning, and by sample size.

Surgical fine-tuning (arXiv 2310.17041) ranks the layers of the pre-trained model by about 100 examples; this tells
whether another moment or another sample would have chosen other layers.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.encoding import Example, draw
from sensibert.params import MethodParams, TrainingParams
from sensibert.training import Watch, fine_tune
from sensibert.tuning.surgical import layer_fisher

COLUMNS = ("epoch", "samples", "layer", "score")
"""Of the table of scores; epoch 0 is before fine-tuning."""


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

"""Evaluation: the predictions of a model and the task's metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.data.encoding import Examples, evaluation_batches, labels_of
from sensibert.data.tasks import Task
from sensibert.errors import DivergedError
from sensibert.evaluation.metrics import compute_metrics


@dataclass(frozen=True)
class Evaluation:
    """How well a model does on the validation split(s) of a task."""

    metrics: dict[str, float]
    """In percent; for a second split (MNLI's mismatched one) the names end in its name."""
    predictions: pd.DataFrame
    """On the first split, as `prediction_table` gives them."""


def evaluate(
    model: PreTrainedModel, splits: Mapping[str, Examples], tokenizer: PreTrainedTokenizerBase, task: Task
) -> Evaluation:
    """Predict the splits and compute the metrics.

    Args:
        model: A dense or slim model, tuned for the task.
        splits: The examples of the task's `validation_splits`, the one for the final number first.
        tokenizer: Pads the batches.
        task: Names the metrics and what the labels mean.
    """
    metrics: dict[str, float] = {}
    tables: list[pd.DataFrame] = []
    for split, examples in splits.items():
        logits = predict(model, examples, tokenizer)
        suffix = "" if not tables else f"_{split.removeprefix('validation_')}"
        metrics |= {f"{name}{suffix}": value for name, value in metrics_of(task, logits, examples).items()}
        tables.append(prediction_table(task, examples, logits))
    return Evaluation(metrics, tables[0])


def judge(model: PreTrainedModel, examples: Examples, tokenizer: PreTrainedTokenizerBase | None, task: Task) -> float:
    """The primary metric of a model on some examples, for choices: use it with the dev split."""
    return metrics_of(task, predict(model, examples, tokenizer), examples)[task.primary_metric]


def metrics_of(task: Task, logits: np.ndarray, examples: Examples) -> dict[str, float]:
    """The metrics, in percent, that logits [examples, classes] reach on the labels of the examples."""
    return compute_metrics(task, prediction_of(task, logits), labels_of(examples))


def predict(
    model: PreTrainedModel,
    examples: Examples,
    tokenizer: PreTrainedTokenizerBase | None,
    batch_size: int = 64,
    *,
    with_bar: bool = True,
) -> np.ndarray:
    """The logits of a model in fp32, [examples, classes], in the order of the examples."""
    model.eval()
    logits = np.empty((len(examples), model.config.num_labels), dtype=np.float32)  # type: ignore[type-var]
    progress = tqdm(total=len(examples), desc="evaluating", unit="text", mininterval=1, disable=not with_bar)
    with torch.inference_mode(), progress:
        for rows, batch in evaluation_batches(examples, tokenizer, batch_size):
            inputs = {name: values.to(model.device) for name, values in batch.items() if name != "labels"}
            logits[rows] = model(**inputs).logits.float().cpu().numpy()
            progress.update(len(rows))
    if not np.isfinite(logits).all():
        raise DivergedError(
            f"{int((~np.isfinite(logits).all(axis=1)).sum()):,} of {len(logits):,} answers of the model are not finite "
            "numbers: its training diverged"
        )
    return logits


def prediction_of(task: Task, logits: np.ndarray) -> np.ndarray:
    """The class with the largest logit, or the predicted number of a regression task."""
    return logits[:, 0] if task.is_regression else logits.argmax(axis=1)


def prediction_table(task: Task, examples: Examples, logits: np.ndarray) -> pd.DataFrame:
    """One row per example: `idx`, `label`, `prediction` and one `logit_<class>` per class."""
    names = task.label_names or ("score",)
    return pd.DataFrame(
        {
            "idx": [example["idx"] for example in examples],
            "label": labels_of(examples),
            "prediction": prediction_of(task, logits),
            **{f"logit_{name}": logits[:, column] for column, name in enumerate(names)},
        }
    )

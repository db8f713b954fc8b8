"""Evaluation: the predictions of a model and the task's metrics."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from datasets import DatasetDict
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.encoding import Example, encode, evaluation_batches
from sensibert.metrics import compute_metrics
from sensibert.tasks import Task


def evaluate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, dataset: DatasetDict, max_length: int
) -> tuple[dict[str, float], pd.DataFrame]:
    """The final numbers of a model on the validation split(s) of a task.

    Returns:
        The metrics in percent (those of a second split, MNLI's mismatched one, end in its name), and the
        predictions on the first split.
    """
    metrics: dict[str, float] = {}
    tables: list[pd.DataFrame] = []
    for split in task.validation_splits:
        logits = predict(model, encode(dataset[split], tokenizer, max_length), tokenizer)
        labels = np.asarray(dataset[split]["label"])
        suffix = "" if not tables else f"_{split.removeprefix('validation_')}"
        of_split = compute_metrics(task, prediction_of(task, logits), labels)
        metrics |= {f"{name}{suffix}": value for name, value in of_split.items()}
        tables.append(prediction_table(task, list(dataset[split]["idx"]), labels, logits))
    return metrics, tables[0]


def predict(
    model: PreTrainedModel, examples: list[Example], tokenizer: PreTrainedTokenizerBase | None, batch_size: int = 64
) -> np.ndarray:
    """The logits of a model in fp32, [examples, classes], in the order of the examples."""
    model.eval()
    logits = np.empty((len(examples), model.config.num_labels), dtype=np.float32)  # type: ignore[type-var]
    progress = tqdm(total=len(examples), desc="evaluating", unit="text", mininterval=1)
    with torch.inference_mode(), progress:
        for rows, batch in evaluation_batches(examples, tokenizer, batch_size):
            inputs = {name: values.to(model.device) for name, values in batch.items() if name != "labels"}
            logits[rows] = model(**inputs).logits.float().cpu().numpy()
            progress.update(len(rows))
    return logits


def prediction_of(task: Task, logits: np.ndarray) -> np.ndarray:
    """The class with the largest logit, or the predicted number of a regression task."""
    return logits[:, 0] if task.is_regression else logits.argmax(axis=1)


def prediction_table(task: Task, index: list[int], labels: np.ndarray, logits: np.ndarray) -> pd.DataFrame:
    """One row per example: `idx`, `label`, `prediction` and one `logit_<class>` per class."""
    names = task.label_names or ("score",)
    return pd.DataFrame(
        {
            "idx": index,
            "label": labels,
            "prediction": prediction_of(task, logits),
            **{f"logit_{name}": logits[:, column] for column, name in enumerate(names)},
        }
    )

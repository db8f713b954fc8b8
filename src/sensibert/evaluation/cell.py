"""Evaluate the model of one cell: metrics, predictions, size and training cost in one result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.compute.hardware import make_deterministic
from sensibert.config.grid import Cell
from sensibert.data.encoding import Examples
from sensibert.data.tasks import Task
from sensibert.evaluation.evaluate import Evaluation, evaluate
from sensibert.models.cost import measure_size
from sensibert.results import Cost, History, Result, TrainingCost


def evaluate_cell(
    model: PreTrainedModel,
    splits: Mapping[str, Examples],
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    *,
    cell: Cell,
    history: History,
    folder: Path,
    judged: bool = True,
) -> tuple[Result, pd.DataFrame]:
    """The result of a model, and its predictions.

    Args:
        model: The model that is saved in `folder`, on the device to compute with.
        splits: The examples of the task's `validation_splits`.
        tokenizer: Pads the batches.
        task: Names the metrics and what the labels mean.
        cell: The point of the grid.
        history: How the model was trained.
        folder: Where the model is saved.
        judged: Whether to compute metrics; without them there are no predictions either.
    """
    make_deterministic(cell.seed)
    found = evaluate(model, splits, tokenizer, task) if judged else Evaluation({}, pd.DataFrame())
    size = measure_size(model, folder, history.tokens)
    training = {part.name: getattr(history, part.name) for part in fields(TrainingCost)}
    rows = len(splits[task.validation_splits[0]])
    result = Result(*cell, found.metrics, task.primary_metric, rows, Cost(**training, **asdict(size)))
    return result, found.predictions

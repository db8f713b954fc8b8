"""Evaluate every model of a task on another task with the same labels, which no model was tuned on."""

from __future__ import annotations

import argparse

import numpy as np

from pipeline.stage import run
from sensibert.artifacts import Paths, write_json
from sensibert.encoding import draw, encode
from sensibert.evaluation import predict, prediction_of
from sensibert.hardware import best_device, make_deterministic
from sensibert.metrics import compute_metrics
from sensibert.models.backbones import load_model, load_tokenizer
from sensibert.params import Params
from sensibert.results import Transferred
from sensibert.tasks import TASKS
from sensibert.tasks.prepare import load_task


def transfer(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/results/transfer-TASK-TO.json."""
    target, settings = TASKS[arguments.to], params.transfer
    split = load_task(paths.transferred_raw(arguments.to))[target.validation_splits[0]]
    split = split.select(draw(range(len(split)), settings.max_examples, seed=0))
    classes = np.array(TASKS[arguments.task].classes_in(target))
    found = []
    for cell in [cell for cell in params.cells() if cell.task == arguments.task]:
        make_deterministic(cell.seed)
        folder = paths.model(cell)
        model, tokenizer = load_model(folder).to(best_device()), load_tokenizer(str(folder))  # type: ignore[arg-type]
        examples = encode(split, tokenizer, params.model.max_length)
        labels = np.array([example["labels"] for example in examples])
        predictions = classes[prediction_of(target, predict(model, examples, tokenizer))]
        metrics = compute_metrics(target, predictions, labels)
        found.append(Transferred(*cell, target.name, metrics[target.primary_metric], len(examples)).to_dict())
    write_json(paths.transfer(arguments.task, arguments.to), found)


if __name__ == "__main__":
    run(transfer, "task", "to")

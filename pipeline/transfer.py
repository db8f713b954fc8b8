"""Evaluate the model of one cell on another task with the same labels, which it was not tuned on."""

from __future__ import annotations

import argparse

import numpy as np

from pipeline.stage import cell_of, run
from sensibert.compute.hardware import best_device, make_deterministic
from sensibert.config.grid import TransferredCell
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.data.encoding import draw, encode, labels_of
from sensibert.data.task_files import load_task
from sensibert.data.tasks import TASKS
from sensibert.evaluation.evaluate import predict, prediction_of
from sensibert.evaluation.metrics import compute_metrics
from sensibert.io import write_record
from sensibert.models.backbones import load_model, load_tokenizer
from sensibert.results import Transferred


def transfer(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/results/transfer-CELL-TO.json."""
    cell, target = cell_of(arguments, params), TASKS[arguments.to]
    split = load_task(paths.transferred_raw(target.name))[target.validation_splits[0]]
    split = split.select(draw(range(len(split)), params.transfer.max_examples, seed=0))
    make_deterministic(cell.seed)
    folder = paths.model(cell)
    model, tokenizer = load_model(folder).to(best_device()), load_tokenizer(str(folder))  # type: ignore[arg-type]
    examples = encode(split, tokenizer, params.model.max_length)
    classes = np.array(TASKS[cell.task].classes_in(target))
    predictions = classes[prediction_of(target, predict(model, examples, tokenizer))]
    metrics = compute_metrics(target, predictions, labels_of(examples))
    found = Transferred(*cell, target.name, metrics[target.primary_metric], len(examples))
    write_record(paths.transfer(TransferredCell(cell, target.name)), found)


if __name__ == "__main__":
    run(transfer, "task", "method", "budget", "seed", "to")

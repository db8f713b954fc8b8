"""Evaluate the model of one cell on the validation split: metrics, predictions, costs."""

from __future__ import annotations

import argparse

from pipeline.stage import cell_of, run
from sensibert.compute.hardware import best_device
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.data.encoding import encode
from sensibert.data.task_files import data_hash, load_task
from sensibert.data.tasks import TASKS
from sensibert.evaluation.cell import evaluate_cell
from sensibert.experiment.provenance import Timer, collect
from sensibert.io import read_record, replacing, write_json, write_record
from sensibert.models.backbones import load_model, load_tokenizer
from sensibert.results import History


def evaluate(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/results/CELL/metrics.json and predictions.parquet."""
    cell = cell_of(arguments, params)
    task, folder, max_length = TASKS[cell.task], paths.model(cell), params.model.max_length
    history, dataset = read_record(paths.history(cell), History), load_task(paths.raw(cell.task))
    model, tokenizer = load_model(folder).to(best_device()), load_tokenizer(str(folder))  # type: ignore[arg-type]
    with Timer() as timer:
        splits = {name: encode(dataset[name], tokenizer, max_length) for name in task.validation_splits}
        result, predictions = evaluate_cell(model, splits, tokenizer, task, cell=cell, history=history, folder=folder)
    with replacing(paths.predictions(cell)) as beside:
        predictions.to_parquet(beside, index=False)
    write_record(paths.metrics(cell), result)
    provenance = collect(timer, params.model_dump(mode="json"), data_hash(paths.raw(cell.task)), "fp32")
    write_json(paths.provenance("evaluate", cell.name), provenance)


if __name__ == "__main__":
    run(evaluate, "task", "method", "budget", "seed")

"""Evaluate the model of one cell on the validation split: metrics, predictions, costs."""

from __future__ import annotations

import argparse

from pipeline.stage import cell_of, run
from sensibert.artifacts import Paths, read_json, replacing, write_json
from sensibert.cost import measure_cost
from sensibert.evaluation import evaluate as evaluate_model
from sensibert.hardware import best_device, make_deterministic
from sensibert.models.backbones import load_model, load_tokenizer
from sensibert.params import Params
from sensibert.provenance import Timer, collect
from sensibert.results import Result
from sensibert.tasks import TASKS
from sensibert.tasks.prepare import data_hash, load_task


def evaluate(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/results/CELL/metrics.json and predictions.parquet."""
    cell = cell_of(arguments, params)
    task, folder, max_length = TASKS[cell.task], paths.model(cell), params.model.max_length
    make_deterministic(cell.seed)
    dataset = load_task(paths.raw(cell.task))
    model = load_model(folder).to(best_device())  # type: ignore[arg-type]
    tokenizer = load_tokenizer(str(folder))
    with Timer() as timer:
        metrics, predictions = evaluate_model(model, tokenizer, task, dataset, max_length)
    with replacing(paths.predictions(cell)) as beside:
        predictions.to_parquet(beside, index=False)
    history = read_json(paths.history(cell))
    cost = measure_cost(
        model,
        folder,
        trainable=history["trainable_parameters"],
        stored=history["stored_parameters"],
        extra_passes=history["extra_passes"],
        tokens=history["tokens"],
    )
    result = Result(*cell, metrics, task.primary_metric, len(predictions), cost)
    write_json(paths.metrics(cell), result.to_dict())
    provenance = collect(timer, params.model_dump(mode="json"), data_hash(paths.raw(cell.task)), "fp32")
    write_json(paths.provenance("evaluate", cell.name), provenance)


if __name__ == "__main__":
    run(evaluate, "task", "method", "budget", "seed")

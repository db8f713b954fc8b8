"""One scoring pass over the training data of a task: the scores of every criterion, for any budget."""

from __future__ import annotations

import argparse

from pipeline.stage import run
from sensibert.artifacts import Paths, write_json, write_scores
from sensibert.hardware import best_device, resolve_precision
from sensibert.importance.scoring import score_task
from sensibert.params import Params
from sensibert.provenance import Timer, collect
from sensibert.tasks import TASKS
from sensibert.tasks.prepare import data_hash, load_task


def score(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/scores/TASK-SEED.safetensors."""
    task, seed = arguments.task, arguments.seed
    train = load_task(paths.raw(task))["train"]
    with Timer() as timer:
        settings = params.model, params.scoring, seed, params.training.precision
        *_, scores = score_task(train, TASKS[task], *settings)
    write_scores(paths.scores(task, seed), scores)
    provenance = collect(
        timer,
        params.model_dump(mode="json"),
        data_hash(paths.raw(task)),
        resolve_precision(params.training.precision, best_device()),
    )
    write_json(paths.provenance("score", f"{task}-{seed}"), provenance)


if __name__ == "__main__":
    run(score, "task", "seed")

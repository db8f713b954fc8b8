"""A scoring pass of its own for the stability check, with the scores after each epoch it asks for."""

from __future__ import annotations

import argparse

from pipeline.stage import run
from sensibert.artifacts import Paths, write_scores
from sensibert.importance.scoring import score_task
from sensibert.params import Params
from sensibert.tasks import TASKS
from sensibert.tasks.prepare import load_task


def rescore(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/rescored/TASK-SEED/epoch-EPOCH.safetensors."""
    task, seed = arguments.task, arguments.seed
    train = load_task(paths.raw(task))["train"]
    wanted = params.stability.epochs
    scoring = params.scoring.model_copy(update={"epochs": max(wanted)})
    passes = score_task(train, TASKS[task], params.model, scoring, seed, params.training.precision)
    for epoch, scores in enumerate(passes, start=1):
        if epoch in wanted:
            write_scores(paths.rescored(task, seed, epoch), scores)


if __name__ == "__main__":
    run(rescore, "task", "seed")

"""A scoring pass over the training data of a task: the scores of every criterion, for any budget.

With --repeated, a separate pass for the stability report, with the scores after each epoch that the report needs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from pipeline.stage import run
from sensibert.compute import processes
from sensibert.compute.hardware import best_device, resolve_precision
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.config.settings import ScoringParams
from sensibert.data.task_files import data_hash, load_task
from sensibert.data.tasks import TASKS
from sensibert.experiment.provenance import Timer, collect
from sensibert.io import write_json
from sensibert.models.subject import Subject
from sensibert.scoring.files import ScoreFile, write_scores
from sensibert.scoring.scoring_pass import score_subject


def score(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/scores/TASK-SEED.safetensors, or rescored/TASK-SEED/epoch-EPOCH.safetensors."""
    task, seed = arguments.task, arguments.seed
    if arguments.repeated:
        wanted = params.stability.epochs
        settings = params.scoring.model_copy(update={"epochs": max(wanted)})
        for epoch, scores in enumerate(_passes(task, seed, settings, params, paths), start=1):
            if epoch in wanted and processes.is_first():
                write_scores(paths.rescored(task, seed, epoch), scores)
        return
    with Timer() as timer:
        *_, scores = _passes(task, seed, params.scoring, params, paths)
    if not processes.is_first():
        return
    write_scores(paths.scores(task, seed), scores)
    precision = resolve_precision(params.training.precision, best_device())
    provenance = collect(timer, params.model_dump(mode="json"), data_hash(paths.raw(task)), precision)
    write_json(paths.provenance("score", f"{task}-{seed}"), provenance)


def _passes(task: str, seed: int, settings: ScoringParams, params: Params, paths: Paths) -> Iterator[ScoreFile]:
    """The scores after each epoch."""
    subject = Subject(TASKS[task], load_task(paths.raw(task)), params.model)
    return score_subject(subject, settings, seed=seed, precision=params.training.precision)


if __name__ == "__main__":
    run(score, "task", "seed", "repeated", "distributed")

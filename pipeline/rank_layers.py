"""Fisher scores of the layers before and during full fine-tuning, for the stability report."""

from __future__ import annotations

import argparse

from pipeline.stage import run
from sensibert.analysis.layer_ranking import layer_scores
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.data.task_files import load_task
from sensibert.data.tasks import TASKS
from sensibert.io import replacing
from sensibert.models.subject import Subject


def rank_layers(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/rescored/TASK-SEED-layers.csv."""
    task, seed = arguments.task, arguments.seed
    subject = Subject(TASKS[task], load_task(paths.raw(task)), params.model)
    table = layer_scores(
        subject.new_model(seed),
        subject.train,
        subject.tokenizer,
        params.training,
        options=params.tuning_of("full"),
        seed=seed,
        samples=params.layer_ranking.samples,
        checkpoints=paths.layer_checkpoints(task, seed),
    )
    with replacing(paths.layer_scores(task, seed)) as beside:
        table.to_csv(beside, index=False, lineterminator="\n", float_format="%.8g")


if __name__ == "__main__":
    run(rank_layers, "task", "seed")

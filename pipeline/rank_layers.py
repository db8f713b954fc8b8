"""Fisher scores of the layers before and in the course of full fine-tuning, for the stability report."""

from __future__ import annotations

import argparse

from pipeline.stage import run
from sensibert.artifacts import Paths, replacing
from sensibert.encoding import encode
from sensibert.hardware import best_device
from sensibert.layer_ranking import layer_scores
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.params import DENSE_BUDGET, Cell, Params
from sensibert.tasks import TASKS
from sensibert.tasks.prepare import load_task


def rank_layers(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/rescored/TASK-SEED-layers.csv."""
    task, seed = arguments.task, arguments.seed
    tokenizer = load_tokenizer(params.model.backbone)
    examples = encode(load_task(paths.raw(task))["train"], tokenizer, params.model.max_length)
    model = load_backbone(params.model.backbone, TASKS[task], seed).to(best_device())  # type: ignore[arg-type]
    table = layer_scores(
        model,
        examples,
        tokenizer,
        params.training,
        params.settings_of("full"),
        seed,
        params.layer_ranking.samples,
        paths.checkpoints(Cell(task, "layers", DENSE_BUDGET, seed)),
    )
    with replacing(paths.layer_scores(task, seed)) as beside:
        table.to_csv(beside, index=False, lineterminator="\n", float_format="%.8g")


if __name__ == "__main__":
    run(rank_layers, "task", "seed")

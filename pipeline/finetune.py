"""Fine-tune one cell: the slim model that a mask gives, or the dense model with a tuning method.

A run that was killed goes on from its last checkpoint; --no-resume starts over.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from pipeline.stage import cell_of, run
from sensibert.artifacts import Paths, read_mask, replacing, write_json
from sensibert.cost import count
from sensibert.encoding import encode, mean_length
from sensibert.hardware import best_device
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.models.slim import slim
from sensibert.params import Params
from sensibert.provenance import Timer, collect
from sensibert.tasks import TASKS
from sensibert.tasks.prepare import data_hash, load_task
from sensibert.training import fine_tune


def finetune(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/models/CELL and data/PROFILE/history/CELL.json."""
    cell = cell_of(arguments, params)
    tokenizer = load_tokenizer(params.model.backbone)
    examples = encode(load_task(paths.raw(cell.task))["train"], tokenizer, params.model.max_length)
    model = load_backbone(params.model.backbone, TASKS[cell.task], cell.seed)
    mask = read_mask(paths.mask(cell)) if cell.is_pruned else None
    if mask is not None:
        model = slim(model, mask)
    with Timer() as timer:
        training = fine_tune(
            model.to(best_device()),  # type: ignore[arg-type]
            examples,
            tokenizer,
            params.training,
            method="full" if cell.is_pruned else cell.method,
            options=params.settings_of(cell.method),
            budget=cell.budget,
            seed=cell.seed,
            checkpoints=paths.checkpoints(cell),
            resume=arguments.resume,
        )
    with replacing(paths.model(cell)) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    history = asdict(training) | {"tokens": mean_length(examples)}
    if mask is not None:  # such a model shares nothing with a backbone
        history |= {"stored_parameters": count(model), "extra_passes": mask.about["scoring_passes"]}
    for of_the_run in ("precision", "resumed_at_step"):  # the provenance holds them
        del history[of_the_run]
    write_json(paths.history(cell), history)
    provenance = collect(timer, params.model_dump(mode="json"), data_hash(paths.raw(cell.task)), training.precision)
    write_json(paths.provenance("finetune", cell.name), {**provenance, "resumed_at_step": training.resumed_at_step})


if __name__ == "__main__":
    run(finetune, "task", "method", "budget", "seed", "resume")

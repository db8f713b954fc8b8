"""Fine-tune one cell: the slim model that a mask gives, or the dense model with a tuning method.

A run that was killed resumes at its last checkpoint; --no-resume starts over.
"""

from __future__ import annotations

import argparse

from pipeline.stage import cell_of, run
from sensibert.compute import processes
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.data.task_files import data_hash, load_task
from sensibert.data.tasks import TASKS
from sensibert.experiment.provenance import Timer, collect
from sensibert.io import read_record, write_json, write_record
from sensibert.models.mask import read_mask
from sensibert.models.subject import Subject
from sensibert.results import RateCurve
from sensibert.training.cell import save_model, train_cell


def finetune(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/models/CELL and data/PROFILE/history/CELL.json."""
    cell = cell_of(arguments, params)
    subject = Subject(TASKS[cell.task], load_task(paths.raw(cell.task)), params.model)
    model, examples = subject.new_model(cell.seed), subject.train
    mask = read_mask(paths.mask(cell)) if cell.is_pruned else None
    with Timer() as timer:
        trained = train_cell(
            model,
            examples,
            subject.tokenizer,
            params.training,
            options=params.tuning_of(cell.method).at(read_record(paths.rate(cell.point), RateCurve).rate),
            mask=mask,
            method="full" if cell.is_pruned else cell.method,
            budget=cell.budget,
            seed=cell.seed,
            checkpoints=paths.checkpoints(cell),
            resume=arguments.resume,
        )
    if not processes.is_first():
        return
    training = trained.training
    save_model(trained.model, subject.tokenizer, paths.model(cell))
    write_record(paths.history(cell), training.history)
    provenance = collect(timer, params.model_dump(mode="json"), data_hash(paths.raw(cell.task)), training.precision)
    write_json(paths.provenance("finetune", cell.name), {**provenance, "resumed_at_step": training.resumed_at_step})


if __name__ == "__main__":
    run(finetune, "task", "method", "budget", "seed", "resume", "distributed")

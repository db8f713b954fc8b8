"""Prune by one of the procedures: iterative, distilled, or without retraining.

A run that was killed resumes where it was; --no-resume starts over.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import replace

from transformers import PreTrainedModel

from pipeline.stage import cell_of, run
from sensibert.compute.hardware import best_device, resolve_precision
from sensibert.config.methods import METHODS
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.data.task_files import data_hash, load_task
from sensibert.data.tasks import TASKS
from sensibert.experiment.provenance import Timer, collect
from sensibert.io import claim_scratch, read_record, release_scratch, write_json, write_record
from sensibert.models.backbones import load_model
from sensibert.models.mask import write_mask
from sensibert.models.subject import Subject
from sensibert.pruning.base import Procedure, PruningContext
from sensibert.results import RateCurve
from sensibert.scoring.files import read_scores
from sensibert.training.cell import save_model
from sensibert.training.fine_tune import fingerprint


def prune(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/models/CELL, masks/CELL.safetensors and history/CELL.json."""
    cell = cell_of(arguments, params)
    subject = Subject(TASKS[cell.task], load_task(paths.raw(cell.task)), params.model)
    if (rate := read_record(paths.rate(cell.point), RateCurve).learning_rate) is not None:
        params = params.at_rate(cell.method, rate)
    content, scratch, scores = (
        params.model_dump(mode="json"),
        paths.checkpoints(cell),
        paths.scores(cell.task, cell.seed),
    )

    def tuned_model() -> PreTrainedModel:
        return load_model(paths.model(cell.dense)).to(best_device())  # type: ignore[arg-type]

    shaping = [content[name] for name in ("scoring", "masking", "training")] + [content["methods"][cell.method]]
    about = {"cell": cell, "params": shaping, "scores": hashlib.sha256(scores.read_bytes()).hexdigest()}
    claim_scratch(scratch, fingerprint(about, subject.new_model(cell.seed), subject.train), resume=arguments.resume)
    resumed = any(scratch.glob("*/*"))
    context = PruningContext.of_cell(
        cell, params, subject, scores=read_scores(scores), tuned_model=tuned_model, scratch=scratch
    )
    procedure: Procedure = METHODS[cell.method].implementation
    with Timer() as timer:
        pruned = procedure(context)
    save_model(pruned.model, subject.tokenizer, paths.model(cell))
    assert pruned.mask.origin is not None
    origin = replace(pruned.mask.origin, method=cell.method, budget=cell.budget)
    write_mask(paths.mask(cell), replace(pruned.mask, origin=origin))
    write_record(paths.history(cell), pruned.history(subject.train))
    precision = resolve_precision(params.training.precision, best_device())
    provenance = collect(timer, content, data_hash(paths.raw(cell.task)), precision)
    write_json(paths.provenance("finetune", cell.name), {**provenance, "resumed": resumed})
    release_scratch(scratch)


if __name__ == "__main__":
    run(prune, "task", "method", "budget", "seed", "resume")

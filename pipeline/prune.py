"""Prune by a procedure of its own: iterative, distilled, or without retraining.

A run that was killed goes on from what it has done; --no-resume starts over.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from dataclasses import replace

from transformers import PreTrainedModel

from pipeline.stage import cell_of, run
from sensibert.artifacts import Paths, claim_scratch, read_scores, replacing, write_json, write_mask
from sensibert.cost import count
from sensibert.encoding import encode, mean_length
from sensibert.hardware import best_device, resolve_precision
from sensibert.models.backbones import load_backbone, load_model, load_tokenizer
from sensibert.params import DENSE_BUDGET, Params
from sensibert.provenance import Timer, collect
from sensibert.pruning import prune as prune_by
from sensibert.pruning.base import Context
from sensibert.tasks import TASKS
from sensibert.tasks.prepare import data_hash, load_task
from sensibert.training import fingerprint


def prune(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/models/CELL, masks/CELL.safetensors and history/CELL.json."""
    cell = cell_of(arguments, params)
    device, data = best_device(), data_hash(paths.raw(cell.task))
    tokenizer = load_tokenizer(params.model.backbone)
    examples = encode(load_task(paths.raw(cell.task))["train"], tokenizer, params.model.max_length)
    content = params.model_dump(mode="json")
    scratch = paths.checkpoints(cell)

    def new_model() -> PreTrainedModel:
        return load_backbone(params.model.backbone, TASKS[cell.task], cell.seed).to(device)  # type: ignore[arg-type]

    def tuned_model() -> PreTrainedModel:
        full = cell._replace(method="full", budget=DENSE_BUDGET)
        return load_model(paths.model(full)).to(device)  # type: ignore[arg-type]

    scores = paths.scores(cell.task, cell.seed)
    shaping = [content[name] for name in ("scoring", "masking", "training")] + [content["methods"][cell.method]]
    about = {"cell": cell, "params": shaping, "scores": hashlib.sha256(scores.read_bytes()).hexdigest()}
    claim_scratch(scratch, fingerprint(about, new_model(), examples), resume=arguments.resume)
    resumed = any(scratch.glob("*/*"))
    context = Context(
        examples=examples,
        tokenizer=tokenizer,
        new_model=new_model,
        tuned_model=tuned_model,
        scores=read_scores(scores),
        masking=params.masking,
        scoring=params.scoring,
        training=params.training,
        settings=getattr(params.methods, cell.method),
        budget=cell.budget,
        seed=cell.seed,
        scratch=scratch,
    )
    with Timer() as timer:
        pruned = prune_by(cell.method, context)
    with replacing(paths.model(cell)) as folder:
        pruned.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    write_mask(paths.mask(cell), replace(pruned.mask, about=pruned.mask.about | cell._asdict()))
    write_json(
        paths.history(cell),
        {
            "log": pruned.log,
            "steps": sum(training.steps for training in pruned.trainings),
            "trainable_parameters": pruned.trainings[-1].trainable_parameters if pruned.trainings else 0,
            "stored_parameters": count(pruned.model),
            "extra_passes": pruned.extra_passes,
            "chosen": pruned.chosen,
            "tokens": mean_length(examples),
        },
    )
    precision = resolve_precision(params.training.precision, device)
    provenance = collect(timer, content, data, precision)
    write_json(paths.provenance("finetune", cell.name), {**provenance, "resumed": resumed})
    shutil.rmtree(scratch)


if __name__ == "__main__":
    run(prune, "task", "method", "budget", "seed", "resume")

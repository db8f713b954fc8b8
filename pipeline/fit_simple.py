"""Fit a simple model on the training rows of a task, and let it answer the validation split."""

from __future__ import annotations

import argparse

from pipeline.stage import run
from sensibert.alternatives.base import given_of
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.config.simple_models import SIMPLE_MODELS
from sensibert.data.encoding import labels_in, texts_of
from sensibert.data.task_files import data_hash, load_task
from sensibert.data.tasks import TASKS
from sensibert.evaluation.metrics import compute_metrics
from sensibert.experiment.provenance import Timer, collect
from sensibert.io import write_json, write_record
from sensibert.models.subject import Subject
from sensibert.results import SimpleResult


def fit_simple(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/results/simple-TASK-NAME.json."""
    task, name, raw = TASKS[arguments.task], arguments.simple, paths.raw(arguments.task)
    subject = Subject(task, load_task(raw), params.model)
    with Timer() as timer:
        fitted = SIMPLE_MODELS[name].fit(given_of(subject, seed=params.data.seed))
    held_out = subject.dataset[task.validation_splits[0]]
    metrics = compute_metrics(task, fitted.answer(texts_of(held_out)), labels_in(held_out))
    result = SimpleResult(task.name, name, metrics, task.primary_metric, len(held_out), fitted.file_bytes, fitted.needs)
    write_record(paths.simple(task.name, name), result)
    provenance = collect(timer, params.model_dump(mode="json"), data_hash(raw), "fp32")
    write_json(paths.provenance("simple", f"{task.name}-{name}"), provenance)


if __name__ == "__main__":
    run(fit_simple, "task", "simple")

"""Export the model of one cell to ONNX and INT8, checked on the validation split."""

from __future__ import annotations

import argparse

from pipeline.stage import cell_of, run
from sensibert.compute.hardware import make_deterministic
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.data.encoding import encode, texts_of
from sensibert.data.task_files import load_task
from sensibert.data.tasks import TASKS
from sensibert.deploy.onnx.export import export_onnx
from sensibert.models.backbones import load_model, load_tokenizer


def export(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/results/export-CELL."""
    cell = cell_of(arguments, params)
    task, folder, max_length = TASKS[cell.task], paths.model(cell), params.model.max_length
    make_deterministic(cell.seed)
    rows = load_task(paths.raw(cell.task))[task.validation_splits[0]]
    tokenizer = load_tokenizer(str(folder))
    report = export_onnx(
        load_model(folder),
        encode(rows, tokenizer, max_length),
        tokenizer,
        paths.export(cell),
        max_length=max_length,
        texts=texts_of(rows),
        task=task,
        int8=True,
    )
    for fidelity in (report.onnx, report.int8):
        print(f"{cell.name}: {fidelity}")


if __name__ == "__main__":
    run(export, "task", "method", "budget", "seed")

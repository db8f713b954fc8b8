"""Export the model of one cell to ONNX and INT8, checked on the validation split."""

from __future__ import annotations

import argparse

from pipeline.stage import cell_of, run
from sensibert.artifacts import Paths
from sensibert.export import export_onnx
from sensibert.hardware import make_deterministic
from sensibert.params import Params
from sensibert.tasks import TASKS
from sensibert.tasks.prepare import load_task, texts_of


def export(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/exports/CELL."""
    cell = cell_of(arguments, params)
    task = TASKS[cell.task]
    make_deterministic(cell.seed)
    rows = load_task(paths.raw(cell.task))[task.validation_splits[0]]
    report = export_onnx(
        paths.model(cell),
        paths.export(cell),
        texts_of(rows),
        labels=rows["label"],
        task=task,
        max_length=params.model.max_length,
        int8=True,
    )
    for fidelity in (report.onnx, report.int8):
        print(f"{cell.name}: {fidelity}")


if __name__ == "__main__":
    run(export, "task", "method", "budget", "seed")

"""Get one task, normalize and audit it, carve the dev split, and save it as parquet."""

from __future__ import annotations

import argparse

from pipeline.stage import run
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.data.task_files import save_task
from sensibert.data.tasks import TASKS
from sensibert.sources.prepare import prepare


def download(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/raw/TASK, or raw_transferred/TASK."""
    dataset, audit = prepare(TASKS[arguments.task], params.data)
    folder = paths.transferred_raw(arguments.task) if arguments.transferred else paths.raw(arguments.task)
    save_task(dataset, audit, folder)
    for split, rows in audit.splits.items():
        print(f"{arguments.task}, {split}: kept {rows.kept:,} of {rows.read:,} rows; dropped: {rows.dropped or 'none'}")


if __name__ == "__main__":
    run(download, "task", "transferred")

"""Read what the stages wrote for the stability report."""

from __future__ import annotations

import pandas as pd

from sensibert.analysis.stability import Run
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.report.gather import require
from sensibert.scoring.files import ScoreFile, read_scores


def gather_scores(paths: Paths, params: Params) -> dict[str, dict[Run, ScoreFile]]:
    """The scores of every stability pass: task -> run -> scores.

    Raises:
        ArtifactError: passes have no scores (all of them are named), or a file is damaged.
    """
    runs = [Run(seed, epoch) for seed in params.stability.seeds for epoch in params.stability.epochs]
    files = {task: {run: paths.rescored(task, *run) for run in runs} for task in params.stability.tasks}
    require("scores", ((f"{task} {run}", path) for task, of_task in files.items() for run, path in of_task.items()))
    return {task: {run: read_scores(path) for run, path in of_task.items()} for task, of_task in files.items()}


def gather_layer_scores(paths: Paths, params: Params) -> dict[tuple[str, int], pd.DataFrame]:
    """The Fisher scores of the layers from every check: task and seed -> table.

    Raises:
        ArtifactError: checks have no scores (all of them are named).
    """
    files = {run: paths.layer_scores(*run) for run in params.layer_rankings()}
    require("layer scores", ((f"{task}-{seed}", path) for (task, seed), path in files.items()))
    return {run: pd.read_csv(path) for run, path in files.items()}

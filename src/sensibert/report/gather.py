"""Read what the stages wrote for every cell of the grid.

The grid comes from the parameters alone: a missing file is an error that names its cell, and files
of cells that have left the grid are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sensibert.artifacts import Paths, ScoreFile, read_json, read_mask, read_scores
from sensibert.errors import ArtifactError
from sensibert.masks import Mask
from sensibert.params import Cell, Params, SearchedCell
from sensibert.results import Deployed, Effort, Result, Transferred, Trial
from sensibert.stability import Run
from sensibert.tasks import TASKS


def gather(paths: Paths, params: Params) -> list[Result]:
    """The result of every cell, in grid order.

    Raises:
        ArtifactError: cells have no result (all of them are named), or a file is damaged or holds
            the result of another cell.
    """
    cells = params.cells()
    _require("result", ((cell.name, paths.metrics(cell)) for cell in cells))
    return [_read_result(paths.metrics(cell), cell) for cell in cells]


def gather_efforts(paths: Paths, params: Params) -> dict[Cell, Effort]:
    """What the fine-tuning of every cell took.

    Raises:
        ArtifactError: cells have no provenance (all of them are named), or a file is damaged.
    """
    files = {cell: paths.provenance("finetune", cell.name) for cell in params.cells()}
    _require("provenance of a fine-tuning", ((cell.name, path) for cell, path in files.items()))
    return {cell: _read_effort(path) for cell, path in files.items()}


def gather_provenance(paths: Paths, params: Params) -> dict[str, Any]:
    """Where the grid and its searches come from: parameters, every distinct code, data, package set and machine.

    Raises:
        ArtifactError: cells have no provenance (all of them are named), or a file is damaged.
    """
    files: dict[Cell | SearchedCell, Path] = {
        **{cell: paths.provenance("finetune", cell.name) for cell in params.cells()},
        **{cell: paths.provenance("search", cell.name) for cell in params.searched_cells()},
    }
    _require("provenance", ((cell.name, path) for cell, path in files.items()))
    found = {cell: read_json(path) for cell, path in files.items()}
    return {
        "params": params.model_dump(mode="json"),
        "data_hash": {task: _distinct(found[c]["data_hash"] for c in files if c.task == task) for task in params.tasks},
        **{
            name: _distinct(record[name] for record in found.values())
            for name in ("git", "packages", "hardware", "precision", "python")
        },
    }


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, in the order in which it first occurs; one value where all cells agree."""
    kept: list[Any] = []
    for value in values:
        if value not in kept:
            kept.append(value)
    return kept


def gather_deployed(paths: Paths, params: Params) -> list[Deployed]:
    """How every deployed cell does in every runtime; empty where nothing is deployed.

    Raises:
        ArtifactError: the file is missing or damaged, or a deployed cell is not in it.
    """
    content = read_json(paths.bench)
    try:
        found = [Deployed(**entry) for entry in content]
    except TypeError as error:
        raise ArtifactError(f"{paths.bench} holds no latencies ({error}); delete it and run `dvc repro`") from None
    measured = {entry.cell for entry in found}
    if missing := [cell.name for cell in params.deployed_cells() if cell not in measured]:
        raise ArtifactError(f"{paths.bench} has no latency of {', '.join(missing)}; run `dvc repro`")
    return found


def gather_correct(paths: Paths, params: Params) -> dict[Cell, np.ndarray]:
    """Whether each validation example is classified correctly, [examples], for every cell of a classification task.

    Raises:
        ArtifactError: cells have no predictions (all of them are named), or a file is damaged.
    """
    files = {cell: paths.predictions(cell) for cell in params.cells() if not TASKS[cell.task].is_regression}
    _require("predictions", ((cell.name, path) for cell, path in files.items()))
    return {cell: _read_correct(path) for cell, path in files.items()}


def gather_searches(paths: Paths, params: Params) -> dict[SearchedCell, tuple[list[Trial], dict[str, float]]]:
    """The trials of every search, and the metrics of its best model on the validation split.

    Raises:
        ArtifactError: searches have no trials (all of them are named), or a file is damaged.
    """
    folders = {cell: paths.search(cell) for cell in params.searched_cells()}
    _require("search", ((cell.name, folder / "trials.json") for cell, folder in folders.items()))
    return {
        cell: ([Trial(**content) for content in read_json(folder / "trials.json")], read_json(folder / "metrics.json"))
        for cell, folder in folders.items()
    }


def gather_transfers(paths: Paths, params: Params) -> list[Transferred]:
    """How the models do on the tasks that they were not tuned on.

    Raises:
        ArtifactError: results are missing (all of them are named), or a file is damaged.
    """
    pairs = list(product(params.transfer.tasks, params.transfer.to))
    _require("transfer", ((f"{task} to {to}", paths.transfer(task, to)) for task, to in pairs))
    return [Transferred(**content) for pair in pairs for content in read_json(paths.transfer(*pair))]


def gather_masks(paths: Paths, params: Params) -> dict[Cell, Mask]:
    """The mask of every pruned cell, in grid order.

    Raises:
        ArtifactError: cells have no mask (all of them are named), or a file is damaged.
    """
    cells = [cell for cell in params.cells() if cell.is_pruned]
    _require("mask", ((cell.name, paths.mask(cell)) for cell in cells))
    return {cell: read_mask(paths.mask(cell)) for cell in cells}


def gather_scores(paths: Paths, params: Params) -> dict[str, dict[Run, ScoreFile]]:
    """The scores of every stability pass: task -> run -> scores.

    Raises:
        ArtifactError: passes have no scores (all of them are named), or a file is damaged.
    """
    runs = [Run(seed, epoch) for seed in params.stability.seeds for epoch in params.stability.epochs]
    files = {task: {run: paths.rescored(task, *run) for run in runs} for task in params.stability.tasks}
    _require("scores", ((f"{task} {run}", path) for task, of_task in files.items() for run, path in of_task.items()))
    return {task: {run: read_scores(path) for run, path in of_task.items()} for task, of_task in files.items()}


def gather_layer_scores(paths: Paths, params: Params) -> dict[tuple[str, int], pd.DataFrame]:
    """The layers' Fisher scores of every check: task and seed -> table.

    Raises:
        ArtifactError: checks have no scores (all of them are named).
    """
    files = {run: paths.layer_scores(*run) for run in params.layer_rankings()}
    _require("layer scores", ((f"{task}-{seed}", path) for (task, seed), path in files.items()))
    return {run: pd.read_csv(path) for run, path in files.items()}


def _require(what: str, files: Iterable[tuple[str, Path]]) -> None:
    """Every file must be there; one message names all that are not."""
    if missing := [name for name, path in files if not path.is_file()]:
        raise ArtifactError(f"no {what} for {len(missing)}: {', '.join(missing)}; run `dvc repro` to make them")


def _read_result(path: Path, cell: Cell) -> Result:
    content = read_json(path)
    try:
        result = Result.from_dict(content)
        found = result.cell
        _ = result.metrics[result.primary_metric]
    except (TypeError, KeyError) as error:
        raise ArtifactError(f"{path} is no result of an evaluation ({error}); delete it and run `dvc repro`") from None
    if found != cell:
        raise ArtifactError(
            f"{path} holds the result of {found.name}, not of {cell.name}; delete it and run `dvc repro`"
        )
    return result


def _read_correct(path: Path) -> np.ndarray:
    try:
        predictions = pd.read_parquet(path, columns=["label", "prediction"])
    except (ValueError, OSError) as error:  # pyarrow's errors are subclasses of these
        raise ArtifactError(f"{path} is no table of predictions ({error}); delete it and run `dvc repro`") from None
    return (predictions["label"] == predictions["prediction"]).to_numpy()


def _read_effort(path: Path) -> Effort:
    content = read_json(path)
    try:
        seconds, peak_memory = float(content["seconds"]), content["peak_memory"]
        # Of a run that was killed and went on, only the time of its last part is known.
        resumed = content.get("resumed") or content.get("resumed_at_step")
        return Effort(math.nan if resumed else seconds, peak_memory)
    except (TypeError, KeyError, ValueError) as error:
        raise ArtifactError(f"{path} is no provenance ({error}); delete it and run `dvc repro`") from None

"""Read what the stages wrote for every cell of the grid.

The grid comes from the parameters alone: a missing file is an error that names its cell, and files
of cells that are no longer in the grid are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sensibert.config.grid import Cell, Point, SearchedCell
from sensibert.config.methods import METHODS
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.data.tasks import TASKS
from sensibert.errors import ArtifactError
from sensibert.io import read_json, read_record
from sensibert.models.mask import Mask, read_mask
from sensibert.results import Deployed, Effort, RateCurve, Result, SimpleResult, Transferred, Trial


def gather(paths: Paths, params: Params) -> list[Result]:
    """The result of every cell, in grid order.

    Raises:
        ArtifactError: cells have no result (all of them are named), or a file is damaged or holds
            the result of another cell.
    """
    cells = params.cells()
    require("result", ((cell.name, paths.metrics(cell)) for cell in cells))
    return [_read_result(paths.metrics(cell), cell) for cell in cells]


def gather_efforts(paths: Paths, params: Params) -> dict[Cell, Effort]:
    """Time and memory of every cell: of its fine-tuning, and of what it needed before.

    Raises:
        ArtifactError: cells have no provenance (all of them are named), or a file is damaged.
    """
    files = {cell: [paths.provenance("finetune", cell.name), *_preparation(paths, cell)] for cell in params.cells()}
    require("provenance of a fine-tuning", ((cell.name, path) for cell, of_cell in files.items() for path in of_cell))
    return {cell: _read_effort(*of_cell) for cell, of_cell in files.items()}


def _preparation(paths: Paths, cell: Cell) -> Iterator[Path]:
    """Provenance of what other stages did before the fine-tuning of a cell."""
    method = METHODS[cell.method]
    if method.needs_scores:
        yield paths.provenance("score", f"{cell.task}-{cell.seed}")
    if method.starts_tuned:
        yield paths.provenance("finetune", cell.dense.name)


def gather_provenance(paths: Paths, params: Params) -> dict[str, Any]:
    """Where the grid and its searches come from: parameters, every distinct code, data, package set and machine.

    Raises:
        ArtifactError: cells have no provenance (all of them are named), or a file is damaged.
    """
    files: dict[Cell | SearchedCell, Path] = {
        **{cell: paths.provenance("finetune", cell.name) for cell in params.cells()},
        **{cell: paths.provenance("search", cell.name) for cell in params.searched_cells()},
    }
    require("provenance", ((cell.name, path) for cell, path in files.items()))
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
    """Each value once, in the order of first occurrence; a single value if all cells agree."""
    kept: list[Any] = []
    for value in values:
        if value not in kept:
            kept.append(value)
    return kept


def gather_deployed(paths: Paths, params: Params) -> list[Deployed]:
    """How every deployed cell does in every runtime; empty if nothing is deployed.

    Raises:
        ArtifactError: the file is missing or damaged, or a deployed cell is not in it.
    """
    found = read_record(paths.bench, list[Deployed])
    measured = {entry.cell for entry in found}
    if missing := [cell.name for cell in params.deployed_cells() if cell not in measured]:
        raise ArtifactError(f"{paths.bench} has no latency of {', '.join(missing)}; run `dvc repro`")
    return found


def gather_correct(paths: Paths, params: Params) -> dict[Cell, np.ndarray]:
    """Whether each validation example is classified correctly, [examples], for every cell of a task judged by that.

    F1 or Matthews' correlation may rise where the accuracy falls, so a test of the second says nothing about the first.

    Raises:
        ArtifactError: cells have no predictions (all of them are named), or a file is damaged.
    """
    files = {cell: paths.predictions(cell) for cell in params.cells() if _by_accuracy(cell.task)}
    require("predictions", ((cell.name, path) for cell, path in files.items()))
    return {cell: _read_correct(path) for cell, path in files.items()}


def _by_accuracy(task: str) -> bool:
    return TASKS[task].primary_metric == "accuracy"


def gather_searches(paths: Paths, params: Params) -> dict[SearchedCell, tuple[list[Trial], dict[str, float]]]:
    """The trials of every search, and the metrics of its best model on the validation split.

    Raises:
        ArtifactError: searches have no trials (all of them are named), or a file is damaged.
    """
    folders = {cell: paths.search(cell) for cell in params.searched_cells()}
    require("search", ((cell.name, folder / "trials.json") for cell, folder in folders.items()))
    return {
        cell: (read_record(folder / "trials.json", list[Trial]), read_json(folder / "metrics.json"))
        for cell, folder in folders.items()
    }


def gather_rates(paths: Paths, params: Params) -> dict[Point, RateCurve]:
    """The peak rate of every method on every task at every budget, and what was tried for it.

    Raises:
        ArtifactError: rates are missing (all of them are named), or a file is damaged.
    """
    points = list(dict.fromkeys(cell.point for cell in params.cells()))
    require("rate", ((point.name, paths.rate(point)) for point in points))
    return {point: read_record(paths.rate(point), RateCurve) for point in points}


def gather_simple(paths: Paths, params: Params) -> list[SimpleResult]:
    """How well the simple models do on each task.

    Raises:
        ArtifactError: results are missing (all of them are named), or a file is damaged.
    """
    points = list(product(params.tasks, params.simple_models))
    require("result of a simple model", ((f"{task}-{name}", paths.simple(task, name)) for task, name in points))
    return [read_record(paths.simple(*point), SimpleResult) for point in points]


def gather_transfers(paths: Paths, params: Params) -> list[Transferred]:
    """How well the models do on the tasks that they were not tuned on.

    Raises:
        ArtifactError: results are missing (all of them are named), or a file is damaged.
    """
    files = {transferred.name: paths.transfer(transferred) for transferred in params.transferred_cells()}
    require("transfer", files.items())
    return [read_record(path, Transferred) for path in files.values()]


def gather_masks(paths: Paths, params: Params) -> dict[Cell, Mask]:
    """The mask of every pruned cell, in grid order.

    Raises:
        ArtifactError: cells have no mask (all of them are named), or a file is damaged.
    """
    cells = [cell for cell in params.cells() if cell.is_pruned]
    require("mask", ((cell.name, paths.mask(cell)) for cell in cells))
    return {cell: read_mask(paths.mask(cell)) for cell in cells}


def require(what: str, files: Iterable[tuple[str, Path]]) -> None:
    """Require files; one message names all missing ones.

    Raises:
        ArtifactError: files are missing.
    """
    if missing := [name for name, path in files if not path.is_file()]:
        raise ArtifactError(f"no {what} for {len(missing)}: {', '.join(missing)}; run `dvc repro` to make them")


def _read_result(path: Path, cell: Cell) -> Result:
    result = read_record(path, Result)
    if result.cell != cell:
        raise ArtifactError(
            f"{path} holds the result of {result.cell.name}, not of {cell.name}; delete it and run `dvc repro`"
        )
    if result.primary_metric not in result.metrics:
        raise ArtifactError(f"{path} lacks the metric {result.primary_metric}; delete it and run `dvc repro`")
    return result


def _read_correct(path: Path) -> np.ndarray:
    try:
        predictions = pd.read_parquet(path, columns=["label", "prediction"])
    except (ValueError, OSError) as error:  # pyarrow's errors are subclasses of these
        raise ArtifactError(f"{path} is no table of predictions ({error}); delete it and run `dvc repro`") from None
    return (predictions["label"] == predictions["prediction"]).to_numpy()


def _read_effort(fine_tuning: Path, *preparation: Path) -> Effort:
    seconds, peak_memory = _read_cost(fine_tuning)
    return Effort(seconds, sum(_read_cost(path)[0] for path in preparation), peak_memory)


def _read_cost(path: Path) -> tuple[float, int | None]:
    """Seconds and peak memory of one stage."""
    content = read_json(path)
    try:
        seconds, peak_memory = float(content["seconds"]), content["peak_memory"]
    except (TypeError, KeyError, ValueError) as error:
        raise ArtifactError(f"{path} is no provenance ({error}); delete it and run `dvc repro`") from None
    # For a run that was killed and resumed, only the time of its last part is known.
    resumed = content.get("resumed") or content.get("resumed_at_step")
    return math.nan if resumed else seconds, peak_memory

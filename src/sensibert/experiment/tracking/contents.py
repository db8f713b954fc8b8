"""What the runs of cells and trials hold, read from the files that the stages wrote. Nothing here knows MLflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sensibert.config.grid import Cell, Point, SearchedCell
from sensibert.config.methods import METHODS
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.config.simple_models import SIMPLE_MODELS
from sensibert.data.tasks import TASKS
from sensibert.io import hash_file, read_json, read_record
from sensibert.results import CurvePoint, Deployed, History, RateCurve, Result, SimpleResult, Trial, best_first

CELL_STAGES = ("finetune", "evaluate")
"""The DVC stages whose artifacts make up a cell's run."""

_FORMAT = "2"
"""Part of every hash: another one where a run of an earlier version does not hold what a new one would."""

_RUNTIMES = {"torch": "", "onnx": "onnx_", "onnx-int8": "int8_"}
"""Where a model was timed -> how the names of its metrics begin."""

Kind = Literal["cell", "aggregate", "trial", "simple"]


class Times(NamedTuple):
    """When the stages of a run began, and how long they took in sum, without what ran between them."""

    start: int
    """Milliseconds since 1970."""
    seconds: float

    @property
    def end(self) -> int:
        """Milliseconds since 1970 of a run that lasts so long."""
        return self.start + self.milliseconds

    @property
    def milliseconds(self) -> int:
        """How long it took."""
        return round(1000 * self.seconds)


@dataclass(frozen=True)
class Content:
    """What one run holds."""

    kind: Kind
    key: str
    """Unique among the runs of a grid."""
    title: str
    """For people."""
    task: str
    tags: dict[str, str]
    params: dict[str, Any]
    scores: dict[str, float]
    """On the validation split; those of a trial also on the dev split."""
    measured: dict[str, float]
    """Times, memory and latencies: another value makes no new run."""
    times: Times | None
    """None if there is no provenance."""
    hash: str
    """Of the artifacts that the rest follows from."""
    costs: dict[str, float] = field(default_factory=dict)
    """Size and training cost."""
    curve: Sequence[tuple[str, float, int]] = ()
    """Name, value and step."""
    commit: str | None = None
    point: Point | None = None
    """None for what is no point of the grid: a trial, a simple model."""
    cell: Cell | None = None
    """None for what is no cell."""

    @property
    def identity(self) -> tuple[str, str]:
        """Equal for runs that hold the same."""
        return self.key, self.hash


def read_contents(params: Params, paths: Paths) -> list[Content]:
    """What is there of the grid: a run for each cell, each simple model, and each trial of a search.

    Raises:
        ArtifactError: an artifact is damaged.
    """
    deployed = _read_deployed(paths)
    cells = [cell for cell in params.cells() if paths.metrics(cell).exists()]
    simple = [point for point in product(params.tasks, params.simple_models) if paths.simple(*point).exists()]
    searched = [cell for cell in params.searched_cells() if paths.search(cell).exists()]
    return [
        *(_of_cell(params, paths, cell, deployed.get(cell, {})) for cell in cells),
        *(_of_simple(params, paths, *point) for point in simple),
        *(trial for cell in searched for trial in _of_trials(params, paths, cell)),
    ]


def title_of(point: Point) -> str:
    """A point of the grid for people, without its task: `sensitivity 0.4x`, `lora 0.12%`, `full`."""
    kinds = {"kept": f" {point.budget:g}x", "trained": f" {100 * point.budget:g}%", None: ""}
    return f"{point.method}{kinds[METHODS[point.method].budget]}"


def _of_cell(params: Params, paths: Paths, cell: Cell, deployment: dict[str, float]) -> Content:
    files = [paths.metrics(cell), paths.history(cell), paths.predictions(cell), paths.mask(cell)]
    provenance = _read_provenance(paths, CELL_STAGES, cell.name)
    result = read_record(paths.metrics(cell), Result)
    history = read_record(paths.history(cell), History) if paths.history(cell).exists() else None
    return Content(
        kind="cell",
        key=cell.name,
        title=f"{title_of(cell.point)} s{cell.seed}",
        task=cell.task,
        tags={"budget": str(cell.budget), **_tags(params, cell, CELL_STAGES[0])},
        params=_cell_params(_at_found_rate(params, paths, cell), cell),
        scores={**result.metrics, "primary": result.primary},
        measured={**_efforts(provenance), **deployment},
        times=_times(provenance),
        hash=_hash_files(*files),
        costs={"examples": result.examples, **asdict(result.cost), "size_mb": result.cost.model_bytes / 1e6},
        curve=_curve(history.log) if history else (),
        commit=_commit(provenance),
        point=cell.point,
        cell=cell,
    )


def _of_simple(params: Params, paths: Paths, task: str, name: str) -> Content:
    result = read_record(paths.simple(task, name), SimpleResult)
    provenance = _read_provenance(paths, ("simple",), f"{task}-{name}")
    return Content(
        kind="simple",
        key=f"simple-{task}-{name}",
        title=SIMPLE_MODELS[name].title,
        task=task,
        tags={"task": task, "method": name, "needs": result.needs, "stage": "fit_simple", "profile": params.profile},
        params={"task": task, "method": name, **params.model_dump(mode="json", include={"data", "model"})},
        scores={**result.metrics, "primary": result.primary},
        measured=_efforts(provenance),
        times=_times(provenance),
        hash=_hash_files(paths.simple(task, name)),
        costs={"examples": result.examples, "size_mb": result.file_bytes / 1e6},
        commit=_commit(provenance),
    )


def _of_trials(params: Params, paths: Paths, cell: SearchedCell) -> list[Content]:
    files = [paths.search(cell) / name for name in ("trials.json", "metrics.json")]
    trials = read_record(files[0], list[Trial])
    best = best_first(trials)[0]
    reached = {"validation": read_json(files[1])[TASKS[cell.task].primary_metric]}
    shared = params.model_dump(mode="json", include={"data", "model"})
    provenance = _read_provenance(paths, ("search",), cell.name)
    return [
        Content(
            kind="trial",
            key=f"search-{cell.name}-{trial.number}",
            title=f"{cell.method} s{cell.seed} trial {trial.number}",
            task=cell.task,
            tags={"state": trial.state} | _tags(params, cell, "search"),
            params=shared
            | {"task": cell.task, "method": cell.method, "seed": cell.seed}
            | {"training": params.search.training_of(params.training, trial.batch_size).model_dump(mode="json")}
            | {"batch_size": trial.batch_size, "learning_rate": trial.learning_rate},
            scores={"dev": trial.dev[-1]} | (reached if trial == best else {}),
            measured={},
            times=_times(provenance),
            hash=_hash_files(*files),
            curve=[("dev", value, epoch) for epoch, value in enumerate(trial.dev, start=1)],
            commit=_commit(provenance),
        )
        for trial in trials
    ]


def _tags(params: Params, cell: Cell | SearchedCell, stage: str) -> dict[str, str]:
    about = {"task": cell.task, "method": cell.method, "seed": str(cell.seed)}
    return about | {"stage": stage, "profile": params.profile}


def _at_found_rate(params: Params, paths: Paths, cell: Cell) -> Params:
    """The parameters with the rate that was searched for a cell, if one was."""
    settings, file = params.settings_of(cell.method), paths.rate(cell.point)
    if getattr(settings, "learning_rate", None) != "searched" or not file.exists():
        return params
    return params.at_rate(cell.method, read_record(file, RateCurve).rate)


def _cell_params(params: Params, cell: Cell) -> dict[str, Any]:
    """Everything in the parameters that shapes this cell."""
    sections = params.model_dump(mode="json", include={"data", "model", "training"})
    if cell.is_pruned:
        sections |= params.model_dump(mode="json", include={"scoring", "masking"})
        method = METHODS[cell.method]
        if ranked_by := cell.method if method.kind == "control" else method.criterion:
            sections["masking"] = {"budget_kind": params.masking.budget_kind, **params.masking.options(ranked_by)}
    return {**cell._asdict(), **params.settings_of(cell.method).model_dump(), **sections}


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested keys joined by dots; text as is, everything else as JSON."""
    flat: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def _curve(log: Iterable[CurvePoint]) -> list[tuple[str, float, int]]:
    """Every number in the training curve."""
    names = ("loss", "learning_rate")
    return [(f"train/{name}", getattr(point, name), int(point.step)) for point in log for name in names]


Provenance = Mapping[str, Mapping[str, Any]]
"""DVC stage -> the provenance of its run, if there is one."""


def _read_provenance(paths: Paths, stages: Iterable[str], name: str) -> Provenance:
    files = {stage: paths.provenance(stage, name) for stage in stages}
    return {stage: read_json(file) for stage, file in files.items() if file.exists()}


def _times(provenance: Provenance) -> Times | None:
    if not provenance:
        return None
    start = min(datetime.fromisoformat(about["started"]) for about in provenance.values())
    return Times(int(1000 * start.timestamp()), sum(about["seconds"] for about in provenance.values()))


def _efforts(provenance: Provenance) -> dict[str, float]:
    """Seconds of each stage, and what the process of the fine-tuning held at most."""
    found = {f"{stage}_seconds": about["seconds"] for stage, about in provenance.items()}
    if memory := provenance.get(CELL_STAGES[0], {}).get("peak_memory"):
        found["peak_memory_gb"] = memory / 1e9
    return found


def _commit(provenance: Provenance) -> str | None:
    return next((about["git"]["revision"] for about in provenance.values() if "git" in about), None)


def _read_deployed(paths: Paths) -> dict[Cell, dict[str, float]]:
    """The metrics of each cell that was timed: latency, size and primary metric in each runtime."""
    found: dict[Cell, dict[str, float]] = {}
    for entry in read_record(paths.bench, list[Deployed]) if paths.bench.exists() else []:
        found.setdefault(entry.cell, {}).update(_deployment(entry))
    return found


def _deployment(entry: Deployed) -> dict[str, float]:
    runtime = _RUNTIMES[entry.runtime]
    metrics = {
        f"{runtime}latency_ms{'' if size == '1' else f'_batch_{size}'}": 1000 * seconds
        for size, seconds in entry.seconds.items()
    }
    if runtime:  # those in PyTorch are the cell's own
        metrics[f"{runtime}size_mb"] = entry.file_bytes / 1e6
        metrics[f"{runtime}primary"] = entry.metrics[TASKS[entry.task].primary_metric]
    return metrics


def _hash_files(*files: Path) -> str:
    return hash_of(hash_file(file) if file.exists() else "" for file in files)


def hash_of(parts: Iterable[str]) -> str:
    """The sha256 of some texts, in hexadecimal."""
    return hashlib.sha256("\n".join((_FORMAT, *parts)).encode()).hexdigest()

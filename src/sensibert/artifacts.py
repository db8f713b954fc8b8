"""The path and the format of every file that passes between the stages, in one place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sensibert.errors import ArtifactError
from sensibert.masks import Mask, ModuleKey, Modules, Shape, UnitCosts
from sensibert.params import Cell, SearchedCell

_METADATA = "sensibert"
"""Entry of a safetensors header that holds what is no array."""


@dataclass(frozen=True)
class Paths:
    """Where one profile keeps its files; dvc.yaml names the same places."""

    profile: str
    root: Path = Path()

    @property
    def data(self) -> Path:
        """Everything DVC caches for this profile."""
        return self.root / "data" / self.profile

    @property
    def reports(self) -> Path:
        """The committed tables and plots."""
        return self.root / "reports" / self.profile

    def raw(self, task: str) -> Path:
        """Folder of a normalized task: one parquet file per split, and audit.json."""
        return self.data / "raw" / task

    def transferred_raw(self, task: str) -> Path:
        """Folder of a task that models of another task are evaluated on."""
        return self.data / "raw_transferred" / task

    def transfer(self, task: str, to: str) -> Path:
        """How the models of one task do on another."""
        return self.data / "results" / f"transfer-{task}-{to}.json"

    def scores(self, task: str, seed: int) -> Path:
        """Scores of every criterion from one pass."""
        return self.data / "scores" / f"{task}-{seed}.safetensors"

    def rescored(self, task: str, seed: int, epoch: int) -> Path:
        """Scores of a stability pass after so many epochs."""
        return self.data / "rescored" / f"{task}-{seed}" / f"epoch-{epoch}.safetensors"

    def layer_scores(self, task: str, seed: int) -> Path:
        """Fisher scores of the layers in the course of fine-tuning."""
        return self.data / "rescored" / f"{task}-{seed}-layers.csv"

    def mask(self, cell: Cell) -> Path:
        """The mask of a pruned cell."""
        return self.data / "masks" / f"{cell.name}.safetensors"

    def model(self, cell: Cell) -> Path:
        """Folder of the fine-tuned model."""
        return self.data / "models" / cell.name

    def export(self, cell: Cell) -> Path:
        """Folder of the exported model (ONNX)."""
        return self.data / "models" / f"{cell.name}-onnx"

    @property
    def bench(self) -> Path:
        """Latencies of the deployed models; measured, so not deterministic."""
        return self.data / "bench.json"

    def history(self, cell: Cell) -> Path:
        """Training curve of a cell."""
        return self.data / "history" / f"{cell.name}.json"

    def metrics(self, cell: Cell) -> Path:
        """Metrics and costs of a cell (`results.Result`)."""
        return self.data / "results" / cell.name / "metrics.json"

    def predictions(self, cell: Cell) -> Path:
        """Per-example predictions of a cell."""
        return self.data / "results" / cell.name / "predictions.parquet"

    def provenance(self, stage: str, name: str) -> Path:
        """Times, versions and hardware of one stage run; the only file of a stage that is not deterministic."""
        return self.data / "provenance" / stage / f"{name}.json"

    def search(self, cell: SearchedCell) -> Path:
        """Folder of a search: trials.json, the best model, its metrics and predictions."""
        return self.data / "results" / f"search-{cell.name}"

    def search_scratch(self, cell: SearchedCell) -> Path:
        """Scratch folder of an unfinished search; no output of any stage."""
        return self.data / "checkpoints" / f"search-{cell.name}"

    def checkpoints(self, cell: Cell) -> Path:
        """Scratch folder of an unfinished fine-tuning; no output of any stage."""
        return self.data / "checkpoints" / cell.name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a place beside `path` to write to, and move it there only when the block succeeds.

    Works for a file and for a folder. After an exception nothing is left behind and an earlier
    `path` is still whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    _remove(beside)
    try:
        yield beside
        if beside.is_dir():
            _remove(path)
        beside.replace(path)
    finally:
        _remove(beside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def claim_scratch(folder: Path, run: str, *, resume: bool = True) -> None:
    """Give a scratch folder to a run; what another run left there, or this one if it shall not go on, is removed.

    Args:
        folder: Made if it is not there.
        run: Identity of the run, such as a hash of everything that shapes it.
        resume: Whether the run goes on from what it left.
    """
    owner = folder / "run.json"
    if resume and owner.exists() and json.loads(owner.read_text(encoding="utf-8")) == run:
        return
    shutil.rmtree(folder, ignore_errors=True)
    write_json(owner, run)


def write_json(path: Path, content: Any) -> None:
    """Write JSON with sorted keys, so that equal content gives equal bytes."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing; run `dvc repro` to make it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); delete it and run `dvc repro`") from None


@dataclass(frozen=True)
class ScoreFile:
    """The scores of one pass, all that any budget needs."""

    scores: dict[str, Modules]
    """criterion -> module -> scores [heads, head size], or [1, intermediate size]."""
    costs: dict[ModuleKey, int]
    """Parameters that one dimension of a module holds."""
    grains: dict[ModuleKey, Shape]
    """What the kept heads and head sizes of a module must be multiples of."""
    about: dict[str, Any]
    """Backbone, task, seed, epoch."""
    units: dict[str, UnitCosts] = field(default_factory=dict)
    """`macs` (of a text of mean length) and `size` (bytes of the weights file) -> what a dimension costs."""

    def of(self, criterion: str) -> Modules:
        """The scores of one criterion.

        Raises:
            ArtifactError: the file has none.
        """
        if criterion not in self.scores:
            raise ArtifactError(f"the score file has no scores of {criterion!r}, only of {', '.join(self.scores)}")
        return self.scores[criterion]

    def unit(self, name: str) -> UnitCosts:
        """The costs in another unit than parameters.

        Raises:
            ArtifactError: the file has none.
        """
        if name not in self.units:
            raise ArtifactError(
                f"the score file has no costs in {name!r}, only in {', '.join(['params', *self.units])}"
            )
        return self.units[name]


def write_scores(path: Path, content: ScoreFile) -> None:
    """Write a score file (safetensors; arrays named `criterion/layer.group`)."""
    tensors = {
        f"{criterion}/{key}": np.ascontiguousarray(values, dtype=np.float32)
        for criterion, modules in content.scores.items()
        for key, values in modules.items()
    }
    grains = {str(key): list(grain) for key, grain in content.grains.items()}
    units = {
        name: {"per_dimension": _named(unit.per_dimension), "dense": unit.dense} for name, unit in content.units.items()
    }
    metadata = {"costs": _named(content.costs), "grains": grains, "units": units, "about": content.about}
    _save(path, tensors, metadata)


def read_scores(path: Path) -> ScoreFile:
    """Read a score file.

    Raises:
        ArtifactError: the file is missing, damaged or no score file.
    """
    with _understanding(path):
        tensors, metadata = _load(path)
        scores: dict[str, Modules] = {}
        for name, values in tensors.items():
            criterion, _, key = name.partition("/")
            scores.setdefault(criterion, {})[ModuleKey.parse(key)] = values
        costs = _by_module(metadata["costs"])
        grains = {ModuleKey.parse(key): Shape(*grain) for key, grain in metadata["grains"].items()}
        units = {
            name: UnitCosts(_by_module(unit["per_dimension"]), int(unit["dense"]))
            for name, unit in metadata["units"].items()
        }
        about = metadata["about"]
    ordered = {criterion: dict(sorted(modules.items())) for criterion, modules in scores.items()}
    return ScoreFile(ordered, costs, dict(sorted(grains.items())), about, units)


def write_mask(path: Path, mask: Mask) -> None:
    """Write a mask (safetensors; one uint8 array per module)."""
    tensors = {str(key): np.ascontiguousarray(keep, dtype=np.uint8) for key, keep in mask.keep.items()}
    _save(path, tensors, {"costs": _named(mask.costs), "about": mask.about})


def read_mask(path: Path) -> Mask:
    """Read a mask.

    Raises:
        ArtifactError: the file is missing, damaged or no mask.
    """
    with _understanding(path):
        tensors, metadata = _load(path)
        keep = {ModuleKey.parse(key): values.astype(bool) for key, values in tensors.items()}
        costs = _by_module(metadata["costs"])
        about = metadata["about"]
    return Mask(dict(sorted(keep.items())), costs, about)


def _named(costs: dict[ModuleKey, int]) -> dict[str, int]:
    return {str(key): cost for key, cost in costs.items()}


def _by_module(costs: dict[str, int]) -> dict[ModuleKey, int]:
    return dict(sorted((ModuleKey.parse(key), int(cost)) for key, cost in costs.items()))


def _save(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    from safetensors.numpy import save_file

    # One entry alone: safetensors writes several in a random order.
    header = {_METADATA: json.dumps(metadata, sort_keys=True)}
    with replacing(path) as beside:
        save_file(dict(sorted(tensors.items())), beside, metadata=header)


def _load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        metadata = json.loads((file.metadata() or {})[_METADATA])
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    return tensors, metadata


@contextmanager
def _understanding(path: Path) -> Iterator[None]:
    """Turn what reading a file of the wrong content raises into one `ArtifactError`."""
    from safetensors import SafetensorError

    try:
        yield
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing; run `dvc repro` to make it") from None
    except (SafetensorError, KeyError, ValueError) as error:  # JSON's errors and a wrong module name are ValueErrors
        raise ArtifactError(f"{path} is damaged or of another kind ({error}); delete it and run `dvc repro`") from None

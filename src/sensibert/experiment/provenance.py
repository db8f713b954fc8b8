"""Where a result comes from: code, parameters, data, packages, hardware and time. Light imports only."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sensibert.compute.host import hardware, peak_memory

PACKAGES = (
    "sensibert",
    "accelerate",
    "datasets",
    "evaluate",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "optuna",
    "pandas",
    "peft",
    "pyarrow",
    "safetensors",
    "scikit-learn",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)
"""Packages whose version can change a result."""

_NO_CODE = ("dvc.lock", "params.yaml", "reports")


class Timer:
    """Times the actual work of a stage: `with Timer() as timer: ...`."""

    def __enter__(self) -> Self:
        self.started = datetime.now(UTC)
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._start
        self.finished = datetime.now(UTC)


def collect(
    timer: Timer,
    params: Mapping[str, Any],
    data_hash: str | None = None,
    precision: str | None = None,
    root: Path = Path(),
) -> dict[str, Any]:
    """Describe one stage run.

    Args:
        timer: the finished timer of the actual work.
        params: the parameters of the run, JSON-ready; recorded whole and as a hash.
        data_hash: hash of the data that the stage read.
        precision: number format that was actually used, such as `bf16`.
        root: a folder of the git work tree.

    Returns:
        A JSON-ready mapping; times are UTC in ISO 8601, `seconds` is wall time, `peak_memory` (of the whole
        process) and `memory` (of the machine) are in bytes.
    """
    return {
        "seconds": round(timer.seconds, 3),
        "peak_memory": peak_memory(),
        "started": timer.started.isoformat(timespec="milliseconds"),
        "finished": timer.finished.isoformat(timespec="milliseconds"),
        "git": git_state(root),
        "params": dict(params),
        "params_hash": params_hash(params),
        "data_hash": data_hash,
        "precision": precision,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "hardware": hardware(),
    }


def params_hash(params: Mapping[str, Any]) -> str:
    """SHA-256 of parameters; the order of the keys does not matter."""
    canonical = json.dumps(params, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def git_state(root: Path = Path()) -> dict[str, Any]:
    """Commit of the work tree and whether tracked files differ from it; both null if git does not answer.

    Files that the pipeline itself writes do not count, since in the middle of a run they always differ. Nor does
    `params.yaml`, whose content is in the record: another profile does not change the code.
    """
    revision = _git(root, "rev-parse", "HEAD")
    if revision is None:
        return {"revision": None, "dirty": None}
    excluded = (f":(exclude,top){path}" for path in _NO_CODE)
    changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", *excluded)
    return {"revision": revision, "dirty": None if changes is None else bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    # Without the optional locks, `git status` never gets in the way of the user's git commands.
    # A repository may name a program to be run for that.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *arguments]
    try:
        finished = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return finished.stdout.strip()


def package_versions() -> dict[str, str | None]:
    """Installed version of each of `PACKAGES`; null if it is not installed."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

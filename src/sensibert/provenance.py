"""Where a result comes from: code, parameters, data, packages, hardware and time. Light imports only."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

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
"""Distributions whose version can change a result."""

_NO_CODE = ("dvc.lock", "params.yaml", "reports")


class Timer:
    """Measures the essential work of a stage: `with Timer() as timer: ...`."""

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
        timer: the finished timer of the essential work.
        params: the parameters of the run, JSON-ready; recorded whole and as a hash.
        data_hash: hash of the data that the stage read.
        precision: number format that was really used, such as `bf16`.
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


def peak_memory() -> int | None:
    """The most memory that this process held at once, in bytes: on the GPU where there is one, else resident."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def params_hash(params: Mapping[str, Any]) -> str:
    """SHA-256 of parameters; the order of the keys does not matter."""
    canonical = json.dumps(params, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def git_state(root: Path = Path()) -> dict[str, Any]:
    """Commit of the work tree and whether tracked files differ from it; both null where git does not answer.

    Files that the pipeline itself writes do not count, since in the middle of a run they always differ, nor does
    `params.yaml`, whose content stands in the record: another profile of the same code is no change of it.
    """
    revision = _git(root, "rev-parse", "HEAD")
    if revision is None:
        return {"revision": None, "dirty": None}
    excluded = (f":(exclude,top){path}" for path in _NO_CODE)
    changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", *excluded)
    return {"revision": revision, "dirty": None if changes is None else bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    # Without the optional locks, `git status` never stands in the way of a git command of the user.
    command = ["git", "--no-optional-locks", *arguments]
    try:
        finished = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return finished.stdout.strip()


def package_versions() -> dict[str, str | None]:
    """Installed version of each of `PACKAGES`; null where it is not installed."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def hardware() -> dict[str, Any]:
    """Processor, usable cores and memory; GPU and threads only where torch is already loaded."""
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": _memory(),
        "gpu": gpu,
        "torch_threads": torch.get_num_threads() if torch else None,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None

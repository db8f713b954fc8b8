"""Facts about this machine, for the records of what ran where. Does not import torch by itself."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import psutil


def hardware() -> dict[str, Any]:
    """Processor, usable cores and memory; GPU, threads and processes only where torch is already loaded."""
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "gpu": gpu,
        "torch_threads": torch.get_num_threads() if torch else None,
        "processes": torch.distributed.get_world_size() if torch and torch.distributed.is_initialized() else 1,
    }


def peak_memory() -> int | None:
    """The most memory that this process held at once, in bytes: on the GPU if there is one, else resident."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows, where psutil knows
        return int(psutil.Process().memory_info().peak_wset)  # type: ignore[attr-defined]
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _cpu_model() -> str:
    # The one fact that psutil does not provide.
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()

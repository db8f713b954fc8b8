"""Ends the commands of cells whose worker is gone, however it went.

    python -m sensibert.grid.reaper CLONE

reads its standard input, which the worker keeps open. A worker that is killed cannot end what it started, and a command
left alone would go on for hours, in a clone that the next cell gets. Light imports: one runs beside each worker.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

_PATIENCE = 10.0
"""Seconds in which a killed process should be gone."""


def watch(clone: Path) -> subprocess.Popen[bytes]:
    """Start a reaper beside this process; it acts when this process ends, or when its `stdin` is closed."""
    command = [sys.executable, "-m", "sensibert.grid.reaper", str(clone)]
    # In a session of its own: Ctrl-C and the like, given to the group of the worker, do not end it.
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def reap(clone: Path) -> int:
    """Kill the commands that DVC runs in a clone, and what they started; gives how many there were."""
    found = [process for process in psutil.process_iter() if _root_of(process) == str(clone)]
    for process in found:
        _kill(process)
    psutil.wait_procs(found, timeout=_PATIENCE)
    return len(found)


def _root_of(process: psutil.Process) -> str | None:
    """The work tree whose stage a process belongs to: DVC leaves it in the environment."""
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return None
    return environment.get("DVC_ROOT") if "DVC_STAGE" in environment else None


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.Error:  # it has ended meanwhile
        return


if __name__ == "__main__":
    sys.stdin.buffer.read()
    reap(Path(sys.argv[1]))

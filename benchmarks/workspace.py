"""Small work trees of git and DVC that a benchmark makes, and the commands that run in them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def begin(root: Path) -> None:
    """Make a repository of git and DVC of what is in a folder."""
    for command in ("git init --quiet", "dvc init --quiet", "git add --all", "git commit --quiet -m Stand-ins"):
        run(root, *command.split())


def run(root: Path, *command: str, **more: str) -> str:
    """What a command prints to stdout that must succeed; `more` joins its environment."""
    done = subprocess.run(
        command, cwd=root, env=environment(root, **more), check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def seconds(root: Path, *command: str, **more: str) -> float:
    """What a command takes."""
    started = time.perf_counter()
    run(root, *command, **more)
    return time.perf_counter() - started


def environment(root: Path, **more: str) -> dict[str, str]:
    """This Python and this project's code first, DVC's notes in the work tree, and a name for commits."""
    who = {f"GIT_{who}_{what}": "bench@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    of_dvc = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(root / ".dvc" / "tmp" / "site")}
    return {**os.environ, **who, **of_dvc, "PATH": path, "PYTHONPATH": str(ROOT / "src"), **more}

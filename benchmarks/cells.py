"""What DVC itself takes for a grid of 100, 1,000 and 5,000 cells, when there is nothing to compute.

    python -m benchmarks.cells

The workspace has this project's code and dvc.yaml, with a grid of that many cells; every output is a stand-in of a
few bytes, and dvc.lock says that all of them are up to date. So the times are those of DVC alone: reading its files,
building its graph, and comparing hashes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from sensibert.experiment.provenance import Timer, collect
from sensibert.io import replacing, write_json

ROOT = Path(__file__).parents[1]
CODE = ("dvc.yaml", "pipeline", "src")

_GRIDS = {100: (19, 5), 1000: (49, 20), 5000: (99, 50)}
"""Cells -> budgets and seeds; a dense cell of each seed comes on top."""
_NOTHING: dict[str, Any] = {
    "criteria": ["sensitivity"],
    "tuning": ["full"],
    "pruning": [],
    "peft": [],
    "peft_budgets": [],
    "simple_models": [],
}

_NOWHERE = ("deployment", "search", "stability", "layer_ranking", "transfer")
"""Sections whose cells are left out."""


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", choices=list(_GRIDS), default=list(_GRIDS))
    parser.add_argument("--out", type=Path, default=Path("reports/benchmarks"))
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    return parser


def measure(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each size of the grid."""
    grids = {6: (2, 2)} if chosen.quick else {cells: _GRIDS[cells] for cells in chosen.cells}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for cells, (budgets, seeds) in grids.items():
            root = Path(folder) / str(cells)
            _make(root, budgets, seeds)
            stages = _lock(root)
            rows.append(
                {
                    "cells": cells,
                    "stages": stages,
                    "dvc.lock, MB": (root / "dvc.lock").stat().st_size / 1e6,
                    "dvc status, s": _seconds(root, "dvc", "status"),
                    "dvc repro, s": _seconds(root, "dvc", "repro"),
                    "dvc status of a cell, s": _seconds(root, "dvc", "status", "evaluate_dense@sst2-full-0"),
                    "writing a stage, s": _writing(root),
                }
            )
    return rows


def _make(root: Path, budgets: int, seeds: int) -> None:
    """A workspace of DVC with this project's code and a grid."""
    root.mkdir()
    for name in CODE:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, root / name)
    shutil.copytree(ROOT / "profiles", root / "profiles")
    params = yaml.safe_load((ROOT / "profiles" / "tiny.yaml").read_text(encoding="utf-8"))
    kept = [round((place + 1) / (budgets + 1), 4) for place in range(budgets)]
    elsewhere = {name: _without_cells(params.get(name, {})) for name in _NOWHERE}
    content = {**params, **_NOTHING, **elsewhere, "budgets": kept, "seeds": list(range(seeds))}
    (root / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    (root / ".gitignore").write_text("/data\n/reports\n")
    for command in ("git init --quiet", "dvc init --quiet", "git add --all", "git commit --quiet -m Grid"):
        _run(root, *command.split())


def _without_cells(section: dict[str, Any]) -> dict[str, Any]:
    lists = ("tasks", "criteria", "pruning", "tuning", "seeds", "to")
    return {key: [] if key in lists else value for key, value in section.items()}


def _lock(root: Path) -> int:
    """Write a stand-in for every output, and a dvc.lock by which all is up to date; gives the number of stages."""
    from dvc.repo import Repo
    from dvc.stage.serialize import to_single_stage_lockfile

    with Repo(str(root)) as repo, repo.lock:
        graph = repo.index.graph
        stages = list(TopologicalSorter({stage: set(graph.successors(stage)) for stage in graph}).static_order())
        for item in (item for stage in stages for item in (*stage.outs, *stage.deps) if not item.exists):
            path = Path(item.fs_path)
            path = path if path.suffix else path / "stand-in"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(item.def_path)
        entries = {}
        for stage in stages:
            stage.save(run_cache=False)
            stage.commit()
            entries[stage.name] = to_single_stage_lockfile(stage)
    plain = json.loads(json.dumps({"schema": "2.0", "stages": entries}))
    with (root / "dvc.lock").open("w", encoding="utf-8") as file:
        yaml.dump(plain, file, yaml.CSafeDumper, sort_keys=False)
    return len(entries)


def _writing(root: Path) -> float:
    """What DVC takes after each stage that ran: it reads the lock, with its comments, and writes it."""
    from dvc.utils.serialize import modify_yaml

    for _ in range(2):  # the first time it imports
        started = time.perf_counter()
        with modify_yaml(str(root / "dvc.lock")):
            pass
    return time.perf_counter() - started


def _seconds(root: Path, *command: str) -> float:
    started = time.perf_counter()
    _run(root, *command)
    return time.perf_counter() - started


def _run(root: Path, *command: str) -> None:
    who = {f"GIT_{who}_{what}": "bench@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    of_dvc = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(root / ".dvc" / "tmp" / "site")}
    environment = {**os.environ, **who, **of_dvc, "PATH": path, "PYTHONPATH": str(root / "src")}
    done = subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, text=True)
    assert "Running stage" not in done.stdout, done.stdout
    assert "changed" not in done.stdout, done.stdout


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, print its table, and write it with its numbers to --out."""
    chosen = options().parse_args(arguments)
    with Timer() as timer:
        rows = measure(chosen)
    provenance = collect(timer, {name: str(value) for name, value in vars(chosen).items()})
    table = tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3g")
    heading = f"`python -m benchmarks.cells` in {timer.seconds:.0f} s, {provenance['hardware']['cpu']}"
    write_json(chosen.out / "cells.json", {"rows": rows, "provenance": provenance})
    with replacing(chosen.out / "cells.md") as beside:
        beside.write_text(f"{heading}\n\n{table}\n", encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()

"""What DVC itself takes for a grid of 100, 1,000 and 5,000 cells, when there is nothing to compute.

    python -m benchmarks.cells

The workspace has this project's code and dvc.yaml, with a grid of that many cells; every output is a stand-in of a
few bytes, and dvc.lock says that all of them are up to date. So the times are those of DVC alone: reading its files,
building its graph, and comparing hashes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from benchmarks import workspace
from benchmarks.common import Options, Row, run

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


def options() -> Options:
    """The command line."""
    parser = Options(str(__doc__).partition("\n")[0], with_backbone=False)
    parser.add_argument("--cells", type=int, nargs="+", choices=list(_GRIDS), default=list(_GRIDS))
    return parser


def measure(chosen: argparse.Namespace) -> list[Row]:
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
                    "dvc status, s": _idle_seconds(root, "dvc", "status"),
                    "dvc repro, s": _idle_seconds(root, "dvc", "repro"),
                    "dvc status of a cell, s": _idle_seconds(root, "dvc", "status", "evaluate_dense@sst2-full-0"),
                    "writing a stage, s": _writing(root),
                }
            )
    return rows


def _make(root: Path, budgets: int, seeds: int) -> None:
    """A workspace of DVC with this project's code and a grid."""
    root.mkdir()
    for name in CODE:
        source = workspace.ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, root / name)
    shutil.copytree(workspace.ROOT / "profiles", root / "profiles")
    params = yaml.safe_load((workspace.ROOT / "profiles" / "tiny.yaml").read_text(encoding="utf-8"))
    kept = [round((place + 1) / (budgets + 1), 4) for place in range(budgets)]
    elsewhere = {name: _without_cells(params.get(name, {})) for name in _NOWHERE}
    content = {**params, **_NOTHING, **elsewhere, "budgets": kept, "seeds": list(range(seeds))}
    (root / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    (root / ".gitignore").write_text("/data\n/reports\n")
    workspace.begin(root)


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


def _idle_seconds(root: Path, *command: str) -> float:
    """What a command of DVC takes that finds nothing to do."""
    started = time.perf_counter()
    said = workspace.run(root, *command)
    taken = time.perf_counter() - started
    assert "Running stage" not in said, said
    assert "changed" not in said, said
    return taken


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    run("cells", options(), measure, arguments)


if __name__ == "__main__":
    main()

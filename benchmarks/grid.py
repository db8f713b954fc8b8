"""What the machinery of `sensibert grid` costs: cells that only wait, on 1, 2 and 4 workers.

    python -m benchmarks.grid

Each cell sleeps for a known time in a process of its own, so that several fit on one processor; the clones, DVC, the
cache and Ray are real. The cluster is on this machine and its start is not counted, for a long run starts one. The
time that is not sleep is the overhead: of a worker for each cell, and of the head, which looks for outdated stages,
takes the results in and runs what gathers.
"""

from __future__ import annotations

import argparse
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from benchmarks import workspace
from benchmarks.common import Options, Row, run

_STAND_IN = """
import sys, time
from pathlib import Path
time.sleep(float(sys.argv[1]))
Path(sys.argv[2]).parent.mkdir(parents=True, exist_ok=True)
Path(sys.argv[2]).write_text(sys.argv[2])
"""

_CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=int(sys.argv[1]), object_store_memory=80 * 2**20,
                                                            include_dashboard=False))
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


def options() -> Options:
    """The command line."""
    parser = Options(str(__doc__).partition("\n")[0], with_backbone=False)
    parser.add_argument("--cells", type=int, default=24, help="stand-in cells")
    parser.add_argument("--seconds", type=float, default=5.0, help="that each of them sleeps")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    return parser


def measure(chosen: argparse.Namespace) -> list[Row]:
    """One row for each number of workers, and one for `dvc repro`."""
    cells, seconds = (4, 0.2) if chosen.quick else (chosen.cells, chosen.seconds)
    workers = [2] if chosen.quick else chosen.workers
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number in (None, *workers):
            root = Path(folder) / f"head-{number}"
            _make(root, cells, seconds)
            wall = _serial(root) if number is None else _on_workers(root, number)
            ideal = cells * seconds / (number or 1)
            rows.append(
                {
                    "run": "dvc repro" if number is None else f"grid, {number} workers",
                    "cells": cells,
                    "sleep per cell, s": seconds,
                    "wall, s": wall,
                    "ideal, s": ideal,
                    "efficiency": ideal / wall,
                    "overhead per cell and worker, s": (wall - ideal) * (number or 1) / cells,
                }
            )
    return rows


def _make(root: Path, cells: int, seconds: float) -> None:
    root.mkdir()
    params = yaml.safe_load((workspace.ROOT / "profiles" / "tiny.yaml").read_text(encoding="utf-8"))
    (root / "params.yaml").write_text(yaml.safe_dump({**params, "seeds": list(range(cells))}))
    stages = {
        "download": {"cmd": "python stand_in.py 0 data/raw", "deps": ["stand_in.py"], "outs": ["data/raw"]},
        "cell": {
            "matrix": {"seed": "${seeds}"},
            "cmd": f"python stand_in.py {seconds} data/cells/${{item.seed}}",
            "deps": ["stand_in.py", "data/raw"],
            "outs": ["data/cells/${key}"],
        },
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"vars": ["params.yaml"], "stages": stages}, sort_keys=False))
    (root / "stand_in.py").write_text(_STAND_IN)
    (root / ".gitignore").write_text("/data\n")
    workspace.begin(root)
    workspace.run(root, "dvc", "repro", "--quiet", "download")


def _serial(root: Path) -> float:
    return workspace.seconds(root, "dvc", "repro")


def _on_workers(root: Path, workers: int) -> float:
    ray = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with _cluster(root, workers, ray) as address:
        return workspace.seconds(
            root, "sensibert", "grid", "--address", address, "--scratch", str(root.parent / "scratch"), **ray
        )


@contextmanager
def _cluster(root: Path, cpus: int, ray: Mapping[str, str]) -> Iterator[str]:
    command = [sys.executable, "-c", _CLUSTER, str(cpus)]
    with subprocess.Popen(
        command, env=workspace.environment(root, **ray), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as cluster:
        assert cluster.stdin is not None
        assert cluster.stdout is not None
        yield cluster.stdout.readline().strip()
        cluster.stdin.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    run("grid", options(), measure, arguments)


if __name__ == "__main__":
    main()

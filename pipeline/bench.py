"""Time the models that are to be deployed, in PyTorch, ONNX and INT8; those of a task take turns."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from pipeline.stage import run
from sensibert.artifacts import Paths, write_json
from sensibert.params import Params


def bench(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/bench.json; an empty list where nothing is deployed."""
    found = []
    if cells := params.deployed_cells():
        from sensibert.bench import bench_cells  # it loads PyTorch, which nothing to deploy does not need

        found = bench_cells(cells, paths)
    write_json(paths.bench, [asdict(entry) for entry in found])


if __name__ == "__main__":
    run(bench)

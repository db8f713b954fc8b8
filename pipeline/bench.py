"""Time the deployed models in PyTorch, ONNX and INT8; those of the same task take turns."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from pipeline.stage import run
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.io import write_json


def bench(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/bench.json; an empty list if nothing is deployed."""
    found = []
    if cells := params.deployed_cells():
        from sensibert.deploy.bench import bench_cells  # it loads PyTorch, which an empty list does not need

        found = bench_cells(cells, paths)
    write_json(paths.bench, [asdict(entry) for entry in found])


if __name__ == "__main__":
    run(bench)

"""The paper's grid on 1 to 256 workers, simulated from times that were measured.

    python -m benchmarks.simulation

The grid is that of Sensi-BERT made whole: the eight tasks of GLUE without WNLI, ten methods, eight budgets, five seeds.
A cell takes what its epochs take of sentences at the rates of reports/benchmarks/epoch.json (one worker of that
machine), scaled by the tokens of its task and by its budget; `sensibert grid` adds its overhead for each cell and
each level. Within a level cells begin in the order of the grid, as Ray begins them, each on the worker that is free
first. The head takes its time for each stage at each level, as docs/scale.md has it: DVC looks (0.022 s) and writes
(0.013 s). What is simulated is the waiting; the rates are those of SST-2 on that machine. No GPU was measured:
`--speed` says how many times as fast a worker is assumed to be.
"""

from __future__ import annotations

import argparse
import heapq
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import Options, Row, run

# Rows of train and of the validation splits (GLUE, Wang et al., arXiv 1804.07461).
ROWS = {
    "mnli": (392_702, 19_647),
    "qqp": (363_846, 40_430),
    "qnli": (104_743, 5_463),
    "sst2": (67_349, 872),
    "cola": (8_551, 1_043),
    "stsb": (5_749, 1_500),
    "mrpc": (3_668, 408),
    "rte": (2_490, 277),
}
TOKENS = {"mnli": 39, "qqp": 30, "qnli": 50, "sst2": 13, "cola": 11, "stsb": 31, "mrpc": 53, "rte": 64}
"""Mean tokens of a text or a pair, rounded."""
BUDGETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
SEEDS = 5
EPOCHS = 3
CRITERIA = 4
"""Methods that cut the scores of one pass; their cells are slim."""
PROCEDURES = 3
"""Methods that begin with the tuned dense model and train again."""
DENSE_METHODS = 3
"""Methods that train the dense model, at no budget."""


@dataclass(frozen=True)
class Rates:
    """Sentences of SST-2 in a second on one worker."""

    dense: float
    slim: float
    """At `slim_budget`."""
    slim_budget: float
    scoring: float

    @classmethod
    def read(cls, path: Path) -> Rates:
        """Those that benchmarks.epoch measured in fp32."""
        rows = {row["run"]: row for row in json.loads(path.read_text())["rows"] if row["precision"] == "fp32"}
        slim, both = rows["fine_tune, slim 0.4"], rows["scoring and fine_tune, slim 0.4"]
        sentences = slim["sentences/s"] * slim["seconds"]
        scoring = sentences / (both["seconds"] - slim["seconds"])
        return cls(rows["fine_tune, dense"]["sentences/s"], slim["sentences/s"], 0.4, scoring)

    def seconds(self, sentences: float, task: str, budget: float | None) -> float:
        """To train on sentences of a task, dense or slim; a line through the two that were measured."""
        dense, slim = 1 / self.dense, 1 / self.slim
        each = dense if budget is None else slim + (dense - slim) * (budget - self.slim_budget) / (1 - self.slim_budget)
        return sentences * each * TOKENS[task] / TOKENS["sst2"]


def options() -> Options:
    """The command line."""
    parser = Options("makespan and cost of the paper's grid on many workers, simulated", with_backbone=False)
    parser.add_argument("--rates", type=Path, default=Path("reports/benchmarks/epoch.json"))
    parser.add_argument("--workers", type=int, nargs="+", default=[2**power for power in range(9)])
    parser.add_argument("--speed", type=float, default=1.0, help="of a worker, in those that were measured")
    parser.add_argument("--overhead", type=float, default=1.0, help="seconds of a worker for each cell")
    parser.add_argument(
        "--stage", type=float, default=0.036, help="seconds of the head for each stage of the grid, at each level"
    )
    return parser


def measure(chosen: argparse.Namespace) -> list[Row]:
    """One row for each number of workers."""
    grid = [[seconds / chosen.speed for seconds in level] for level in levels(Rates.read(chosen.rates))]
    cells = [seconds + chosen.overhead for level in grid for seconds in level]
    at_head = chosen.stage * len(cells)
    longest = sum(max(level) + chosen.overhead + at_head for level in grid)
    rows: list[Row] = []
    for workers in chosen.workers:
        span = sum(makespan(level, workers, chosen.overhead) + at_head for level in grid)
        rows.append(
            {
                "workers": workers,
                "cells": len(cells),
                "hours": span / 3600,
                "times as fast as one": rows[0]["hours"] * 3600 / span if rows else 1.0,
                "efficiency": sum(cells) / (workers * span),
                "worker-hours": workers * span / 3600,
                "bound by the longest cells, hours": longest / 3600,
            }
        )
    return rows


def levels(rates: Rates) -> list[list[float]]:
    """The seconds of the cells of each level of DVC's graph that leaves the head."""
    return [
        [each for task in ROWS for each in _first(task, rates) * SEEDS],
        [each for task in ROWS for budget in BUDGETS for each in _at_budget(task, budget, rates) * SEEDS],
        [each for task in ROWS for each in _evaluations(task, rates)],
    ]


def _first(task: str, rates: Rates) -> list[float]:
    """The scoring pass, and the dense trainings."""
    train, _ = ROWS[task]
    scoring = train / rates.scoring * TOKENS[task] / TOKENS["sst2"]
    return [scoring, *[rates.seconds(EPOCHS * train, task, None)] * DENSE_METHODS]


def _at_budget(task: str, budget: float, rates: Rates) -> list[float]:
    """Slim trainings of criteria; procedures see the data twice as often."""
    train, _ = ROWS[task]
    once = rates.seconds(EPOCHS * train, task, budget)
    return [once] * CRITERIA + [2 * once] * PROCEDURES


def _evaluations(task: str, rates: Rates) -> list[float]:
    """A third of a training step for each row: there is no backward pass."""
    _, rows = ROWS[task]
    dense = [rates.seconds(rows / 3, task, None)] * DENSE_METHODS
    slim = [rates.seconds(rows / 3, task, budget) for budget in BUDGETS for _ in range(CRITERIA + PROCEDURES)]
    return [*dense, *slim] * SEEDS


def makespan(cells: Iterable[float], workers: int, overhead: float) -> float:
    """Seconds until the last of some cells is done that begin in turn, each on the worker that is free first."""
    free = [0.0] * workers
    for seconds in cells:
        heapq.heappush(free, heapq.heappop(free) + seconds + overhead)
    return max(free)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the simulation."""
    run("simulation", options(), measure, arguments)


if __name__ == "__main__":
    main()

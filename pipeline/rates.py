"""The peak rate of every method on every task at every budget: as given, or searched on the dev split.

Trials that a killed run finished are not repeated.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.stage import run
from sensibert.config.grid import Cell, Point
from sensibert.config.method_settings import MethodParams
from sensibert.config.methods import METHODS
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.io import read_json, release_scratch, replacing, write_json, write_record
from sensibert.results import RateCurve

if TYPE_CHECKING:
    from sensibert.experiment.dev_trials import DevTrials


def rates(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/rates, a file for each task, method and budget."""
    with replacing(paths.rates) as folder:
        for task in params.tasks:
            search = _Search(task, params, paths)
            for point in dict.fromkeys(cell.point for cell in params.cells() if cell.task == task):
                write_record(folder / paths.rate(point).name, search.curve(point))
    release_scratch(paths.rate_scratch)  # trials of today's code say nothing about tomorrow's


class _Search:
    """The rates of one task, the dense methods' first: procedures start from the fully tuned model."""

    def __init__(self, task: str, params: Params, paths: Paths) -> None:
        self.task = task
        self.params = params
        self.paths = paths
        self.trials: DevTrials | None = None

    def curve(self, point: Point) -> RateCurve:
        """The rate of one point."""
        settings = self.params.settings_of(point.method)
        if not isinstance(settings, MethodParams):
            return RateCurve(None, [])
        if settings.learning_rate != "searched":
            return RateCurve(settings.learning_rate, [])
        from sensibert.experiment.rates import search_rate  # loads torch, which a given rate does not need

        self.trials = self.trials or _trials(self.task, self.params, self.paths)
        found = search_rate(self._remembering(point), self.params.rates.grid, self.params.rates.seeds)
        print(f"{point.name}: {found.learning_rate:g}", flush=True)
        if METHODS[point.method].budget is None:  # what is pruned to 1.0 has other budgets beside it
            self.params = self.params.at_rate(point.method, found.rate)
        return found

    def _remembering(self, point: Point) -> Callable[[float, int], float]:
        """What a rate and a seed reach on the dev split; each number is kept in case this run is killed."""

        def dev_metric(rate: float, seed: int) -> float:
            assert self.trials is not None
            tried, cell = self.params.at_rate(point.method, rate), Cell(*point, seed)
            file = self.paths.rate_scratch / f"{self._identity(cell, tried)}.json"
            if not file.exists():
                write_json(file, self.trials.dev_metric(cell, tried))
            return float(read_json(file))

        return dev_metric

    def _identity(self, cell: Cell, params: Params) -> str:
        """Of one trial: everything that shapes what it reaches."""
        from sensibert.data.task_files import data_hash

        sections = {"model", "scoring", "masking", "training", "rates"}
        methods = {name: params.settings_of(name).model_dump() for name in (cell.method, "full") if params.has(name)}
        about = [cell, params.model_dump(mode="json", include=sections), methods, data_hash(self.paths.raw(cell.task))]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _trials(task: str, params: Params, paths: Paths) -> DevTrials:
    """Trials on the training data of a task, or on a sample of them."""
    from sensibert.data.encoding import draw
    from sensibert.data.task_files import load_task
    from sensibert.data.tasks import TASKS
    from sensibert.experiment.dev_trials import DevTrials
    from sensibert.models.subject import Subject
    from sensibert.scoring.files import read_scores

    subject, most = Subject(TASKS[task], load_task(paths.raw(task)), params.model), params.rates.max_train
    train = draw(subject.train, most, params.data.seed) if most else subject.train
    return DevTrials(subject, train, lambda seed: read_scores(paths.scores(task, seed)))


if __name__ == "__main__":
    run(rates)

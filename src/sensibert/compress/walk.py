"""The walk over budgets: one scoring pass, one dense model, and a slim model for each budget that is tried.

Models are measured as they will be deployed: the exported file, one text at a time, on one thread.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import DatasetDict

from sensibert.compress.job import Job, MadeModel, paid_elsewhere
from sensibert.compress.limits import Limits, LimitsError, choose_budget, most_trials
from sensibert.compress.verdict import bound_of, drop_of
from sensibert.data.encoding import Examples, mean_length
from sensibert.data.task_files import Audit
from sensibert.data.tasks import Task
from sensibert.deploy.bench import Candidate, compare_latency, one_thread, onnx_candidate, torch_candidate
from sensibert.deploy.onnx.export import FP32_FILE, INT8_FILE, export_onnx, open_session, predict_onnx
from sensibert.errors import DataError
from sensibert.evaluation.evaluate import metrics_of, predict, prediction_table
from sensibert.io import read_record, write_record
from sensibert.models.mask import Mask
from sensibert.models.slim import slim
from sensibert.report.evidence import Drop, Point
from sensibert.scoring.files import ScoreFile
from sensibert.sources.prepare import set_aside

DEV = "dev"
"""The split of training rows that are held back to judge budgets by."""

_DEV_FRACTION, _MOST_DEV, _LEAST_DEV = 0.25, 4000, 40
_CHECKED_TEXTS = 64
"""Texts that an export is checked on against PyTorch."""
_REPEATS = 100
"""Timed texts: more than in a comparison, since no other model takes turns with this one."""


@dataclass(frozen=True)
class Walk:
    """The models of several budgets, each made only when it is asked for."""

    jobs: Mapping[float, Job]
    """Budget -> its steps; they share a work folder."""
    scores: ScoreFile
    scored_here: bool
    """Whether the scores took a pass of this run."""
    limits: Limits

    def chosen(self) -> float | None:
        """The budget that keeps within the limits, if one does; the points that led to it are in `points`."""
        is_good_enough = self._is_good_enough if self.limits.max_drop is not None else None
        if is_good_enough:
            self._judged(max(self.jobs))  # the dense model as it would be deployed: what the file alone costs
        return choose_budget(sorted(self.jobs, reverse=True), self._is_small_enough, is_good_enough)

    def points(self) -> list[Point]:
        """What was measured, from the largest budget to the smallest."""
        names = [self._name(budget) for budget in sorted(self.jobs, reverse=True)]
        return [read_record(path, Point) for name in names if (path := self._record(name)).exists()]

    def deployed(self, budget: float, small: MadeModel) -> Path | None:
        """The folder of the exported model of a budget, trained; None if PyTorch is what is deployed."""
        if self.limits.deploy_as == "torch":
            return None
        if self.limits.max_drop is None:  # what was measured had not been trained
            self._export(budget, small)
        return self._work / f"export-{self._name(budget)}"

    def _is_small_enough(self, budget: float) -> bool:
        limits = self.limits
        if limits.max_latency is None and limits.max_size is None:
            return True
        return _is_within(limits, self._measured(budget))

    def _is_good_enough(self, budget: float) -> bool:
        drop = self._judged(budget).drop
        assert drop is not None
        assert self.limits.max_drop is not None
        return drop.high <= self.limits.max_drop

    def _measured(self, budget: float) -> Point:
        """Size and latency, which training does not change."""
        path = self._record(self._name(budget))
        if not path.exists():
            job = self.jobs[budget]
            job.say(f"measure: size and latency at {budget:g}, untrained")
            cut = slim(job.subject.new_model(job.recipe.seed), self._mask(budget))
            untrained = job.saved("untrained", cut)
            if job.recipe.trim_vocabulary:
                untrained, _ = job.trimmed(untrained)
            self._measure(budget, untrained, None)
        return read_record(path, Point)

    def _judged(self, budget: float) -> Point:
        """The same, and what the trained model loses on the rows that were held back."""
        path = self._record(self._name(budget))
        if not path.exists() or read_record(path, Point).drop is None:
            job = self.jobs[budget]
            dense = job.dense_model()
            trained = job.slim_model(self._mask(budget), dense)
            if job.recipe.trim_vocabulary:
                trained, _ = job.trimmed(trained)
            self._measure(budget, trained, dense)
        return read_record(path, Point)

    def _measure(self, budget: float, made: MadeModel, dense: MadeModel | None) -> None:
        job, task = self.jobs[budget], self.jobs[budget].subject.task
        candidate = self._candidate(budget, made)
        with one_thread():
            (timed,) = compare_latency([candidate], [1], [round(mean_length(job.subject.train))], _REPEATS)
        metric = drop = None
        if dense is not None:
            before = prediction_table(task, *self._dense_answers(job, dense))
            examples = job.examples_for(made, DEV)
            logits = self._answers(budget, made, examples)
            confidence = bound_of(most_trials(len(self.jobs)))
            drop = drop_of(before, prediction_table(task, examples, logits), task, confidence=confidence)
            if made is dense and self.limits.deploy_as == "torch":  # the very same model, on whatever rows
                drop = Drop(0.0, 0.0, 0.0)
            metric = metrics_of(task, logits, examples)[task.primary_metric]
        size = self._file(budget, made).stat().st_size
        point = Point(budget, self.limits.deploy_as, timed.seconds, size, metric, drop)
        write_record(self._record(self._name(budget)), point)

    def _candidate(self, budget: float, made: MadeModel) -> Candidate:
        if self.limits.deploy_as == "torch":
            return torch_candidate(made.folder.name, made.model)
        self._export(budget, made)
        return onnx_candidate(made.folder.name, self.limits.deploy_as, self._file(budget, made), threads=1)

    def _export(self, budget: float, made: MadeModel) -> None:
        job, folder = self.jobs[budget], self._work / f"export-{self._name(budget)}"
        length = job.subject.settings.max_length
        shutil.rmtree(folder, ignore_errors=True)
        examples = job.examples_for(made, "train")[:_CHECKED_TEXTS]
        quantized = self.limits.deploy_as == "onnx-int8"
        export_onnx(made.model, examples, made.tokenizer, folder, max_length=length, int8=quantized)

    def _answers(self, budget: float, made: MadeModel, examples: Examples) -> np.ndarray:
        if self.limits.deploy_as == "torch":
            return predict(made.model, examples, made.tokenizer)
        return predict_onnx(open_session(self._file(budget, made)), examples, made.tokenizer)

    def _file(self, budget: float, made: MadeModel) -> Path:
        if self.limits.deploy_as == "torch":
            return made.folder / "model.safetensors"
        name = INT8_FILE if self.limits.deploy_as == "onnx-int8" else FP32_FILE
        return self._work / f"export-{self._name(budget)}" / name

    def _dense_answers(self, job: Job, dense: MadeModel) -> tuple[Examples, np.ndarray]:
        """Of the dense model in PyTorch, once for all budgets."""
        path, examples = self._work / "dense-answers.npy", job.examples_for(dense, DEV)
        if not path.exists():
            np.save(path, predict(dense.model, examples, dense.tokenizer))
        return examples, np.load(path)

    def _mask(self, budget: float) -> Mask:
        mask = self.jobs[budget].mask(self.scores)
        return mask if self.scored_here else paid_elsewhere(mask)

    def _record(self, name: str) -> Path:
        return self._work / f"point-{name}.json"

    @property
    def _work(self) -> Path:
        return next(iter(self.jobs.values())).work

    def _name(self, budget: float) -> str:
        return f"{budget:g}-{self.limits.deploy_as}"


def hold_back(dataset: DatasetDict, audit: Audit, task: Task, seed: int) -> tuple[DatasetDict, Audit]:
    """Set a quarter of the training texts aside (4,000 at most), of every class alike: the split `dev`.

    Raises:
        DataError: there are too few.
    """
    apart, counted = set_aside(dataset, audit, task, DEV, _DEV_FRACTION, _MOST_DEV, seed)
    if len(apart[DEV]) < _LEAST_DEV:
        raise DataError(
            f"{len(dataset['train']):,} training rows are too few for --max-drop, which holds a quarter of their "
            f"different texts back to judge by: it needs {_LEAST_DEV / _DEV_FRACTION:,.0f} of these. Give a --budget "
            "instead"
        )
    return apart, counted


def _is_within(limits: Limits, point: Point) -> bool:
    """Whether a point meets the limits of size and latency."""
    fast = limits.max_latency is None or point.latency <= limits.max_latency
    return fast and (limits.max_size is None or point.file_bytes <= limits.max_size)


def nothing_meets(limits: Limits, points: Sequence[Point], dev_rows: int) -> LimitsError:
    """What to say if no budget keeps within the limits: how near the nearest came, and what to try."""
    said = []
    if limits.max_latency is not None and (fastest := min(point.latency for point in points)) > limits.max_latency:
        said.append(f"the fastest takes {1e3 * fastest:.2f} ms, of {1e3 * limits.max_latency:g} ms allowed")
    if limits.max_size is not None and (smallest := min(point.file_bytes for point in points)) > limits.max_size:
        said.append(f"the smallest has {smallest / 1e6:.1f} MB, of {limits.max_size / 1e6:g} MB allowed")
    judged = [point for point in points if point.drop is not None and _is_within(limits, point)]
    if judged and not said:
        nearest = min(judged, key=lambda point: point.drop.high if point.drop else np.inf)
        assert nearest.drop is not None
        said.append(
            f"the nearest, at {nearest.budget:g}, loses {nearest.drop.points:.1f} points and for all that {dev_rows:,} "
            f"held-back rows can tell up to {nearest.drop.high:.1f}, of {limits.max_drop:g} allowed; more training "
            "rows make the bound narrower, --deploy-as onnx leaves quantization out"
        )
    why = "; ".join(said) or "none is both fast and small enough"
    return LimitsError(f"no model keeps within the limits: {why}. What was trained is kept, for other limits")

"""Hyper-parameter search: Optuna proposes batch size and learning rate, the carved dev split decides.

The grid is that of BitFit's source unless the settings name another one. A search keeps its trials in a SQLite
file; one that was killed goes on from there and repeats no trial that was finished. Where the trials see only a
sample of the training data, the best point is tuned once more on all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.artifacts import claim_scratch, replacing
from sensibert.encoding import Example, draw
from sensibert.errors import DataError
from sensibert.evaluation import predict, prediction_of
from sensibert.metrics import compute_metrics
from sensibert.params import MethodParams, SearchParams, TrainingParams
from sensibert.results import Trial, best_first
from sensibert.tasks import Task
from sensibert.training import Watch, fine_tune, fingerprint

BATCH_SIZE, LEARNING_RATE = "batch_size", "learning_rate"
WORST = -100.0
"""Of every metric, a correlation's included."""


@dataclass(frozen=True)
class Search:
    """What to search: a tuning method on the training data of a task, judged on data carved from it."""

    task: Task
    train: list[Example]
    dev: list[Example]
    tokenizer: PreTrainedTokenizerBase
    new_model: Callable[[], PreTrainedModel]
    """Makes the model that each trial begins with."""
    method: str
    options: MethodParams
    """Options of the method; the search chooses the learning rate."""
    seed: int

    def run(
        self, settings: SearchParams, training: TrainingParams, scratch: Path, *, resume: bool = True
    ) -> tuple[list[Trial], Path]:
        """Run the trials that `scratch` does not hold yet.

        Args:
            settings: The space, the sampler, and how many trials.
            training: What the trials share.
            scratch: Folder of the trials so far and of the best model so far.
            resume: Whether to go on with what `scratch` holds, if it is of this very search.

        Returns:
            The trials by number, and the folder of the model of the best point.

        Raises:
            DataError: Every trial diverged.
        """
        claim_scratch(scratch, self._identity(settings, training), resume=resume)
        study = _open_study(settings, scratch / "trials.db")
        while (left := _trials_left(study, settings)) > 0:
            print(f"search: trial {settings.trial_count - left + 1} of {settings.trial_count}", flush=True)
            study.sampler = _sampler(settings, self.seed, len(_finished(study)))
            self._run_trial(study, settings, training, scratch)
        if not _complete(study):
            raise DataError("every trial of the search diverged: give search.learning_rates that are lower")
        trials = [_trial(found) for found in _finished(study)]
        if settings.max_train is None:
            return trials, scratch / "best"
        self._refit(best_first(trials)[0], settings, training, scratch)
        return trials, scratch / "refit"

    def _run_trial(self, study: optuna.Study, settings: SearchParams, training: TrainingParams, scratch: Path) -> None:
        trial = _next_trial(study, settings, self.seed)
        batch_size, learning_rate = _point(trial)
        examples = draw(self.train, settings.max_train, self.seed) if settings.max_train else self.train
        model = self.new_model()

        def report(epoch: int, tuned: PreTrainedModel) -> None:
            try:
                trial.report(self._judge(tuned), epoch)
            except DataError:  # it diverged, and has no metric
                trial.report(WORST, epoch)
                raise optuna.TrialPruned from None
            tuned.train()
            if settings.prune and epoch < settings.epochs and trial.should_prune():
                raise optuna.TrialPruned

        try:
            self._tune(
                model,
                examples,
                training.model_copy(update={"batch_size": batch_size, "epochs": settings.epochs}),
                learning_rate,
                checkpoints=scratch / "checkpoints",
                resume=False,
                watch=Watch(self.dev, report),
            )
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
            return
        reached = study.trials[trial.number].intermediate_values[settings.epochs]
        best_so_far = max((found.value for found in _complete(study) if found.value is not None), default=-np.inf)
        if settings.max_train is None and reached > best_so_far:
            self._save(model, scratch / "best")
        study.tell(trial, reached)

    def _refit(self, best: Trial, settings: SearchParams, training: TrainingParams, scratch: Path) -> None:
        if (scratch / "refit").exists():
            return
        print(
            f"search: batch size {best.batch_size}, rate {best.learning_rate:g}, on all the training data", flush=True
        )
        model = self.new_model()
        shared = training.model_copy(update={"batch_size": best.batch_size, "epochs": settings.epochs})
        self._tune(model, self.train, shared, best.learning_rate, checkpoints=scratch / "refit-checkpoints")
        self._save(model, scratch / "refit")

    def _tune(
        self,
        model: PreTrainedModel,
        examples: list[Example],
        settings: TrainingParams,
        learning_rate: float,
        **how: Any,
    ) -> None:
        options = self.options.model_copy(update={"learning_rate": learning_rate})
        fine_tune(model, examples, self.tokenizer, settings, method=self.method, options=options, seed=self.seed, **how)

    def _save(self, model: PreTrainedModel, destination: Path) -> None:
        with replacing(destination) as folder:
            model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    def _identity(self, settings: SearchParams, training: TrainingParams) -> str:
        shaping = [part.model_dump(mode="json") for part in (settings, training, self.options)]
        about = {"task": self.task.name, "method": self.method, "seed": self.seed, "settings": shaping}
        return fingerprint(about, self.new_model(), self.train, self.dev)

    def _judge(self, model: PreTrainedModel) -> float:
        labels = np.array([example["labels"] for example in self.dev])
        logits = predict(model, self.dev, self.tokenizer)
        return compute_metrics(self.task, prediction_of(self.task, logits), labels)[self.task.primary_metric]


def _open_study(settings: SearchParams, file: Path) -> optuna.Study:
    """The study of an earlier run, with its killed trial put back in the queue, or a new one."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{file}",
        study_name="search",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
    )
    for killed in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(killed.number, state=TrialState.FAIL)
        study.enqueue_trial(killed.system_attrs.get("fixed_params", killed.params))
    if settings.sampler == "grid":
        for batch_size, rate in settings.points:
            study.enqueue_trial({BATCH_SIZE: batch_size, LEARNING_RATE: rate}, skip_if_exists=True)
    return study


def _next_trial(study: optuna.Study, settings: SearchParams, seed: int) -> optuna.Trial:
    """The point that the sampler proposes, or one that it has not tried yet in place of one that it has."""
    tried = {_point(found) for found in _finished(study)}
    trial = _suggested(study.ask(), settings)
    if _point(trial) not in tried:
        return trial
    study.tell(trial, state=TrialState.FAIL)
    left = [point for point in settings.points if point not in tried]
    point = left[np.random.default_rng([seed, len(tried)]).integers(len(left))]
    study.enqueue_trial(dict(zip((BATCH_SIZE, LEARNING_RATE), point, strict=True)))
    return _suggested(study.ask(), settings)


def _suggested(trial: optuna.Trial, settings: SearchParams) -> optuna.Trial:
    trial.suggest_categorical(BATCH_SIZE, settings.batch_sizes)
    trial.suggest_categorical(LEARNING_RATE, settings.learning_rates)
    return trial


def _point(trial: optuna.Trial | FrozenTrial) -> tuple[int, float]:
    return trial.params[BATCH_SIZE], trial.params[LEARNING_RATE]


def _sampler(settings: SearchParams, seed: int, trial: int) -> BaseSampler:
    # Seeded anew for each trial: a search that goes on draws what it would have drawn. The grid is in the queue.
    draw = int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])
    return TPESampler(seed=draw) if settings.sampler == "tpe" else RandomSampler(seed=draw)


def _trials_left(study: optuna.Study, settings: SearchParams) -> int:
    return settings.trial_count - len(_finished(study))


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED])


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(states=[TrialState.COMPLETE])


def _trial(found: FrozenTrial) -> Trial:
    return Trial(
        number=found.number,
        batch_size=found.params[BATCH_SIZE],
        learning_rate=found.params[LEARNING_RATE],
        state="complete" if found.state == TrialState.COMPLETE else "pruned",
        dev=[value for _, value in sorted(found.intermediate_values.items())],
    )

"""Hyper-parameter search: Optuna proposes batch size and learning rate, the carved dev split decides.

The grid is that of BitFit's source unless the settings say otherwise. A search keeps its trials in a SQLite file;
one that was killed resumes there and repeats no finished trial. If the trials see only a sample of the training
data, the best point is tuned once more on all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from transformers import PreTrainedModel

from sensibert.config.method_settings import MethodParams
from sensibert.config.settings import SearchParams, TrainingParams
from sensibert.data.encoding import Examples, draw
from sensibert.errors import DataError, DivergedError
from sensibert.evaluation.evaluate import judge
from sensibert.io import claim_scratch
from sensibert.models.subject import Subject
from sensibert.results import WORST_METRIC, Trial, best_first
from sensibert.training.cell import save_model, train_cell
from sensibert.training.fine_tune import EpochCallback, fingerprint

BATCH_SIZE, LEARNING_RATE = "batch_size", "learning_rate"


@dataclass(frozen=True)
class Search:
    """What to search: a tuning method on the training data of a task, judged on data carved from it."""

    subject: Subject
    """Trials are tuned on its `train`, and judged on its `dev`, which is carved from the training rows."""
    method: str
    options: MethodParams
    """Options of the method; the search chooses the learning rate."""
    seed: int

    @property
    def dev(self) -> Examples:
        """What the trials are judged on."""
        return self.subject.examples("dev")

    def run(
        self, settings: SearchParams, training: TrainingParams, scratch: Path, *, resume: bool = True
    ) -> tuple[list[Trial], Path]:
        """Run the trials that `scratch` does not hold yet.

        Args:
            settings: The search space, the sampler, and the number of trials.
            training: What the trials share.
            scratch: Folder of the trials so far and of the best model so far.
            resume: Whether to resume from what `scratch` holds, if it belongs to exactly this search.

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
        trials = [_trial(found, number) for number, found in enumerate(_finished(study))]
        if settings.max_train is None:
            return trials, scratch / "best"
        self._refit(best_first(trials)[0], settings, training, scratch)
        return trials, scratch / "refit"

    def _run_trial(self, study: optuna.Study, settings: SearchParams, training: TrainingParams, scratch: Path) -> None:
        trial = _next_trial(study, settings, self.seed)
        batch_size, learning_rate = _point(trial)
        train = self.subject.train
        examples = draw(train, settings.max_train, self.seed) if settings.max_train else train

        def report(epoch: int, tuned: PreTrainedModel) -> None:
            try:
                trial.report(judge(tuned, self.dev, self.subject.tokenizer, self.subject.task), epoch)
            except DivergedError:  # there is no metric
                trial.report(WORST_METRIC, epoch)
                raise optuna.TrialPruned from None
            tuned.train()
            if settings.prune and epoch < settings.epochs and trial.should_prune():
                raise optuna.TrialPruned

        try:
            model = self._tuned(
                examples,
                settings.training_of(training, batch_size),
                learning_rate,
                checkpoints=scratch / "checkpoints",
                resume=False,
                epoch_callback=EpochCallback(self.dev, report),
            )
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
            return
        except DivergedError:  # between two epochs
            trial.report(WORST_METRIC, len(study.trials[trial.number].intermediate_values) + 1)
            study.tell(trial, state=TrialState.PRUNED)
            return
        reached = study.trials[trial.number].intermediate_values[settings.epochs]
        best_so_far = max((found.value for found in _complete(study) if found.value is not None), default=-np.inf)
        if settings.max_train is None and reached > best_so_far:
            save_model(model, self.subject.tokenizer, scratch / "best")
        study.tell(trial, reached)

    def _refit(self, best: Trial, settings: SearchParams, training: TrainingParams, scratch: Path) -> None:
        if (scratch / "refit").exists():
            return
        print(
            f"search: batch size {best.batch_size}, rate {best.learning_rate:g}, on all the training data", flush=True
        )
        shared = settings.training_of(training, best.batch_size)
        model = self._tuned(self.subject.train, shared, best.learning_rate, checkpoints=scratch / "refit-checkpoints")
        save_model(model, self.subject.tokenizer, scratch / "refit")

    def _tuned(self, examples: Examples, settings: TrainingParams, learning_rate: float, **how: Any) -> PreTrainedModel:
        options = self.options.at(learning_rate)
        given = self.subject.new_model(self.seed), examples, self.subject.tokenizer, settings
        return train_cell(*given, options=options, method=self.method, seed=self.seed, **how).model

    def _identity(self, settings: SearchParams, training: TrainingParams) -> str:
        shaping = [part.model_dump(mode="json") for part in (settings, training, self.options)]
        about = {"task": self.subject.task.name, "method": self.method, "seed": self.seed, "settings": shaping}
        return fingerprint(about, self.subject.new_model(self.seed), self.subject.train, self.dev)


def _open_study(settings: SearchParams, file: Path) -> optuna.Study:
    """The study of an earlier run, whose killed trial is tried again, or a new study."""
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
    return study


def _next_trial(study: optuna.Study, settings: SearchParams, seed: int) -> optuna.Trial:
    """The next point of the grid, or what the sampler proposes; an untried one if it proposes a point again."""
    tried = {_point(found) for found in _finished(study)}
    left = [point for point in settings.points if point not in tried]
    if settings.sampler == "grid":
        return _trial_at(study, left[0], settings)
    trial = _suggested(study.ask(), settings)
    if _point(trial) not in tried:
        return trial
    study.tell(trial, state=TrialState.FAIL)
    return _trial_at(study, left[np.random.default_rng([seed, len(tried)]).integers(len(left))], settings)


def _trial_at(study: optuna.Study, point: tuple[int, float], settings: SearchParams) -> optuna.Trial:
    # One at a time: in a queue of the whole grid, a trial that was killed would come last when it is tried again.
    if not study.get_trials(states=[TrialState.WAITING]):  # a kill may have left it there
        study.enqueue_trial(dict(zip((BATCH_SIZE, LEARNING_RATE), point, strict=True)))
    return _suggested(study.ask(), settings)


def _suggested(trial: optuna.Trial, settings: SearchParams) -> optuna.Trial:
    trial.suggest_categorical(BATCH_SIZE, settings.batch_sizes)
    trial.suggest_categorical(LEARNING_RATE, settings.learning_rates)
    return trial


def _point(trial: optuna.Trial | FrozenTrial) -> tuple[int, float]:
    return trial.params[BATCH_SIZE], trial.params[LEARNING_RATE]


def _sampler(settings: SearchParams, seed: int, trial: int) -> BaseSampler:
    # Seeded anew for each trial: a search that resumes draws the same points. A grid has its own order.
    draw = int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])
    return TPESampler(seed=draw) if settings.sampler == "tpe" else RandomSampler(seed=draw)


def _trials_left(study: optuna.Study, settings: SearchParams) -> int:
    return settings.trial_count - len(_finished(study))


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED])


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(states=[TrialState.COMPLETE])


def _trial(found: FrozenTrial, number: int) -> Trial:
    """A finished trial. Its number is not Optuna's, which counts the attempts that were killed."""
    return Trial(
        number=number,
        batch_size=found.params[BATCH_SIZE],
        learning_rate=found.params[LEARNING_RATE],
        state="complete" if found.state == TrialState.COMPLETE else "pruned",
        dev=[value for _, value in sorted(found.intermediate_values.items())],
    )

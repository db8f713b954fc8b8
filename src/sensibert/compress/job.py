"""The steps of one run: what each makes, and what an interrupted run left of it."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.compress.rates import TRIED_FIRST, Carved, carve, choose_rate, short, trial_length
from sensibert.compress.recipe import Recipe, scoring_of
from sensibert.compute.hardware import best_device, resolve_precision
from sensibert.config.grid import Cell
from sensibert.config.method_settings import MethodParams, RecipeParams
from sensibert.config.settings import Precision, TrainingParams
from sensibert.data.encoding import Examples, draw, encode, mean_length
from sensibert.deploy.latency import measure_table
from sensibert.deploy.vocabulary import coverage, trim_vocabulary
from sensibert.errors import BackboneError, MaskError
from sensibert.evaluation.cell import evaluate_cell
from sensibert.evaluation.evaluate import judge
from sensibert.io import read_json, read_record, replacing, write_json, write_record
from sensibert.models.backbones import classifies, load_model
from sensibert.models.cost import count
from sensibert.models.mask import Mask
from sensibert.models.slim import keep_first_layers, slim
from sensibert.models.subject import Subject
from sensibert.pruning.distilled import passes_of, taught
from sensibert.pruning.first_layers import most_layers
from sensibert.pruning.repair import repaired
from sensibert.report.evidence import ChosenRate
from sensibert.results import History, Result
from sensibert.scoring.budgets import mask_for
from sensibert.scoring.files import ScoreFile, read_scores, write_scores
from sensibert.scoring.scoring_pass import score_subject
from sensibert.training.cell import Trained, save_model, train_cell

HISTORY = "training.json"
"""File beside a saved model that says how it was trained."""

_BEST_TRIAL = "dense-trial"

_RECIPE = RecipeParams(learning_rate="searched")

Say = Callable[[str], None]


@dataclass(frozen=True)
class MadeModel:
    """A model of a run, and where it is saved."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path

    @property
    def history(self) -> History:
        """How it was trained."""
        return read_record(self.folder / HISTORY, History)


@dataclass(frozen=True)
class _Training:
    """What a model is trained on, and how: the real run, or a short trial of it."""

    examples: Examples
    settings: TrainingParams
    rate: float
    checkpoints: Path


@dataclass(frozen=True)
class Job:
    """The steps of one run. Each looks first for what an interrupted run left in the work folder."""

    subject: Subject
    recipe: Recipe
    work: Path
    say: Say

    @property
    def precision(self) -> Precision:
        """What `auto` becomes here."""
        return resolve_precision(self.recipe.training.precision, best_device())

    def scores(self) -> ScoreFile:
        """The scores of one pass over the training data."""
        path, recipe, subject = self.work / "scores.safetensors", self.recipe, self.subject
        if not path.exists():
            self.refuse_small_budget()
            settings = scoring_of(recipe.scoring, len(subject.train))
            self.say(f"score: one pass over {settings.max_samples or len(subject.train):,} texts")
            start = perf_counter()
            *_, scores = score_subject(subject, settings, seed=recipe.seed, precision=recipe.training.precision)
            write_scores(path, scores)
            write_json(self._seconds("scores"), perf_counter() - start)
        return read_scores(path)

    def mask(self, scores: ScoreFile) -> Mask:
        """The scores, cut at the budget."""
        recipe, table = self.recipe, None
        if recipe.budget_kind == "latency":
            self.say("mask: measuring the modules on this machine")
            backbone, tokens = self.subject.new_model(recipe.seed), scores.origin.tokens
            table = measure_table(backbone, batch_size=1, tokens=tokens, round_to=recipe.ranking.round_to)
        options = recipe.ranking.options(recipe.criterion)
        found = mask_for(scores, recipe.criterion, self._budget(scores), recipe.budget_kind, latency=table, **options)
        assert found.origin is not None
        return replace(found, origin=replace(found.origin, budget=recipe.budget))

    def refuse_small_budget(self) -> None:
        """Cut by a criterion that takes no pass: a budget that is too small is so for every criterion.

        Raises:
            MaskError: no mask meets the budget.
        """
        recipe, subject = self.recipe, self.subject
        if recipe.budget_kind == "latency" or recipe.trim_vocabulary:  # what they need takes as long as the pass
            return
        *_, drawn = score_subject(subject, recipe.scoring, seed=recipe.seed, criteria=["random"])
        options = recipe.ranking.options(recipe.criterion)
        mask_for(drawn, "random", recipe.budget, recipe.budget_kind, **options)

    def _budget(self, scores: ScoreFile) -> float:
        """The budget of the mask. Bytes saved by trimming the vocabulary need not be saved in the layers."""
        recipe, subject = self.recipe, self.subject
        if not (recipe.trim_vocabulary and recipe.budget_kind == "size"):
            return recipe.budget
        texts = _texts(subject.dataset["train"])
        report = trim_vocabulary(subject.new_model(recipe.seed), subject.tokenizer, texts).report
        trimmed_bytes = 4 * report.parameters_removed
        return min(1.0, recipe.budget + trimmed_bytes / scores.unit("size").dense)

    def slim_model(self, mask: Mask, dense: MadeModel) -> MadeModel:
        """The model without what the mask drops, fine-tuned; a dense one that was tuned, if the mask drops nothing."""
        if mask.kept_fraction == 1 and dense.history.steps:
            return dense
        if self.recipe.method == "one_shot":
            return self._kept(self._slim, lambda: self._tune("slim", mask))
        return self._kept(self._slim, lambda: self._teach(mask, dense))

    @property
    def _slim(self) -> str:
        return f"slim-{self.recipe.budget:g}"

    def dense_model(self) -> MadeModel:
        """What the slim model is compared with, and by the recipe is cut from."""
        wish, backbone = self.recipe.baseline, self.recipe.model.backbone
        if wish == "given" and not classifies(backbone, self.subject.task):
            labels = ", ".join(self.subject.task.label_names) or "a real number"
            raise BackboneError(f"--baseline given: {backbone!r} does not classify {labels} yet; give tune or none")
        if wish == "none" and self.recipe.method == "recipe":
            wish = "auto"
        tuned = wish == "tune" or (wish == "auto" and not classifies(backbone, self.subject.task))
        return self._kept("dense", lambda: self._tune("dense") if tuned else self._as_given())

    def trimmed(self, untrimmed: MadeModel) -> tuple[MadeModel, dict[str, Any]]:
        """The model with the tokens that the training texts need, and what that removed and cost."""
        self.say("vocabulary: keeping what the training texts need")
        dataset, task = self.subject.dataset, self.subject.task
        found = trim_vocabulary(untrimmed.model, untrimmed.tokenizer, _texts(dataset["train"]))
        folder = self.work / f"trimmed-{untrimmed.folder.name}"
        # Only what is left is stored. A trimmed tokenizer gives the training texts the same number of tokens.
        history = replace(untrimmed.history, stored_parameters=count(found.model))
        _save(found.model, found.tokenizer, folder, history)
        held_out = _texts(dataset[task.validation_splits[0]])
        report = asdict(found.report) | {"held_out": asdict(coverage(untrimmed.tokenizer, found.tokenizer, held_out))}
        return MadeModel(found.model, found.tokenizer, folder), report

    def result(
        self, made: MadeModel, method: str, budget: float, *, judged: bool = True
    ) -> tuple[Result, pd.DataFrame]:
        """Metrics, predictions and cost on the validation split; only the cost of a model that is not judged."""
        subject = self.subject
        splits = {name: self.examples_for(made, name) for name in subject.task.validation_splits}
        cell = Cell(subject.task.name, method, budget, self.recipe.seed)
        given = made.model, splits, made.tokenizer, subject.task
        return evaluate_cell(*given, cell=cell, history=made.history, folder=made.folder, judged=judged)

    def first_layers(self, scores: ScoreFile) -> MadeModel | None:
        """Depth instead of width: the first layers of the pre-trained model that fit the budget, fine-tuned.

        Returns:
            None if not one layer fits.
        """
        recipe, rates = self.recipe, self.rates()
        if recipe.budget_kind == "latency":  # no layer was timed
            return None
        try:
            layers, _ = most_layers(scores, recipe.budget, recipe.budget_kind)
        except MaskError:
            return None
        rate = (rates.get("slim") or rates["dense"]).learning_rate

        def make() -> tuple[PreTrainedModel, History]:
            self.say(f"fine-tune: the first {layers} layers")
            cut = keep_first_layers(self.subject.new_model(recipe.seed), layers)
            trained = self._tuned(self._real("first-layers", rate), None, cut)
            return trained.model, trained.training.history

        return self._kept(f"first-{layers}-layers", make)

    def seconds(self, *names: str) -> float:
        """What some steps of this run took: their sum, without those that it did not take."""
        paths = map(self._seconds, names)
        return sum((read_json(path) for path in paths if path.exists()), 0.0)

    def _seconds(self, name: str) -> Path:
        return self.work / f"{name}-seconds.json"

    def examples_for(self, made: MadeModel, split: str) -> Examples:
        """A split as the tokenizer of a model cuts it; a trimmed one spells some words in other pieces."""
        subject = self.subject
        if made.tokenizer is subject.tokenizer:
            return subject.examples(split)
        return encode(subject.dataset[split], made.tokenizer, subject.settings.max_length)

    def saved(self, name: str, model: PreTrainedModel) -> MadeModel:
        """An untrained model in the work folder, for what does not depend on its training."""
        return self._save_as(name, *self._untrained(model))

    def _kept(self, name: str, make: Callable[[], tuple[PreTrainedModel, History]]) -> MadeModel:
        """A model from the work folder; if it is not there, it is made and put there."""
        folder, tokenizer = self.work / name, self._tokenizer
        if not folder.exists():
            start = perf_counter()
            self._save_as(name, *make())
            write_json(self._seconds(name), perf_counter() - start)
        return MadeModel(load_model(folder).to(best_device()), tokenizer, folder)  # type: ignore[arg-type]

    def _save_as(self, name: str, model: PreTrainedModel, history: History) -> MadeModel:
        folder, tokenizer = self.work / name, self._tokenizer
        _save(model, tokenizer, folder, history)
        return MadeModel(model, tokenizer, folder)

    @property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        """That of the backbone, told where other tools shall cut texts."""
        tokenizer = self.subject.tokenizer
        tokenizer.model_max_length = self.subject.settings.max_length
        return tokenizer

    def _tune(self, name: str, mask: Mask | None = None) -> tuple[PreTrainedModel, History]:
        """The pre-trained model, dense or cut, fine-tuned."""

        def train(training: _Training) -> Trained:
            return self._tuned(training, mask)

        rate = self._rate(name, train).learning_rate
        self.say(f"fine-tune: the {name} model, at a peak rate of {rate:g}")
        trained = train(self._real(name, rate))
        return trained.model, trained.training.history

    def _teach(self, mask: Mask, dense: MadeModel) -> tuple[PreTrainedModel, History]:
        """The slim model of the recipe: cut from the dense one, repaired, and fine-tuned with it as the teacher."""
        # The trials are not cut from the dense model itself: that one has seen the rows which judge them.
        tried = self.work / _BEST_TRIAL
        start = _teacher(load_model(tried) if tried.exists() else dense.model)

        @cache  # the repair may take as long as a trial
        def cut_for_trials() -> PreTrainedModel:
            assert self._carved is not None
            return self._cut(start, mask, self._carved.train)

        def trial(training: _Training) -> Trained:
            return self._taught(training, copy.deepcopy(cut_for_trials()), start)

        rate = self._rate("slim", trial).learning_rate
        self.say(f"fine-tune: the slim model, cut from the dense one and taught by it, at a peak rate of {rate:g}")
        training, teacher = self._real("slim", rate), _teacher(dense.model)
        trained = self._taught(training, self._cut(teacher, mask, training.examples), teacher)
        before = dense.history.log[-1].epoch if dense.history.log else 0  # the dense model may be as it was given
        passes, stored = passes_of(mask) + round(before, 4), count(trained.model)
        return trained.model, replace(trained.training.history, stored_parameters=stored, extra_passes=passes)

    def _tuned(self, training: _Training, mask: Mask | None, model: PreTrainedModel | None = None) -> Trained:
        return train_cell(
            model or self.subject.new_model(self.recipe.seed),
            training.examples,
            self.subject.tokenizer,
            training.settings,
            options=MethodParams(learning_rate=training.rate),
            mask=mask,
            seed=self.recipe.seed,
            checkpoints=training.checkpoints,
        )

    def _cut(self, teacher: PreTrainedModel, mask: Mask, examples: Examples) -> PreTrainedModel:
        """The dense model without what the mask drops, repaired."""
        model = slim(teacher, mask)
        drawn = draw(examples, _RECIPE.repair_samples, self.recipe.seed)
        repaired(teacher, model, drawn, self.subject.tokenizer)
        return model

    def _taught(self, training: _Training, model: PreTrainedModel, teacher: PreTrainedModel) -> Trained:
        """A model that was cut, fine-tuned with the dense one as its teacher."""
        settings = _RECIPE.at(training.rate)
        given = model, teacher, training.examples, self.subject.tokenizer, training.settings, settings
        return taught(*given, seed=self.recipe.seed, checkpoints=training.checkpoints)

    def _real(self, name: str, rate: float) -> _Training:
        """The training of the model that the user gets, or that it is compared with."""
        return _Training(
            self.subject.train,
            self.recipe.training,
            rate,
            self.work / f"{self._slim if name == 'slim' else name}-checkpoints",
        )

    def rates(self) -> dict[str, ChosenRate]:
        """How fast the models that were tuned learned."""
        paths = {name: self.work / f"{name}-rate.json" for name in ("dense", "slim")}
        return {name: read_record(path, ChosenRate) for name, path in paths.items() if path.exists()}

    def _rate(self, name: str, train: Callable[[_Training], Trained]) -> ChosenRate:
        """The peak rate of a training: the one that was given, or the one that short trials of it find."""
        path = self.work / f"{name}-rate.json"
        if not path.exists():
            write_record(path, self._searched(name, train))
        return read_record(path, ChosenRate)

    def _searched(self, name: str, train: Callable[[_Training], Trained]) -> ChosenRate:
        settings, given, subject = self.recipe.training, self.recipe.learning_rate, self.subject
        if given != "searched":
            return ChosenRate(given, settings.steps_for(len(subject.train)), 0, 0, [])
        if (carved := self._carved) is not None:
            self.say(f"rate: trials of the {name} model, judged by {len(carved.dev):,} of the training rows")

        def dev_metric(rate: float) -> float:
            assert carved is not None
            scratch = self.work / "trial-checkpoints"
            shutil.rmtree(scratch, ignore_errors=True)
            tried = train(_Training(carved.train, short(settings, len(carved.train)), rate, scratch))
            metric = judge(tried.model, carved.dev, subject.tokenizer, subject.task)
            if name == "dense" and metric > max(reached, default=float("-inf")):
                save_model(tried.model, subject.tokenizer, self.work / _BEST_TRIAL)
            reached.append(metric)
            return metric

        reached: list[float] = []
        return choose_rate(settings, len(subject.train), carved, dev_metric, TRIED_FIRST[name])

    @cached_property
    def _carved(self) -> Carved | None:
        subject, length = self.subject, trial_length(self.subject.settings.max_length)
        return carve(encode(subject.dataset["train"], subject.tokenizer, length), subject.task, self.recipe.seed)

    def _as_given(self) -> tuple[PreTrainedModel, History]:
        return self._untrained(self.subject.new_model(self.recipe.seed))

    def _untrained(self, model: PreTrainedModel) -> tuple[PreTrainedModel, History]:
        tokens = mean_length(self.subject.train)
        return model, History(0, count(model), 0, log=[], steps=0, chosen={}, tokens=tokens)


def paid_elsewhere(mask: Mask) -> Mask:
    """The mask, marked as one whose scores took no pass in this run."""
    return replace(mask, origin=replace(mask.origin, scoring_passes=0)) if mask.origin else mask


def _teacher(model: PreTrainedModel) -> PreTrainedModel:
    return model.to(best_device()).eval()  # type: ignore[arg-type]


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, history: History) -> None:
    with replacing(folder) as beside:
        save_model(model, tokenizer, beside)
        write_record(beside / HISTORY, history)


def _texts(rows: Dataset) -> list[str]:
    """All texts of a split, from both columns of a pair."""
    return [text for column in ("text", "text_pair") if column in rows.column_names for text in rows[column]]

"""The work of one command: turn a backbone and labelled texts into a small model with its evidence.

The flow is that of the pipeline: score, mask, tune the dense model, slim it, fine-tune, evaluate. The output of each
step is kept in a work folder next to the result, so that a run that was killed resumes where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from datasets import Dataset, DatasetDict
from pydantic import Field, PositiveFloat
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.compute.hardware import best_device, resolve_precision
from sensibert.config.grid import DENSE_BUDGET, Cell
from sensibert.config.method_settings import MethodParams, RecipeParams
from sensibert.config.section import Section
from sensibert.config.settings import (
    Budget,
    CriterionName,
    ModelParams,
    Precision,
    RankingParams,
    ScoringParams,
    Seed,
    TrainingParams,
)
from sensibert.data.encoding import draw, encode, hash_rows, mean_length
from sensibert.data.task_files import Audit
from sensibert.data.tasks import Task
from sensibert.deploy.bench import BATCH_SIZES, compare_latency, torch_candidate
from sensibert.deploy.latency import measure_table
from sensibert.deploy.vocabulary import coverage, trim_vocabulary
from sensibert.errors import BackboneError, MaskError, SensibertError
from sensibert.evaluation.cell import evaluate_cell
from sensibert.experiment.provenance import Timer, collect
from sensibert.io import (
    beside_it,
    claim_scratch,
    files_below,
    mark,
    read_record,
    release_scratch,
    replacing,
    write_record,
)
from sensibert.models.backbones import classifies, load_model
from sensibert.models.cost import count
from sensibert.models.mask import Mask, write_mask
from sensibert.models.slim import slim
from sensibert.models.subject import Subject
from sensibert.places import mark_of
from sensibert.pruning.distilled import passes_of, taught
from sensibert.pruning.repair import repaired
from sensibert.report.card import write_card
from sensibert.results import Evidence, History, Result
from sensibert.scoring.budgets import mask_for
from sensibert.scoring.files import ScoreFile, read_scores, write_scores
from sensibert.scoring.scoring_pass import score_subject
from sensibert.training.cell import save_model, train_cell

EVIDENCE = "evidence"
"""Folder inside the saved model that holds the evidence for its numbers."""

Say = Callable[[str], None]


class Recipe(Section):
    """How a model is made smaller. Equal recipes and data give equal models, unless a latency is measured."""

    model: ModelParams
    budget: Budget
    budget_kind: Literal["params", "macs", "size", "latency"] = "params"
    criterion: CriterionName = "sensitivity"
    method: Literal["recipe", "one_shot"] = "recipe"
    """`recipe` cuts the tuned dense model, repairs the cut and learns from that model too (docs/recipe.md); `one_shot`
    cuts the pre-trained model and fine-tunes it, as Sensi-BERT does."""
    scoring: ScoringParams = ScoringParams()
    ranking: RankingParams = RankingParams()
    training: TrainingParams = TrainingParams()
    learning_rate: PositiveFloat = 2e-4
    baseline: Literal["auto", "tune", "given", "none"] = "auto"
    """What the result is compared with: the dense model fine-tuned on the same data, the dense model as it was
    given, or the size and speed of the dense model alone. `auto` takes it as given if it already is a classifier
    of these labels, and tunes it otherwise; so does `recipe`, which needs a tuned one, if nothing is compared."""
    trim_vocabulary: bool = False
    seed: Annotated[Seed, Field()] = 0
    any_origin: bool = False
    """Whether scores or a mask may have been made for another backbone, task or data whose shapes fit."""
    trust_remote_code: bool = False
    """Whether code that comes with the backbone may run."""


def compress_model(
    task: Task,
    dataset: DatasetDict,
    audit: Audit,
    recipe: Recipe,
    out: Path,
    *,
    scores: ScoreFile | None = None,
    mask: Mask | None = None,
    say: Say = print,
) -> Evidence:
    """Make a model smaller and prove what it cost.

    Args:
        task: What the labels mean.
        dataset: The splits `train` and `validation`; no choice looks at the second.
        audit: What happened to the rows; recorded.
        recipe: What to do.
        out: Folder of the result: the model, its tokenizer, a model card and the evidence. It appears whole or not
            at all.
        scores: From an earlier pass with this backbone and task, instead of a new pass.
        mask: Made earlier for this backbone, instead of a new one; its budget and criterion replace the recipe's.
        say: Called with a line about each step.

    Returns:
        The evidence, which is also in `out`.

    Raises:
        SensibertError: the backbone, the data, the budget, the scores or the mask do not fit.
    """
    if mask is not None:
        recipe = _recipe_of(mask, recipe)
    if not recipe.any_origin:
        _refuse_foreign(Subject(task, dataset, recipe.model, recipe.trust_remote_code), recipe.seed, scores, mask)
    run, work = run_of(recipe, dataset, scores, mask), _work_folder(out)
    claim_scratch(work, run)
    try:
        evidence, small, scores, mask, predictions = _compressed(task, dataset, audit, recipe, work, scores, mask, say)
    except SensibertError:
        release_scratch(work)  # the same command would fail again, and another one would not use it
        raise
    with replacing(out) as folder:
        shutil.copytree(small.folder, folder)
        (folder / EVIDENCE).mkdir()
        (folder / _HISTORY).rename(folder / EVIDENCE / _HISTORY)
        if scores is not None:
            write_scores(folder / EVIDENCE / "scores.safetensors", scores)
        write_mask(folder / EVIDENCE / "mask.safetensors", mask)
        write_record(folder / EVIDENCE / "report.json", evidence)
        predictions.to_parquet(folder / EVIDENCE / "predictions.parquet", index=False)
        write_card(evidence, folder)
        mark(folder, "compress", run=run)
    release_scratch(work)
    return evidence


def finished(out: Path, run: str) -> Evidence | None:
    """The evidence of a result, if it was made by this very run; removes what was left by one killed after that.

    Args:
        out: Folder of the result.
        run: From `run_of`.
    """
    found = mark_of(out, "compress") or {}
    listed = found.get("files")
    is_whole = isinstance(listed, list) and set(listed) <= set(files_below(out))
    if found.get("run") != run or not is_whole:
        return None
    release_scratch(_work_folder(out))
    return read_record(out / EVIDENCE / "report.json", Evidence)


_HISTORY = "training.json"


@dataclass(frozen=True)
class _Model:
    """A model of a run, and where it is saved."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path

    @property
    def history(self) -> History:
        """How it was trained."""
        return read_record(self.folder / _HISTORY, History)


@dataclass(frozen=True)
class _Job:
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
            self._refuse_small_budget()
            self.say(f"score: one pass over {len(subject.train):,} texts")
            *_, scores = score_subject(subject, recipe.scoring, seed=recipe.seed, precision=recipe.training.precision)
            write_scores(path, scores)
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

    def _refuse_small_budget(self) -> None:
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

    def slim_model(self, mask: Mask, dense: _Model) -> _Model:
        """The model without what the mask drops, fine-tuned."""
        if self.recipe.method == "one_shot":
            return self._kept("slim", lambda: self._tune("slim", mask))
        return self._kept("slim", lambda: self._taught(mask, dense))

    def dense_model(self) -> _Model:
        """What the slim model is compared with, and by the recipe is cut from."""
        wish, backbone = self.recipe.baseline, self.recipe.model.backbone
        if wish == "given" and not classifies(backbone, self.subject.task):
            labels = ", ".join(self.subject.task.label_names) or "a real number"
            raise BackboneError(f"--baseline given: {backbone!r} does not classify {labels} yet; give tune or none")
        if wish == "none" and self.recipe.method == "recipe":
            wish = "auto"
        tuned = wish == "tune" or (wish == "auto" and not classifies(backbone, self.subject.task))
        return self._kept("dense", lambda: self._tune("dense") if tuned else self._as_given())

    def trimmed(self, untrimmed: _Model) -> tuple[_Model, dict[str, Any]]:
        """The model with the tokens that the training texts need, and what that removed and cost."""
        self.say("vocabulary: keeping what the training texts need")
        dataset, task = self.subject.dataset, self.subject.task
        found = trim_vocabulary(untrimmed.model, untrimmed.tokenizer, _texts(dataset["train"]))
        folder = self.work / "trimmed"
        # Only what is left is stored. A trimmed tokenizer gives the training texts the same number of tokens.
        history = replace(untrimmed.history, stored_parameters=count(found.model))
        _save(found.model, found.tokenizer, folder, history)
        held_out = _texts(dataset[task.validation_splits[0]])
        report = asdict(found.report) | {"held_out": asdict(coverage(untrimmed.tokenizer, found.tokenizer, held_out))}
        return _Model(found.model, found.tokenizer, folder), report

    def result(self, made: _Model, method: str, budget: float, *, judged: bool = True) -> tuple[Result, pd.DataFrame]:
        """Metrics, predictions and cost on the validation split; only the cost of a model that is not judged."""
        subject = self.subject
        names = subject.task.validation_splits
        if made.tokenizer is subject.tokenizer:
            splits = subject.splits(names)
        else:  # a trimmed one spells some of the held-out words in other pieces
            length = subject.settings.max_length
            splits = {name: encode(subject.dataset[name], made.tokenizer, length) for name in names}
        cell = Cell(subject.task.name, method, budget, self.recipe.seed)
        given = made.model, splits, made.tokenizer, subject.task
        return evaluate_cell(*given, cell=cell, history=made.history, folder=made.folder, judged=judged)

    def _kept(self, name: str, make: Callable[[], tuple[PreTrainedModel, History]]) -> _Model:
        """A model from the work folder; if it is not there, it is made and put there."""
        folder, tokenizer = self.work / name, self.subject.tokenizer
        if not folder.exists():
            model, history = make()
            _save(model, tokenizer, folder, history)
        return _Model(load_model(folder).to(best_device()), tokenizer, folder)  # type: ignore[arg-type]

    def _tune(self, name: str, mask: Mask | None = None) -> tuple[PreTrainedModel, History]:
        recipe, subject = self.recipe, self.subject
        self.say(f"fine-tune: the {name} model")
        trained = train_cell(
            subject.new_model(recipe.seed),
            subject.train,
            subject.tokenizer,
            recipe.training,
            options=MethodParams(learning_rate=recipe.learning_rate),
            mask=mask,
            seed=recipe.seed,
            checkpoints=self.work / f"{name}-checkpoints",
        )
        return trained.model, trained.training.history

    def _taught(self, mask: Mask, dense: _Model) -> tuple[PreTrainedModel, History]:
        """The slim model of the recipe: cut from the dense one, repaired, and fine-tuned with it as the teacher."""
        recipe, subject = self.recipe, self.subject
        self.say("fine-tune: the slim model, which was cut from the dense one and learns from it")
        settings, seed = RecipeParams(learning_rate=recipe.learning_rate), recipe.seed
        teacher = dense.model.eval()
        model = slim(teacher, mask)
        repaired(teacher, model, draw(subject.train, settings.repair_samples, seed), subject.tokenizer)
        given = model, teacher, subject.train, subject.tokenizer, recipe.training, settings
        trained = taught(*given, seed=seed, checkpoints=self.work / "slim-checkpoints")
        before = dense.history.log[-1].epoch if dense.history.log else 0  # the dense model may be as it was given
        passes = passes_of(mask) + round(before, 4)
        return trained.model, replace(trained.training.history, stored_parameters=count(model), extra_passes=passes)

    def _as_given(self) -> tuple[PreTrainedModel, History]:
        model = self.subject.new_model(self.recipe.seed)
        tokens = mean_length(self.subject.train)
        return model, History(0, count(model), 0, log=[], steps=0, chosen={}, tokens=tokens)


def _compressed(
    task: Task,
    dataset: DatasetDict,
    audit: Audit,
    recipe: Recipe,
    work: Path,
    scores: ScoreFile | None,
    mask: Mask | None,
    say: Say,
) -> tuple[Evidence, _Model, ScoreFile | None, Mask, pd.DataFrame]:
    """The flow: the evidence, the small model, and the scores, the mask and the predictions behind them."""
    job = _Job(Subject(task, dataset, recipe.model, recipe.trust_remote_code), recipe, work, say)
    with Timer() as timer:
        here = mask is None and scores is None
        if mask is None:
            scores = scores or job.scores()
            mask = job.mask(scores)
        say(f"mask: keeps {mask.kept_fraction:.1%} of the prunable parameters")
        dense = job.dense_model()
        small = job.slim_model(mask if here else _paid_elsewhere(mask), dense)
        before, _ = job.result(dense, "full", DENSE_BUDGET, judged=recipe.baseline != "none")
        after, predictions = job.result(small, recipe.criterion, recipe.budget)
        vocabulary = None
        if recipe.trim_vocabulary:
            small, vocabulary = job.trimmed(small)
            vocabulary["metrics_before"] = after.metrics
            after, predictions = job.result(small, recipe.criterion, recipe.budget)
        say("bench: the models take turns")
        models = [torch_candidate("before", dense.model), torch_candidate("after", small.model)]
        latency = compare_latency(models, BATCH_SIZES, [after.cost.tokens])
    evidence = Evidence(
        recipe=recipe.model_dump(mode="json"),
        task={"name": task.name, "labels": list(task.label_names), "primary_metric": task.primary_metric},
        data=audit.to_dict(),
        before=before,
        after=after,
        mask=asdict(mask.origin) if mask.origin else {},
        vocabulary=vocabulary,
        latency=latency,
        provenance=collect(timer, recipe.model_dump(mode="json"), _data_hash(dataset), job.precision),
    )
    return evidence, small, scores, mask, predictions


def _recipe_of(mask: Mask, recipe: Recipe) -> Recipe:
    """The recipe that a given mask stands for."""
    origin = mask.origin
    if origin is None:
        return recipe.model_copy(update={"budget": round(mask.kept_fraction, 4), "budget_kind": "params"})
    said = {"budget": origin.budget, "budget_kind": origin.budget_kind, "criterion": origin.method}
    return recipe.model_copy(update=said)


def _refuse_foreign(subject: Subject, seed: int, scores: ScoreFile | None, mask: Mask | None) -> None:
    """Refuse scores and masks that say they were made for something else; shapes alone would fit many models."""
    origins = {"--scores": scores.origin if scores else None, "--mask": mask.origin if mask else None}
    given = {option: origin.made_for for option, origin in origins.items() if origin is not None}
    if not given:
        return
    here = subject.made_for(subject.new_model(seed))
    for option, made_for in given.items():
        if difference := made_for.difference(here):
            raise MaskError(f"{option}: made for {difference}. If you want it all the same, give --any-origin")


def _paid_elsewhere(mask: Mask) -> Mask:
    """The mask, marked as one whose scores took no pass in this run."""
    return replace(mask, origin=replace(mask.origin, scoring_passes=0)) if mask.origin else mask


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, history: History) -> None:
    with replacing(folder) as beside:
        save_model(model, tokenizer, beside)
        write_record(beside / _HISTORY, history)


def _work_folder(out: Path) -> Path:
    return beside_it(out, "work")


def run_of(recipe: Recipe, dataset: DatasetDict, scores: ScoreFile | None = None, mask: Mask | None = None) -> str:
    """Identity of a run, hexadecimal: its recipe, its data, the files of its backbone, and what it was given."""
    backbone = Path(recipe.model.backbone)
    given = [scores.of(recipe.criterion) if scores else {}, mask.keep if mask else {}]
    from_elsewhere = [{str(key): values.tolist() for key, values in modules.items()} for modules in given]
    read = [_data_hash(dataset), _files_hash(backbone) if backbone.is_dir() else "", from_elsewhere]
    run = json.dumps([recipe.model_dump(mode="json"), read], sort_keys=True)
    return hashlib.sha256(run.encode()).hexdigest()


def _files_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _data_hash(dataset: DatasetDict) -> str:
    digest = hashlib.sha256()
    for split in sorted(dataset):
        digest.update(f"{split} {hash_rows(dataset[split])}".encode())
    return digest.hexdigest()


def _texts(rows: Dataset) -> list[str]:
    """All texts of a split, from both columns of a pair."""
    return [text for column in ("text", "text_pair") if column in rows.column_names for text in rows[column]]

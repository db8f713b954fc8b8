"""One command's worth of work: a backbone and labelled texts become a small model with its evidence.

The flow is that of the pipeline: score, mask, slim, fine-tune, evaluate. What a step leaves is kept in a work
folder beside the result, so that a run that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from datasets import Dataset, DatasetDict
from pydantic import Field, PositiveFloat
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.artifacts import (
    ScoreFile,
    claim_scratch,
    read_json,
    read_scores,
    replacing,
    write_json,
    write_mask,
    write_scores,
)
from sensibert.bench import BATCH_SIZES, Latency, compare_latency, torch_candidate
from sensibert.budgets import mask_for
from sensibert.cost import count, measure_cost
from sensibert.encoding import Example, encode, mean_length
from sensibert.evaluation import evaluate
from sensibert.hardware import best_device, make_deterministic
from sensibert.importance import DATA_FREE
from sensibert.importance.scoring import score_task
from sensibert.latency import measure_table
from sensibert.masks import Mask
from sensibert.models.backbones import classifies, load_backbone, load_model, load_tokenizer
from sensibert.models.slim import slim
from sensibert.params import (
    DENSE_BUDGET,
    Budget,
    CriterionName,
    MethodParams,
    ModelParams,
    RankingParams,
    ScoringParams,
    Section,
    Seed,
    TrainingParams,
)
from sensibert.provenance import Timer, collect
from sensibert.report.card import write_card
from sensibert.results import Result
from sensibert.tasks import Task
from sensibert.tasks.prepare import Audit
from sensibert.training import fine_tune
from sensibert.tuning import TUNING_METHODS
from sensibert.vocabulary import coverage, trim_vocabulary

EVIDENCE = "evidence"
"""Folder, inside the saved model, of what proves its numbers."""

Say = Callable[[str], None]


class Recipe(Section):
    """How a model is made smaller. Equal recipes and data give equal models, unless a latency is measured."""

    model: ModelParams
    budget: Budget
    budget_kind: Literal["params", "macs", "size", "latency"] = "params"
    criterion: CriterionName = "sensitivity"
    scoring: ScoringParams = ScoringParams()
    ranking: RankingParams = RankingParams()
    training: TrainingParams = TrainingParams()
    learning_rate: PositiveFloat = 2e-4
    baseline: Literal["auto", "tune", "given", "none"] = "auto"
    """What the result is compared with: the dense model fine-tuned on the same data, the dense model as it was
    given, or the size and speed of the dense model alone. `auto` takes it as given where it already is a classifier
    of these labels, and tunes it otherwise."""
    trim_vocabulary: bool = False
    seed: Annotated[Seed, Field()] = 0


@dataclass(frozen=True)
class Evidence:
    """What a compression cost and saved."""

    recipe: dict[str, Any]
    task: dict[str, Any]
    data: dict[str, Any]
    """Rows read, kept and dropped, by split."""
    before: Result
    """The dense model; without metrics where no baseline was wanted."""
    after: Result
    mask: dict[str, Any]
    """What the mask keeps, in the unit of the budget and in the others."""
    vocabulary: dict[str, Any] | None
    """What trimming the vocabulary removed and what it cost; None where it was not wanted."""
    latency: list[Latency]
    """Of the models `before` and `after`, which took turns."""
    provenance: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)


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
        dataset: The splits `train` and `validation`; nothing is chosen by looking at the second.
        audit: What became of the rows; recorded.
        recipe: What to do.
        out: Folder of the result: the model, its tokenizer, a model card and the evidence. It appears whole or not
            at all.
        scores: Of an earlier pass with this backbone and task, instead of a new one.
        mask: Made earlier for this backbone, instead of a new one; the budget of the recipe does not count then.
        say: Takes a line about each step.

    Returns:
        The evidence, which is also in `out`.

    Raises:
        SensibertError: the backbone, the data, the budget, the scores or the mask do not fit.
    """
    work = _work_folder(out, recipe, dataset, mask)
    job = _Job(task, dataset, recipe, work, say)
    with Timer() as timer:
        if mask is None:
            scores = scores or job.scores()
            mask = job.mask(scores)
        say(f"mask: keeps {mask.kept_fraction:.1%} of the prunable parameters")
        small = job.slim_model(mask)
        dense = job.dense_model()
        before, _ = job.result(dense, "dense", DENSE_BUDGET, judged=recipe.baseline != "none")
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
        mask=mask.about,
        vocabulary=vocabulary,
        latency=latency,
        provenance=collect(timer, recipe.model_dump(mode="json"), _data_hash(dataset), small.training["precision"]),
    )
    with replacing(out) as folder:
        shutil.copytree(small.folder, folder)
        (folder / EVIDENCE).mkdir()
        (folder / _TRAINING).rename(folder / EVIDENCE / _TRAINING)
        if scores is not None:
            write_scores(folder / EVIDENCE / "scores.safetensors", scores)
        write_mask(folder / EVIDENCE / "mask.safetensors", mask)
        write_json(folder / EVIDENCE / "report.json", evidence.to_dict())
        predictions.to_parquet(folder / EVIDENCE / "predictions.parquet", index=False)
        write_card(evidence, folder)
    shutil.rmtree(work)
    return evidence


_TRAINING = "training.json"


@dataclass(frozen=True)
class _Model:
    """A model of a run, and where it is saved."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path

    @property
    def training(self) -> dict[str, Any]:
        """How it was trained."""
        return read_json(self.folder / _TRAINING)


@dataclass(frozen=True)
class _Job:
    """The steps of one run. Each looks first for what an interrupted run left in the work folder."""

    task: Task
    dataset: DatasetDict
    recipe: Recipe
    work: Path
    say: Say

    @cached_property
    def examples(self) -> list[Example]:
        """The training texts, tokenized once; a trimmed tokenizer gives as many tokens for them."""
        tokenizer = load_tokenizer(self.recipe.model.backbone)
        return encode(self.dataset["train"], tokenizer, self.recipe.model.max_length)

    def scores(self) -> ScoreFile:
        """The scores of one pass over the training data."""
        path, recipe, train = self.work / "scores.safetensors", self.recipe, self.dataset["train"]
        if not path.exists():
            self.say(f"score: one pass over {len(train):,} texts")
            settings = recipe.model, recipe.scoring, recipe.seed, recipe.training.precision
            *_, scores = score_task(train, self.task, *settings)
            write_scores(path, scores)
        return read_scores(path)

    def mask(self, scores: ScoreFile) -> Mask:
        """The scores, cut at the budget."""
        recipe, table = self.recipe, None
        if recipe.budget_kind == "latency":
            self.say("mask: measuring the modules on this machine")
            tokens, align = scores.about["tokens"], recipe.ranking.align
            table = measure_table(self._backbone(), batch_size=1, tokens=tokens, align=align)
        about = {"task": self.task.name, "method": recipe.criterion, "budget": recipe.budget, "seed": recipe.seed}
        options = recipe.ranking.options(recipe.criterion)
        return mask_for(
            scores, recipe.criterion, self._budget(scores), recipe.budget_kind, latency=table, about=about, **options
        )

    def _budget(self, scores: ScoreFile) -> float:
        """The budget of the mask. Bytes that leave with the vocabulary need not leave the layers."""
        recipe = self.recipe
        if not (recipe.trim_vocabulary and recipe.budget_kind == "size"):
            return recipe.budget
        texts = _texts(self.dataset["train"])
        report = trim_vocabulary(self._backbone(), load_tokenizer(recipe.model.backbone), texts).report
        trimmed_bytes = 4 * report.parameters_removed
        return min(1.0, recipe.budget + trimmed_bytes / scores.unit("size").dense)

    def slim_model(self, mask: Mask) -> _Model:
        """The model without what the mask drops, fine-tuned."""
        return self._kept("slim", lambda: slim(self._backbone(), mask))

    def dense_model(self) -> _Model:
        """What the slim model is compared with."""
        wish, backbone = self.recipe.baseline, self.recipe.model.backbone
        tuned = wish == "tune" or (wish == "auto" and not classifies(backbone, self.task))
        return self._kept("dense", self._backbone, tuned=tuned)

    def trimmed(self, untrimmed: _Model) -> tuple[_Model, dict[str, Any]]:
        """The model with the tokens that the training texts need, and what that removed and cost."""
        self.say("vocabulary: keeping what the training texts need")
        found = trim_vocabulary(untrimmed.model, untrimmed.tokenizer, _texts(self.dataset["train"]))
        folder = self.work / "trimmed"
        _save(found.model, found.tokenizer, folder, untrimmed.training)
        held_out = _texts(self.dataset[self.task.validation_splits[0]])
        report = asdict(found.report) | {"held_out": asdict(coverage(untrimmed.tokenizer, found.tokenizer, held_out))}
        return _Model(found.model, found.tokenizer, folder), report

    def result(self, made: _Model, method: str, budget: float, *, judged: bool = True) -> tuple[Result, pd.DataFrame]:
        """Metrics, predictions and cost on the validation split; the cost alone of a model that is not judged."""
        recipe, max_length = self.recipe, self.recipe.model.max_length
        metrics: dict[str, float] = {}
        predictions = pd.DataFrame()
        if judged:
            make_deterministic(recipe.seed)
            metrics, predictions = evaluate(made.model, made.tokenizer, self.task, self.dataset, max_length)
        tokens = mean_length(self.examples)
        cost = measure_cost(
            made.model,
            made.folder,
            trainable=made.training["trainable_parameters"],
            stored=count(made.model),
            extra_passes=0.0 if method in (*TUNING_METHODS, *DATA_FREE) else recipe.scoring.epochs,
            tokens=tokens,
        )
        rows = len(self.dataset[self.task.validation_splits[0]])
        metric = self.task.primary_metric
        return Result(self.task.name, method, budget, recipe.seed, metrics, metric, rows, cost), predictions

    def _backbone(self) -> PreTrainedModel:
        return load_backbone(self.recipe.model.backbone, self.task, self.recipe.seed)

    def _kept(self, name: str, make: Callable[[], PreTrainedModel], *, tuned: bool = True) -> _Model:
        """A model from the work folder; else made, fine-tuned and put there."""
        folder = self.work / name
        tokenizer = load_tokenizer(self.recipe.model.backbone)
        if not folder.exists():
            model, training = make(), {"trainable_parameters": 0}
            if tuned:
                self.say(f"fine-tune: the {name} model")
                training = self._tune(model, tokenizer, self.work / f"{name}-checkpoints")
            _save(model, tokenizer, folder, training)
        return _Model(load_model(folder).to(best_device()), tokenizer, folder)  # type: ignore[arg-type]

    def _tune(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, checkpoints: Path) -> dict[str, Any]:
        recipe = self.recipe
        training = fine_tune(
            model.to(best_device()),  # type: ignore[arg-type]
            self.examples,
            tokenizer,
            recipe.training,
            method="full",
            options=MethodParams(learning_rate=recipe.learning_rate),
            seed=recipe.seed,
            checkpoints=checkpoints,
        )
        return asdict(training)


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, training: dict[str, Any]) -> None:
    with replacing(folder) as beside:
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        write_json(beside / _TRAINING, training)


def _work_folder(out: Path, recipe: Recipe, dataset: DatasetDict, mask: Mask | None) -> Path:
    """The scratch folder of this very run; that of another run with the same `out` is emptied."""
    folder = out.with_name(f".{out.name}.work")
    kept = None if mask is None else {str(key): keep.tolist() for key, keep in mask.keep.items()}
    run = json.dumps([recipe.model_dump(mode="json"), _data_hash(dataset), kept], sort_keys=True)
    claim_scratch(folder, hashlib.sha256(run.encode()).hexdigest())
    return folder


def _data_hash(dataset: DatasetDict) -> str:
    digest = hashlib.sha256()
    for split in sorted(dataset):
        rows = dataset[split].to_pandas()
        digest.update(f"{split} {list(rows.columns)}".encode())
        digest.update(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def _texts(rows: Dataset) -> list[str]:
    """All texts of a split, those of both columns of a pair."""
    return [text for column in ("text", "text_pair") if column in rows.column_names for text in rows[column]]

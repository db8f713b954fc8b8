"""The sections of params.yaml: the settings of each step of the flow."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from sensibert.config.methods import METHODS, names, shaping_criterion
from sensibert.config.section import Section, Unique, one_of
from sensibert.config.simple_models import SIMPLE_MODELS
from sensibert.data.tasks import TASKS

Source = Literal["hub", "local", "pydocs"]
Precision = Literal["auto", "fp32", "bf16"]
Pooling = Literal["auto", "pooler", "cls", "mean"]
Allocation = Literal["global", "per_group", "per_layer"]
RankBy = Literal["score", "score_per_parameter"]
BudgetKind = Literal["params", "macs", "size"]


def _written_as_a_float(value: Any) -> Any:
    # DVC names a cell's files after the text in params.yaml: 1 and 1.0 would be two files.
    if isinstance(value, int):
        raise ValueError(f"write it with a decimal point: {float(value)}")  # noqa: TRY004 (pydantic reports ValueError)
    return value


def _is_the_same_everywhere(kind: Any) -> Any:
    if kind == "latency":
        raise ValueError(
            "a latency is measured, and differs between machines and runs; allowed here: params, macs, size. "
            "`sensibert compress` and `sensibert mask` meet a latency"
        )
    return kind


def _is_a_fraction(value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError("a budget is the fraction that is kept: above 0.0, at most 1.0")
    return value


TaskName = Annotated[str, one_of("task", TASKS)]
CriterionName = Annotated[str, one_of("criterion", names("criterion"))]
CutName = Annotated[str, one_of("criterion", names("criterion", "control"))]
PruningName = Annotated[str, one_of("pruning procedure", names("procedure"))]
SimpleModelName = Annotated[str, one_of("simple model", tuple(SIMPLE_MODELS))]
TuningName = Annotated[str, one_of("tuning method", names("tuning"))]
PeftName = Annotated[str, one_of("method with a budget of trained parameters", names("peft"))]
Budget = Annotated[float, BeforeValidator(_written_as_a_float), AfterValidator(_is_a_fraction)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]


class DataParams(Section):
    """Where the tasks come from and how much of them is used."""

    source: Source
    directory: Path | None = None
    """The folder that `source: local` reads."""
    watch: str = "requirements.lock"
    """What DVC watches: a change of this file or folder repeats the download."""
    revision: str = "main"
    """Branch, tag or commit of the data sets that `source: hub` reads; GLUE, SuperGLUE and IMDB are three data sets."""
    max_train: PositiveInt | None = None
    """Training examples to keep (stratified, the same ones every time); null keeps all."""
    dev_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Part of the training split that is set aside for choices."""
    max_dev: PositiveInt = 2000
    seed: Seed = 0
    """Seed of the carved dev split and of the training sample."""

    @model_validator(mode="after")
    def _local_needs_a_directory(self) -> DataParams:
        if self.source == "local" and self.directory is None:
            raise ValueError("source: local needs `directory`, the folder that holds <task>/<split>.parquet")
        return self


class ModelParams(Section):
    """The pre-trained encoder."""

    backbone: Annotated[str, Field(min_length=1)]
    """`minilm-l6`, `tiny-bert`, a local directory or a hub id."""
    max_length: Annotated[int, Field(ge=8)] = 128
    """Longer texts are cut at this number of tokens."""
    pooling: Pooling = "auto"
    """What the classifier sees of a text: `pooler` is the stock head of the architecture, `cls` the hidden state of the
    first token, `mean` the mean over all tokens; `auto` takes what the backbone was trained for (`models.heads`)."""


class ScoringParams(Section):
    """The pass with learnable masks that ranks the dimensions."""

    epochs: PositiveInt = 1
    batch_size: PositiveInt = 32
    learning_rate: Annotated[float, Field(ge=0)] = 5e-5
    """Learning rate of the weights and the classifier; 0 scores the model as it is."""
    mask_learning_rate: Annotated[float, Field(ge=0)] = 1e-2
    l1: Annotated[float, Field(ge=0)] = 1e-5
    """Weight of the L1 penalty on the masks."""
    max_samples: PositiveInt | None = None
    """Training examples that the pass sees, drawn by its seed; null takes all."""
    skip_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """First part of the pass, which the accumulated criteria ignore."""


class RankingParams(Section):
    """How scores are ranked."""

    allocation: Allocation = "global"
    rank_by: dict[CriterionName, RankBy] = {}
    """How each criterion is ranked; `score` if it is not named."""
    min_keep_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of each module that is always kept (one dimension at least)."""
    remove_below: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """A module that would keep less than this fraction of its dimensions goes altogether, all but its bias."""
    round_to: PositiveInt = 1
    """The kept size of a head, and of a feed-forward module, is a multiple of this, or all of it stays."""
    attention_weight: PositiveFloat = 1.0
    """Factor of the attention scores, to shift the balance between attention and feed-forward."""

    def options(self, criterion: str) -> dict[str, Any]:
        """How the scores of a criterion become a mask: the keyword arguments of `scoring.budgets.mask_for`.

        Those of a control are the ones of the criterion whose shapes it has.
        """
        rank_by = self.rank_by.get(shaping_criterion(criterion), "score")
        names = ("min_keep_fraction", "remove_below", "round_to", "attention_weight")
        own = METHODS[criterion].allocation if criterion in METHODS else None
        options = {"allocation": own or self.allocation, "rank_by": rank_by}
        return {name: getattr(self, name) for name in names} | options


class MaskingParams(RankingParams):
    """How scores become a mask."""

    budget_kind: Annotated[BudgetKind, BeforeValidator(_is_the_same_everywhere)] = "params"
    """What a budget is a fraction of: the prunable parameters, the prunable multiply-accumulates of a text of mean
    length, or the bytes of the whole weights file."""


class TrainingParams(Section):
    """The Hugging Face Trainer's settings, the same for every cell."""

    epochs: PositiveFloat = 3
    batch_size: PositiveInt = 32
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    precision: Precision = "auto"
    checkpoint_steps: PositiveInt = 500
    """Optimizer steps between two checkpoints, rounded up to the next point of the training curve."""
    min_steps: NonNegativeInt = 300
    """Optimizer steps at least, for every method alike: few rows get more epochs."""

    def epochs_for(self, examples: int) -> float:
        """The epochs over so many training examples."""
        in_epoch = math.ceil(examples / self.batch_size)
        least = self.min_steps / in_epoch
        if math.ceil(least * in_epoch) > self.min_steps:  # the quotient was rounded up
            least = math.nextafter(least, 0)
        return max(self.epochs, least)

    def steps_for(self, examples: int) -> int:
        """The optimizer steps over so many training examples, as the Trainer counts them."""
        return math.ceil(self.epochs_for(examples) * math.ceil(examples / self.batch_size))

    def of_steps(self, steps: int) -> TrainingParams:
        """The settings of a run of exactly so many optimizer steps."""
        return self.model_copy(update={"epochs": 0.0, "min_steps": steps})

    def part(self, parts: int) -> TrainingParams:
        """The settings of one of several runs that share the epochs and the steps."""
        shared = {"epochs": self.epochs / parts, "min_steps": math.ceil(self.min_steps / parts)}
        return self.model_copy(update=shared)


class SearchParams(Section):
    """A search for batch size and learning rate, judged on the carved dev split; nothing where `tasks` is empty.

    The defaults are the grid of BitFit's source.
    """

    tasks: Annotated[list[TaskName], Unique] = []
    tuning: Annotated[list[TuningName], Unique] = []
    seeds: Annotated[list[Seed], Unique] = []
    batch_sizes: Annotated[list[PositiveInt], Unique, Field(min_length=1)] = [8, 16, 32, 64, 128]
    learning_rates: Annotated[list[PositiveFloat], Unique, Field(min_length=1)] = [3e-4, 1e-4, 5e-5, 3e-5]
    epochs: PositiveInt = 4
    sampler: Literal["grid", "tpe"] = "grid"
    """Every combination, or `trials` of them, chosen by a tree-structured Parzen estimator."""
    trials: PositiveInt | None = None
    """For `tpe`; the grid tries every combination."""
    max_train: PositiveInt | None = None
    """Training examples per trial; the best point is then tuned once more, on all of them."""
    prune: bool = True
    """Whether to end a trial early if its metric stays below the median of the others at the same epoch."""

    @model_validator(mode="after")
    def _trials_belong_to_tpe(self) -> SearchParams:
        if (self.trials is None) != (self.sampler == "grid"):
            raise ValueError("`trials` says how many sampler: tpe draws; sampler: grid takes every combination")
        if self.trial_count > len(self.points):
            raise ValueError(f"trials: {self.trials} is more than the {len(self.points)} combinations there are")
        return self

    def training_of(self, training: TrainingParams, batch_size: int) -> TrainingParams:
        """How a trial trains, and the model of the best one: as all else, but for the epochs and the batch size."""
        return training.model_copy(update={"batch_size": batch_size, "epochs": self.epochs, "min_steps": 0})

    @property
    def points(self) -> list[tuple[int, float]]:
        """Every combination of batch size and learning rate."""
        return list(product(self.batch_sizes, self.learning_rates))

    @property
    def trial_count(self) -> int:
        """How many points are tried."""
        return self.trials or len(self.points)


class StabilityParams(Section):
    """Scoring passes that are repeated to see whether their ranking holds."""

    tasks: Annotated[list[TaskName], Unique]
    seeds: Annotated[list[Seed], Unique]
    epochs: Annotated[list[PositiveInt], Unique]
    criteria: Annotated[list[CriterionName], Unique, Field(min_length=1)] = ["sensitivity"]

    @model_validator(mode="after")
    def _something_to_compare(self) -> StabilityParams:
        if len(self.seeds) * len(self.epochs) < 2:
            raise ValueError("stability needs at least two scorings to compare: add a seed or an epoch")
        return self


class TransferParams(Section):
    """Tasks whose models are also evaluated on other tasks with the same labels; nothing where `tasks` is empty."""

    tasks: Annotated[list[TaskName], Unique] = []
    to: Annotated[list[TaskName], Unique] = []
    """The other tasks; they need not be in the grid."""
    max_examples: PositiveInt = 2000
    """How much of the other task's validation split is used."""


class RateParams(Section):
    """The search for the peak rate of every method whose `learning_rate` is `searched`, on the carved dev split.

    The rates go up in factors of two. Where the best is the lowest or the highest of them, more are tried.
    """

    lowest: PositiveFloat = 1e-5
    highest: PositiveFloat = 2e-3
    seeds: Annotated[list[Seed], Unique, Field(min_length=1)] = [0, 1, 2]
    """Each rate counts with its mean over these; all methods share them."""
    max_train: PositiveInt | None = None
    """Training examples of a trial; null takes all."""

    @model_validator(mode="after")
    def _is_a_range(self) -> RateParams:
        if self.lowest > self.highest:
            raise ValueError(f"lowest, {self.lowest:g}, is above highest, {self.highest:g}")
        return self

    @property
    def grid(self) -> list[float]:
        """The rates that are tried in any case."""
        return [self.lowest * 2**step for step in range(1 + math.ceil(math.log2(self.highest / self.lowest)))]


class LayerRankingParams(Section):
    """Where the ranking of whole layers is checked for stability; nothing where `tasks` is empty."""

    tasks: Annotated[list[TaskName], Unique] = []
    seeds: Annotated[list[Seed], Unique] = []
    samples: Annotated[list[PositiveInt], Unique, AfterValidator(sorted), Field(min_length=1)] = [
        25, 50, 100, 200, 400, 800,
    ]  # fmt: skip
    """Sample sizes, in training examples."""


class DeploymentParams(Section):
    """The part of the grid whose models are exported and timed, at every budget; nothing where `tasks` is empty."""

    tasks: Annotated[list[TaskName], Unique] = []
    criteria: Annotated[list[CutName], Unique] = []
    pruning: Annotated[list[PruningName], Unique] = []
    tuning: Annotated[list[TuningName], Unique] = []
    seeds: Annotated[list[Seed], Unique] = []

"""Typed, validated view of params.yaml.

A wrong value raises `ParamsError` with a message that names the key, the value and what is allowed.
Nothing here imports torch: reading the parameters must stay instant.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from sensibert.errors import ParamsError
from sensibert.importance import CRITERIA
from sensibert.tasks import TASKS
from sensibert.tuning import TUNING_METHODS

DENSE_BUDGET = 1.0
"""The budget of a cell that prunes nothing."""

PROFILE_NAME = r"^[a-z0-9][a-z0-9_-]*$"
"""Profiles name folders."""

Source = Literal["hub", "local", "pydocs"]
Precision = Literal["auto", "fp32", "bf16"]
Allocation = Literal["global", "per_group", "per_layer"]
RankBy = Literal["score", "score_per_parameter"]
BudgetKind = Literal["params", "macs", "size"]


def _one_of(kind: str, allowed: Any) -> AfterValidator:
    def check(name: str) -> str:
        if name not in allowed:
            raise ValueError(f"unknown {kind} {name!r}; allowed: {', '.join(allowed)}")
        return name

    return AfterValidator(check)


def _without_repeats(values: list[Any]) -> list[Any]:
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"{repeated} stands in the list more than once")
    return values


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


TaskName = Annotated[str, _one_of("task", TASKS)]
CriterionName = Annotated[str, _one_of("criterion", CRITERIA)]
TuningName = Annotated[str, _one_of("tuning method", TUNING_METHODS)]
Budget = Annotated[float, BeforeValidator(_written_as_a_float), AfterValidator(_is_a_fraction)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Unique = AfterValidator(_without_repeats)


class Section(BaseModel):
    """A group of settings: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class DataParams(Section):
    """Where the tasks come from and how much of them is used."""

    source: Source
    directory: Path | None = None
    """The folder that `source: local` reads."""
    watch: str = "requirements.lock"
    """What DVC watches: a change of this file or folder repeats the download."""
    revision: str = "main"
    """The revision of the data set that `source: hub` reads."""
    max_train: PositiveInt | None = None
    """Training samples to keep (stratified, the same ones every time); null keeps all."""
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

    backbone: str
    """`minilm-l6`, `tiny-bert`, a local directory or a hub id."""
    max_length: Annotated[int, Field(ge=8)] = 128
    """Tokens a text is cut at."""


class ScoringParams(Section):
    """The pass with learnable masks that ranks the dimensions."""

    epochs: PositiveInt = 1
    batch_size: PositiveInt = 32
    learning_rate: Annotated[float, Field(ge=0)] = 5e-5
    """Learning rate of the weights and the classifier."""
    mask_learning_rate: Annotated[float, Field(ge=0)] = 1e-2
    l1: Annotated[float, Field(ge=0)] = 1e-5
    """Weight of the L1 penalty on the masks."""
    skip_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """First part of the pass that counts for no accumulated criterion."""


class RankingParams(Section):
    """How scores are ranked."""

    allocation: Allocation = "global"
    rank_by: dict[CriterionName, RankBy] = {}
    """How each criterion is ranked; `score` where it is not named."""
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of each module that is always kept (one dimension at least)."""
    align: PositiveInt = 1
    """The kept size of a head, and of a feed-forward module, is a multiple of this, or all of it stays."""

    def options(self, criterion: str) -> dict[str, Any]:
        """How the scores of a criterion become a mask: the keyword arguments of `masks.make_mask`."""
        rank_by = self.rank_by.get(criterion, "score")
        return {"allocation": self.allocation, "floor": self.floor, "align": self.align, "rank_by": rank_by}


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


class FisherPruningParams(Section):
    """Pruning without retraining, by Fisher information (`pruning/kwon.py`)."""

    samples: PositiveInt = 2000
    """Training examples that the masks are computed from."""
    batch_size: PositiveInt = 32


class StabilityParams(Section):
    """Scoring passes that are repeated to see whether their ranking holds."""

    tasks: Annotated[list[TaskName], Unique]
    seeds: Annotated[list[Seed], Unique]
    epochs: Annotated[list[PositiveInt], Unique]
    criteria: Annotated[list[CriterionName], Unique] = ["sensitivity"]

    @model_validator(mode="after")
    def _something_to_compare(self) -> StabilityParams:
        if len(self.seeds) * len(self.epochs) < 2:
            raise ValueError("stability needs at least two scorings to compare: add a seed or an epoch")
        return self


class DeploymentParams(Section):
    """The part of the grid whose models are exported and timed, at every budget; nothing where `tasks` is empty."""

    tasks: Annotated[list[TaskName], Unique] = []
    criteria: Annotated[list[CriterionName], Unique] = []
    tuning: Annotated[list[TuningName], Unique] = []
    seeds: Annotated[list[Seed], Unique] = []


class Cell(NamedTuple):
    """One point of the grid."""

    task: str
    method: str
    """A criterion (the model is pruned by it) or a tuning method (the dense model is tuned by it)."""
    budget: float
    seed: int

    @property
    def name(self) -> str:
        """A file-system name; the same as the DVC matrix gives it."""
        budget = f"-{self.budget}" if self.is_pruned else ""
        return f"{self.task}-{self.method}{budget}-{self.seed}"

    @property
    def is_pruned(self) -> bool:
        """Whether a criterion made this cell's model smaller."""
        return self.method in CRITERIA


class Params(Section):
    """The whole of params.yaml."""

    profile: Annotated[str, Field(pattern=PROFILE_NAME)]
    tasks: Annotated[list[TaskName], Unique, Field(min_length=1)]
    seeds: Annotated[list[Seed], Unique, Field(min_length=1)]
    criteria: Annotated[list[CriterionName], Unique, Field(min_length=1)]
    budgets: Annotated[list[Budget], Unique, Field(min_length=1)]
    tuning: Annotated[list[TuningName], Unique, Field(min_length=1)]
    data: DataParams
    model: ModelParams
    scoring: ScoringParams = ScoringParams()
    masking: MaskingParams = MaskingParams()
    training: TrainingParams = TrainingParams()
    learning_rates: dict[str, PositiveFloat]
    """Fine-tuning rate of each method."""
    stability: StabilityParams
    deployment: DeploymentParams = DeploymentParams()

    @model_validator(mode="after")
    def _consistent(self) -> Params:
        methods = [*self.criteria, *self.tuning]
        if missing := [method for method in methods if method not in self.learning_rates]:
            raise ValueError(f"learning_rates has no entry for {', '.join(missing)}")
        if unknown := [name for name in self.learning_rates if name not in {*CRITERIA, *TUNING_METHODS}]:
            allowed = ", ".join([*CRITERIA, *TUNING_METHODS])
            raise ValueError(f"learning_rates names the unknown method {', '.join(unknown)}; allowed: {allowed}")
        pydocs = self.data.source == "pydocs"
        if wrong := [task for task in self.tasks if (TASKS[task].source == "pydocs") != pydocs]:
            allowed = ", ".join(name for name, task in TASKS.items() if (task.source == "pydocs") == pydocs)
            raise ValueError(
                f"tasks: {', '.join(wrong)} does not come from data.source: {self.data.source}, which has {allowed}"
            )
        if extra := [task for task in self.stability.tasks if task not in self.tasks]:
            raise ValueError(f"stability.tasks: {', '.join(extra)} is not in tasks ({', '.join(self.tasks)})")
        for name in DeploymentParams.model_fields:
            allowed = getattr(self, name)
            if others := [value for value in getattr(self.deployment, name) if value not in allowed]:
                raise ValueError(f"deployment.{name}: {others} is not in {name} ({allowed})")
        return self

    def cells(self) -> list[Cell]:
        """Every cell of the grid, in the order of the tables."""
        return [
            cell
            for task in self.tasks
            for cell in (
                *(Cell(task, method, DENSE_BUDGET, seed) for method in self.tuning for seed in self.seeds),
                *(
                    Cell(task, criterion, budget, seed)
                    for budget in self.budgets
                    for criterion in self.criteria
                    for seed in self.seeds
                ),
            )
        ]

    def deployed_cells(self) -> list[Cell]:
        """The cells whose models are exported and timed, in the order of the tables."""
        chosen = self.deployment
        methods = [*chosen.criteria, *chosen.tuning]
        return [c for c in self.cells() if c.task in chosen.tasks and c.method in methods and c.seed in chosen.seeds]


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check a parameter file.

    Raises:
        ParamsError: the file is missing, is not YAML, or holds a wrong value.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist; run from the repository root") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ParamsError(f"{path} must hold a mapping of keys to values")
    return parse_params(content, name=str(path))


def parse_params(content: dict[str, Any], name: str = "params") -> Params:
    """Check parameters that are already in memory; `name` stands in the error message."""
    return validate(Params, content, name)


_S = TypeVar("_S", bound=Section)


def validate(section: type[_S], content: dict[str, Any], name: str) -> _S:
    """Check the content of a section; `name` stands in the error message.

    Raises:
        ParamsError: a key is unknown or missing, or a value is wrong; the message names all of them.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        lines = [_describe(problem, section) for problem in error.errors()]
        raise ParamsError("\n".join(f"{name}: {line}" for line in lines)) from None


def _describe(problem: Any, root: type[Section]) -> str:
    key = ".".join(str(part) for part in problem["loc"] if part != "[key]")
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; allowed: {', '.join(_siblings(problem['loc'], root))}"
    if problem["type"] == "missing":
        return f"{key}: this key is required"
    if problem["type"] == "model_type":
        return f"{key}: must be a mapping of keys to values (found {problem['input']!r})"
    if isinstance(problem["input"], dict):
        return f"{key}: {message}" if key else message
    return f"{key}: {message} (found {problem['input']!r})"


def _siblings(location: tuple[Any, ...], root: type[Section]) -> list[str]:
    """The keys that are allowed where an unknown one was found."""
    section: type[BaseModel] = root
    for part in location[:-1]:
        annotation = section.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        section = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(section.model_fields)

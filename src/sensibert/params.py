"""Typed, validated view of params.yaml.

A wrong value raises `ParamsError` with a message that names the key, the value and what is allowed.
Nothing here imports torch: reading the parameters must stay instant.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import product
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
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from sensibert.errors import ParamsError
from sensibert.importance import CRITERIA
from sensibert.models.architectures import ANATOMIES
from sensibert.pruning import PRUNING_METHODS
from sensibert.tasks import TASKS
from sensibert.tuning import BIAS_METHODS, PEFT_METHODS, TUNING_METHODS

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
PruningName = Annotated[str, _one_of("pruning procedure", PRUNING_METHODS)]
TuningName = Annotated[str, _one_of("tuning method", TUNING_METHODS)]
PeftName = Annotated[str, _one_of("method with a budget of trained parameters", PEFT_METHODS)]
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
    """Branch, tag or commit of the data sets that `source: hub` reads; GLUE, SuperGLUE and IMDB are three."""
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
    max_samples: PositiveInt | None = None
    """Training examples of the pass, drawn by its seed; null takes all."""
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
    attention_weight: PositiveFloat = 1.0
    """Factor of the attention scores, to shift the balance between attention and feed-forward."""

    def options(self, criterion: str) -> dict[str, Any]:
        """How the scores of a criterion become a mask: the keyword arguments of `masks.make_mask`."""
        rank_by = self.rank_by.get(criterion, "score")
        names = ("allocation", "floor", "align", "attention_weight")
        return {name: getattr(self, name) for name in names} | {"rank_by": rank_by}


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


class MethodParams(Section):
    """How a method fine-tunes."""

    learning_rate: PositiveFloat
    """The peak rate."""


class LayerParams(MethodParams):
    """A method that tunes some of the layers."""

    layers: PositiveInt = 5
    """Layers that train; the others stay as they were pre-trained."""


class SurgicalParams(LayerParams):
    """Surgical fine-tuning: the layers with the most Fisher information."""

    samples: PositiveInt = 100
    """Training examples that the layers are ranked by."""
    per_parameter: bool = False
    """Rank by the information per parameter, so that a large layer has no advantage."""


class SptParams(MethodParams):
    """Sensitivity-aware tuning (SPT)."""

    rank: PositiveInt = 8
    """Rank of a low-rank update, or bottleneck of an adapter."""
    threshold: PositiveInt | None = None
    """Sensitive weights from which a matrix gets a structured module; null takes the module's own size."""
    samples: PositiveInt = 800
    """Training examples that the weights are ranked by."""
    batch_size: PositiveInt = 32
    """Examples whose mean gradient is squared at once."""


class IterativeParams(MethodParams):
    """Iterative pruning."""

    rounds: Annotated[int, Field(ge=2)] = 3
    """Rounds of pruning and fine-tuning; they share the epochs of `training`."""


class DistillationParams(MethodParams):
    """Fine-tuning that also learns from the dense model."""

    temperature: PositiveFloat = 2.0
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Of the teacher's answers; the rest is of the labels."""


class KwonParams(Section):
    """Pruning without retraining, by Fisher information (`pruning/kwon`)."""

    samples: PositiveInt = 2000
    """Training examples that the masks are computed from."""
    batch_size: PositiveInt = 32


class Methods(Section):
    """Learning rate and options of the methods; each method of the grid must stand here."""

    sensitivity: MethodParams | None = None
    mask: MethodParams | None = None
    fisher: MethodParams | None = None
    magnitude: MethodParams | None = None
    random: MethodParams | None = None
    full: MethodParams | None = None
    head_only: MethodParams | None = None
    bitfit: MethodParams | None = None
    bitfit_frozen_classifier: MethodParams | None = None
    bitfit_query_mlp: MethodParams | None = None
    bitfit_query_mlp_frozen_classifier: MethodParams | None = None
    surgical: SurgicalParams | None = None
    last_layers: LayerParams | None = None
    random_layers: LayerParams | None = None
    lora: MethodParams | None = None
    adapter: MethodParams | None = None
    spt_lora: SptParams | None = None
    spt_adapter: SptParams | None = None
    kwon: KwonParams | None = None
    iterative_magnitude: IterativeParams | None = None
    iterative_sensitivity: IterativeParams | None = None
    distilled_magnitude: DistillationParams | None = None
    distilled_sensitivity: DistillationParams | None = None

    @model_serializer(mode="wrap")
    def _only_what_is_named(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: settings for name, settings in serialize(self).items() if settings is not None}


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
    """Every combination, or so many as `trials` says, chosen by a tree-structured Parzen estimator."""
    trials: PositiveInt | None = None
    """Of `tpe`; the grid has as many as it has combinations."""
    max_train: PositiveInt | None = None
    """Training examples of a trial; the best point is then tuned once more, on all of them."""
    prune: bool = True
    """Whether a trial ends early whose metric stays below the median of the others at the same epoch."""

    @model_validator(mode="after")
    def _trials_belong_to_tpe(self) -> SearchParams:
        if (self.trials is None) != (self.sampler == "grid"):
            raise ValueError("`trials` says how many sampler: tpe draws; sampler: grid takes every combination")
        if self.trial_count > len(self.points):
            raise ValueError(f"trials: {self.trials} is more than the {len(self.points)} combinations there are")
        return self

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
    criteria: Annotated[list[CriterionName], Unique] = ["sensitivity"]

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
    """Of the other task's validation split."""


class LayerRankingParams(Section):
    """Where the ranking of whole layers is checked for stability; nothing where `tasks` is empty."""

    tasks: Annotated[list[TaskName], Unique] = []
    seeds: Annotated[list[Seed], Unique] = []
    samples: Annotated[list[PositiveInt], Unique, AfterValidator(sorted), Field(min_length=1)] = [
        25, 50, 100, 200, 400, 800,
    ]  # fmt: skip
    """Sizes of the sample of training examples."""


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
    """A criterion or a pruning procedure, or a tuning method of the dense model."""
    budget: float
    """Kept fraction of the prunable parameters, or trained fraction of the backbone's for a method that has one."""
    seed: int

    @property
    def name(self) -> str:
        """A file-system name; the same as the DVC matrix gives it."""
        budget = f"-{self.budget}" if self.is_pruned or self.trains_a_budget else ""
        return f"{self.task}-{self.method}{budget}-{self.seed}"

    @property
    def is_pruned(self) -> bool:
        """Whether this cell's model was made smaller."""
        return self.method in CRITERIA or self.method in PRUNING_METHODS

    @property
    def trains_a_budget(self) -> bool:
        """Whether this cell's budget is the fraction of the parameters that train."""
        return self.method in PEFT_METHODS


class SearchedCell(NamedTuple):
    """One search: a tuning method on a task."""

    task: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """A file-system name; the same as the DVC matrix gives it."""
        return f"{self.task}-{self.method}-{self.seed}"


class Params(Section):
    """The whole of params.yaml."""

    profile: Annotated[str, Field(pattern=PROFILE_NAME)]
    tasks: Annotated[list[TaskName], Unique, Field(min_length=1)]
    seeds: Annotated[list[Seed], Unique, Field(min_length=1)]
    criteria: Annotated[list[CriterionName], Unique, Field(min_length=1)]
    budgets: Annotated[list[Budget], Unique, Field(min_length=1)]
    pruning: Annotated[list[PruningName], Unique] = []
    """Procedures that prune to the same budgets in other ways than scoring once and fine-tuning once."""
    tuning: Annotated[list[TuningName], Unique, Field(min_length=1)]
    peft: Annotated[list[PeftName], Unique] = []
    peft_budgets: Annotated[list[Budget], Unique] = []
    """Trained fraction of the backbone's parameters; the classifier's come on top."""
    data: DataParams
    model: ModelParams
    scoring: ScoringParams = ScoringParams()
    masking: MaskingParams = MaskingParams()
    training: TrainingParams = TrainingParams()
    methods: Methods
    stability: StabilityParams
    deployment: DeploymentParams = DeploymentParams()
    search: SearchParams = SearchParams()
    layer_ranking: LayerRankingParams = LayerRankingParams()
    transfer: TransferParams = TransferParams()

    @model_validator(mode="after")
    def _consistent(self) -> Params:
        methods = [*self.criteria, *self.pruning, *self.tuning, *self.peft]
        if missing := [method for method in methods if getattr(self.methods, method) is None]:
            raise ValueError(f"methods has no entry for {', '.join(missing)}: give each its learning_rate")
        if self.pruning and "full" not in self.tuning:
            raise ValueError("pruning: its procedures may begin with the fully tuned model: add full to tuning")
        if self.masking.budget_kind == "size" and self.pruning:
            raise ValueError("pruning: its procedures count parameters or multiply-accumulates, not bytes")
        if self.masking.floor and (rounds := [method for method in self.pruning if method.startswith("iterative")]):
            raise ValueError(
                f"masking.floor: {', '.join(rounds)} prunes what earlier rounds left, of which it would be a "
                "fraction: set it to 0, or leave these out of pruning"
            )
        if bool(self.peft) != bool(self.peft_budgets):
            raise ValueError("peft and peft_budgets go together: name both, or leave both empty")
        pydocs = self.data.source == "pydocs"
        if wrong := [task for task in self.tasks if (TASKS[task].source == "pydocs") != pydocs]:
            allowed = ", ".join(name for name, task in TASKS.items() if (task.source == "pydocs") == pydocs)
            raise ValueError(
                f"tasks: {', '.join(wrong)} does not come from data.source: {self.data.source}, which has {allowed}"
            )
        if extra := [task for task in self.stability.tasks if task not in self.tasks]:
            raise ValueError(f"stability.tasks: {', '.join(extra)} is not in tasks ({', '.join(self.tasks)})")
        if extra := [task for task in self.search.tasks if task not in self.tasks]:
            raise ValueError(f"search.tasks: {', '.join(extra)} is not in tasks ({', '.join(self.tasks)})")
        if extra := [task for task in self.transfer.tasks if task not in self.tasks]:
            raise ValueError(f"transfer.tasks: {', '.join(extra)} is not in tasks ({', '.join(self.tasks)})")
        for task, to in product(self.transfer.tasks, self.transfer.to):
            if task == to or len(TASKS[task].label_names) != len(TASKS[to].label_names) or TASKS[to].is_regression:
                raise ValueError(f"transfer.to: {to} has not the same classes as {task}, or is the same task")
        if extra := [task for task in self.layer_ranking.tasks if task not in self.tasks]:
            raise ValueError(f"layer_ranking.tasks: {', '.join(extra)} is not in tasks ({', '.join(self.tasks)})")
        if self.layer_ranking.tasks and self.methods.full is None:
            raise ValueError("layer_ranking: methods has no entry for full, whose fine-tuning it follows")
        if missing := [method for method in self.search.tuning if getattr(self.methods, method) is None]:
            raise ValueError(f"search.tuning: methods has no entry for {', '.join(missing)}")
        for name in DeploymentParams.model_fields:
            allowed = getattr(self, name)
            if others := [value for value in getattr(self.deployment, name) if value not in allowed]:
                raise ValueError(f"deployment.{name}: {others} is not in {name} ({allowed})")
        return self

    def settings_of(self, method: str) -> MethodParams:
        """Learning rate and options of a method of the grid."""
        settings = getattr(self.methods, method)
        assert isinstance(settings, MethodParams)
        return settings

    def cells(self) -> list[Cell]:
        """Every cell of the grid, in the order of the tables."""
        return [
            cell
            for task in self.tasks
            for cell in (
                *(Cell(task, method, DENSE_BUDGET, seed) for method in self.tuning for seed in self.seeds),
                *(
                    Cell(task, method, budget, seed)
                    for budget in self.peft_budgets
                    for method in self.peft
                    for seed in self.seeds
                ),
                *(
                    Cell(task, method, budget, seed)
                    for budget in self.budgets
                    for method in (*self.criteria, *self.pruning)
                    for seed in self.seeds
                ),
            )
        ]

    def layer_rankings(self) -> list[tuple[str, int]]:
        """Task and seed of every check of the layers' ranking."""
        return [(task, seed) for task in self.layer_ranking.tasks for seed in self.layer_ranking.seeds]

    def searched_cells(self) -> list[SearchedCell]:
        """Every search of the grid."""
        chosen = self.search
        return [
            SearchedCell(task, method, seed)
            for task in chosen.tasks
            for method in chosen.tuning
            for seed in chosen.seeds
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
    params = parse_params(content, name=str(path))
    _refuse_what_cannot_run(params, name=str(path))
    return params


def _refuse_what_cannot_run(params: Params, name: str) -> None:
    """Refuse a method that does not fit a backbone whose config is at hand."""
    config = Path(params.model.backbone) / "config.json"
    if not config.is_file():
        return
    content = json.loads(config.read_text(encoding="utf-8"))
    named = dict.fromkeys((*params.tuning, *params.search.tuning))
    _refuse_more_layers_than_there_are(params, named, content, name)
    methods = [method for method in named if method in BIAS_METHODS]
    anatomy = ANATOMIES.get(content.get("model_type"))
    if (
        methods
        and anatomy
        and anatomy.bias_switches
        and not any(content.get(switch) for switch in anatomy.bias_switches)
    ):
        raise ParamsError(
            f"{name}: tuning: {', '.join(methods)} trains biases, and the encoder of model.backbone: "
            f"{params.model.backbone} has none ({', '.join(anatomy.bias_switches)} are off in its config.json)"
        )


def _refuse_more_layers_than_there_are(params: Params, named: Iterable[str], config: dict[str, Any], name: str) -> None:
    depth = next((config[key] for key in ("num_hidden_layers", "n_layers", "n_layer") if key in config), None)
    for method in named:
        settings = getattr(params.methods, method)
        if depth is not None and isinstance(settings, LayerParams) and settings.layers > depth:
            raise ParamsError(
                f"{name}: methods.{method}.layers: {settings.layers} is more than the {depth} layers of "
                f"model.backbone: {params.model.backbone}"
            )


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

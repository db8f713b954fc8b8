"""Typed, validated view of params.yaml, and the grid that it spans.

A wrong value raises `ParamsError` with a message that names the key, the value and what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, SerializerFunctionWrapHandler, create_model, model_serializer, model_validator

from sensibert.config.grid import DENSE_BUDGET, Cell, SearchedCell, TransferredCell
from sensibert.config.method_settings import MethodParams
from sensibert.config.methods import METHODS
from sensibert.config.section import Section, Unique, validate
from sensibert.config.settings import (
    Budget,
    CutName,
    DataParams,
    DeploymentParams,
    LayerRankingParams,
    MaskingParams,
    ModelParams,
    PeftName,
    PruningName,
    RateParams,
    ScoringParams,
    SearchParams,
    Seed,
    SimpleModelName,
    StabilityParams,
    TaskName,
    TrainingParams,
    TransferParams,
    TuningName,
)
from sensibert.data.tasks import TASKS
from sensibert.errors import ArtifactError, ParamsError
from sensibert.io import refuse_special

PROFILE_NAME = r"^[a-z0-9][a-z0-9_-]*$"
"""Profiles name folders."""

_OF_EVERY_METHOD: Any = {name: (method.settings | None, None) for name, method in METHODS.items()}


class Methods(create_model("_Methods", __base__=Section, **_OF_EVERY_METHOD)):  # type: ignore[misc]
    """Learning rate and options of the methods, one key per row of the registry; the grid's must be there."""

    @model_serializer(mode="wrap")
    def _only_what_is_named(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: settings for name, settings in serialize(self).items() if settings is not None}


class Params(Section):
    """The whole of params.yaml."""

    profile: Annotated[str, Field(pattern=PROFILE_NAME, max_length=100)]
    tasks: Annotated[list[TaskName], Unique, Field(min_length=1)]
    seeds: Annotated[list[Seed], Unique, Field(min_length=1)]
    criteria: Annotated[list[CutName], Unique, Field(min_length=1)]
    budgets: Annotated[list[Budget], Unique, Field(min_length=1)]
    pruning: Annotated[list[PruningName], Unique] = []
    """Procedures that prune to the same budgets in other ways than scoring once and fine-tuning once."""
    tuning: Annotated[list[TuningName], Unique, Field(min_length=1)]
    peft: Annotated[list[PeftName], Unique] = []
    peft_budgets: Annotated[list[Budget], Unique] = []
    """Trained fraction of the backbone's parameters; the classifier's come on top."""
    simple_models: Annotated[list[SimpleModelName], Unique] = []
    """Simple models that one would pick instead."""
    data: DataParams
    model: ModelParams
    backbone_files: str = "src/sensibert/models/loading.py"
    """What DVC watches beside the backbone's name: a local one's folder, else the module that pins the embedded."""
    scoring: ScoringParams = ScoringParams()
    masking: MaskingParams = MaskingParams()
    training: TrainingParams = TrainingParams()
    methods: Methods
    stability: StabilityParams
    deployment: DeploymentParams = DeploymentParams()
    rates: RateParams = RateParams()
    search: SearchParams = SearchParams()
    layer_ranking: LayerRankingParams = LayerRankingParams()
    transfer: TransferParams = TransferParams()

    @model_validator(mode="after")
    def _consistent(self) -> Params:
        for problem in _contradictions(self):
            raise ValueError(problem)
        return self

    def settings_of(self, method: str) -> Section:
        """The settings of a method of the grid."""
        settings = getattr(self.methods, method)
        assert isinstance(settings, Section)
        return settings

    def tuning_of(self, method: str) -> MethodParams:
        """Learning rate and options of a method of the grid that fine-tunes."""
        settings = self.settings_of(method)
        assert isinstance(settings, MethodParams)
        return settings

    def has(self, method: str) -> bool:
        """Whether there are settings of a method."""
        return getattr(self.methods, method) is not None

    def at_rate(self, method: str, rate: float) -> Params:
        """The same parameters with a method at a rate."""
        methods = self.methods.model_copy(update={method: self.tuning_of(method).at(rate)})
        return self.model_copy(update={"methods": methods})

    def cells(self) -> list[Cell]:
        """Every cell of the grid, in the order of the tables."""
        dense = product([DENSE_BUDGET], self.tuning)
        points = [*dense, *product(self.peft_budgets, self.peft), *product(self.budgets, self.criteria + self.pruning)]
        return [
            Cell(task, method, budget, seed) for task in self.tasks for budget, method in points for seed in self.seeds
        ]

    def transferred_cells(self) -> list[TransferredCell]:
        """Every cell whose model is evaluated on another task, once for each such task."""
        chosen = self.transfer
        return [TransferredCell(cell, to) for cell in self.cells() if cell.task in chosen.tasks for to in chosen.to]

    def layer_rankings(self) -> list[tuple[str, int]]:
        """Task and seed of every check of the layer ranking."""
        return list(product(self.layer_ranking.tasks, self.layer_ranking.seeds))

    def searched_cells(self) -> list[SearchedCell]:
        """Every search of the grid."""
        chosen = self.search
        return [SearchedCell(*point) for point in product(chosen.tasks, chosen.tuning, chosen.seeds)]

    def deployed_cells(self) -> list[Cell]:
        """The cells whose models are exported and timed, in the order of the tables."""
        chosen = self.deployment
        methods = [*chosen.criteria, *chosen.pruning, *chosen.tuning]
        return [c for c in self.cells() if c.task in chosen.tasks and c.method in methods and c.seed in chosen.seeds]


def _is_searched(params: Params, method: str) -> bool:
    return getattr(params.settings_of(method), "learning_rate", None) == "searched"


def _contradictions(params: Params) -> Iterator[str]:
    """What does not go together, although each value is allowed by itself."""
    methods = [*params.criteria, *params.pruning, *params.tuning, *params.peft]
    if missing := _without_settings(params, methods):
        yield f"methods has no entry for {missing}: give each its learning_rate"
    if missing := _without_settings(params, params.search.tuning):
        yield f"search.tuning: methods has no entry for {missing}"
    searched = [name for name in methods if getattr(params.methods, name, None) and _is_searched(params, name)]
    if searched and (unscored := [seed for seed in params.rates.seeds if seed not in params.seeds]):
        yield f"rates.seeds: {unscored} are not among the seeds of the grid, {params.seeds}, whose scores are there"
    if params.layer_ranking.tasks and _without_settings(params, ["full"]):
        yield "layer_ranking: methods has no entry for full, whose fine-tuning it follows"
    elif params.layer_ranking.tasks and _is_searched(params, "full"):
        yield "layer_ranking: follows the fine-tuning of methods.full, whose learning_rate must be a number for that"
    if params.pruning and "full" not in params.tuning:
        yield "pruning: its procedures may begin with the fully tuned model: add full to tuning"
    if params.masking.budget_kind == "size" and params.pruning:
        yield "pruning: its procedures count parameters or multiply-accumulates, not bytes"
    if params.masking.min_keep_fraction and (rounds := [name for name in params.pruning if METHODS[name].in_rounds]):
        yield (
            f"masking.min_keep_fraction: {', '.join(rounds)} prunes what earlier rounds left, of which it would be a "
            "fraction: set it to 0, or leave these out of pruning"
        )
    if bool(params.peft) != bool(params.peft_budgets):
        yield "peft and peft_budgets go together: name both, or leave both empty"
    yield from _foreign_tasks(params)
    for name in DeploymentParams.model_fields:
        allowed = getattr(params, name)
        if others := [value for value in getattr(params.deployment, name) if value not in allowed]:
            yield f"deployment.{name}: {others} is not in {name} ({allowed})"


def _foreign_tasks(params: Params) -> Iterator[str]:
    """Tasks that the source does not have, that are not in the grid, or that a transfer cannot serve."""
    pydocs = params.data.source == "pydocs"
    if wrong := [task for task in params.tasks if (TASKS[task].source == "pydocs") != pydocs]:
        allowed = ", ".join(name for name, task in TASKS.items() if (task.source == "pydocs") == pydocs)
        yield f"tasks: {', '.join(wrong)} does not come from data.source: {params.data.source}, which has {allowed}"
    for section in ("stability", "search", "transfer", "layer_ranking"):
        if extra := [task for task in getattr(params, section).tasks if task not in params.tasks]:
            yield f"{section}.tasks: {', '.join(extra)} is not in tasks ({', '.join(params.tasks)})"
    if params.transfer.tasks and (
        wrong := [to for to in params.transfer.to if (TASKS[to].source == "pydocs") != pydocs]
    ):
        yield f"transfer.to: {', '.join(wrong)} does not come from data.source: {params.data.source}"
    for task, to in product(params.transfer.tasks, params.transfer.to):
        if task == to or len(TASKS[task].label_names) != len(TASKS[to].label_names) or TASKS[to].is_regression:
            yield f"transfer.to: {to} has not the same classes as {task}, or is the same task"


def _without_settings(params: Params, methods: list[str]) -> str:
    return ", ".join(method for method in methods if getattr(params.methods, method) is None)


class _PlainLoader(yaml.SafeLoader):
    """Refuses what a parameter file has no use for: keys that are there twice, and aliases, a few of which can stand
    for billions of values.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Build a node; an alias is none of ours."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.constructor.ConstructorError(
                None, None, f"alias *{event.anchor}: write it out", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: Any) -> Any:
        """Build a whole number; 010 would be 8 here and 10 for DVC."""
        if not re.fullmatch("[-+]?(0|[1-9][0-9]*)", str(node.value)):
            problem = f"{node.value}: write a whole number in plain digits, without a leading 0"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_yaml_int(node)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Build a mapping whose keys are there once."""
        keys = [key.value for key, _ in node.value]
        for (key, _), name in zip(node.value, keys, strict=True):
            if keys.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {name!r} is there twice", key.start_mark)
        return super().construct_mapping(node, deep)


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_yaml_int)


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check a parameter file.

    Raises:
        ParamsError: the file is missing, is not YAML, or holds a wrong value.
    """
    path = Path(path)
    try:
        refuse_special(path)
        content = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)
    except ArtifactError as error:
        raise ParamsError(str(error)) from None
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist; run from the repository root") from None
    except OSError as error:
        raise ParamsError(f"{path} cannot be read ({error.strerror or error})") from None
    except (yaml.YAMLError, ValueError, RecursionError, KeyError, AttributeError) as error:  # the last two: !!bool x
        raise ParamsError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ParamsError(f"{path} must hold a mapping of keys to values")
    return parse_params(content, name=str(path))


def check_for_dvc(params: Params) -> None:
    """Refuse parameters that are good in themselves and that `dvc repro` would fail with.

    Raises:
        ParamsError: a value that dvc.yaml names is left to its default; or no scoring pass is repeated, so `stability`
            would fail at the end, since DVC has no stage that may be left out.
    """
    if "backbone_files" not in params.model_fields_set:
        raise ParamsError(
            "backbone_files: is missing, and dvc.yaml names it; add the line `backbone_files: "
            f"{params.backbone_files}`, or the folder of a local backbone"
        )
    if not params.stability.tasks:
        raise ParamsError(
            "stability.tasks: names no task, and then the stage `stability` fails; name one, or leave the stage out: "
            "`dvc repro compare`, and `sensibert track` for the runs"
        )


def parse_params(content: dict[str, Any], name: str = "params") -> Params:
    """Check parameters that are already in memory; the error message uses `name`."""
    return validate(Params, content, name)

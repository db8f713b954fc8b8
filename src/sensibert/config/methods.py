"""The registry of methods: one row each, which params, tables, plots and the flow read.

A new method is one file and a row here; nothing else changes. This module imports no implementation: a row names
it, and `Method.implementation` loads it when the method is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from sensibert.config.method_settings import (
    DistillationParams,
    GradualParams,
    IterativeParams,
    KwonParams,
    LayerParams,
    MethodParams,
    OwnPassParams,
    RecipeParams,
    RepairParams,
    SptParams,
    SurgicalParams,
)
from sensibert.config.section import Section

Kind = Literal["criterion", "control", "procedure", "tuning", "peft"]
"""`criterion`: scores the dimensions; the mask is cut once and the slim model fine-tuned once. `control`: uses the
scores of a criterion in another way, such as in the shapes that another one gives the modules. `procedure`: prunes to
a budget in a way of its own. `tuning`: fine-tunes the dense model. `peft`: fine-tunes as many parameters of the dense
model as a budget allows."""


@dataclass(frozen=True)
class Method:
    """What the project knows about a method, apart from its code."""

    name: str
    """Its name in params.yaml and in file names."""
    kind: Kind
    path: str
    """`module:attribute`, below the package, of the class of a criterion (`scoring.criteria.base.Criterion`), or of
    the function of a procedure (`pruning.base.Procedure`) or of a tuning method (`training.attach.Attach`)."""
    title: str
    """A short name for tables and plots."""
    settings: type[Section] = MethodParams
    """Its settings in params.yaml, below `methods`."""
    criterion: str | None = None
    """The criterion whose scores it cuts by; None if it does not cut by scores."""
    shapes_of: str | None = None
    """The criterion whose cut says how much of each module stays; None if it is its own."""
    allocation: str | None = None
    """What competes with what (`scoring.ranking.ALLOCATIONS`), whatever params say; None if they decide."""
    reads_data: bool = True
    """Whether its scores need a pass over the training data; only criteria use this."""
    trains_biases: bool = False
    """Whether a backbone without biases cannot be tuned by it."""
    starts_tuned: bool = False
    """Whether it starts from, or learns from, the dense model that `full` tuned."""
    scores_itself: bool = False
    """Whether its own run includes the scoring, so that it does without the scores of the pre-trained model."""
    in_rounds: bool = False
    """Whether it prunes what earlier rounds left."""

    @property
    def budget(self) -> Literal["kept", "trained"] | None:
        """What its budget is a fraction of: the prunable parameters that are kept, the backbone's that train."""
        if self.kind == "peft":
            return "trained"
        return None if self.kind == "tuning" else "kept"

    @property
    def needs_scores(self) -> bool:
        """Whether its mask comes from the scores of the pre-trained model, and these took a pass over the data."""
        if self.scores_itself:
            return False
        criteria = [name for name in (self.criterion, self.shapes_of) if name is not None]
        return any(METHODS[name].reads_data for name in criteria)

    @property
    def implementation(self) -> Any:
        """The class or function that `path` names."""
        module, _, attribute = self.path.partition(":")
        return getattr(import_module(f"sensibert.{module}"), attribute)


def _criterion(name: str, path: str, title: str, *, reads_data: bool = True) -> Method:
    return Method(name, "criterion", f"scoring.criteria.{path}", title, criterion=name, reads_data=reads_data)


def _control(criterion: str, shapes_of: str) -> Method:
    name, title = f"{criterion}_in_shapes", f"{criterion}, {shapes_of}'s shapes"
    path = "scoring.ranking:best_in_shapes"
    return Method(name, "control", path, title, criterion=criterion, shapes_of=shapes_of)


def _longer(criterion: str) -> Method:
    name, path = f"longer_{criterion}", "pruning.longer:prune"
    return Method(name, "procedure", path, f"{criterion}, tuned longer", criterion=criterion)


def _warm(criterion: str) -> Method:
    name, path = f"warm_{criterion}", "pruning.warm:prune"
    return Method(name, "procedure", path, f"warm {criterion}", criterion=criterion, scores_itself=True)


def _repaired(criterion: str) -> Method:
    name, path = f"repaired_{criterion}", "pruning.repaired:prune"
    return Method(name, "procedure", path, f"repaired {criterion}", RepairParams, criterion)


def _gradual(criterion: str) -> Method:
    name, path = f"gradual_{criterion}", "pruning.gradual:prune"
    return Method(name, "procedure", path, f"gradual {criterion}", GradualParams, criterion, scores_itself=True)


def _tuning(name: str, title: str, settings: type[Section] = MethodParams, *, trains_biases: bool = False) -> Method:
    return Method(name, "tuning", f"tuning.methods.{name}:attach", title, settings, trains_biases=trains_biases)


def _peft(name: str, title: str, settings: type[Section] = MethodParams) -> Method:
    return Method(name, "peft", f"tuning.methods.{name}:attach", title, settings)


def _iterative(criterion: str) -> Method:
    name, path = f"iterative_{criterion}", "pruning.iterative:prune"
    return Method(name, "procedure", path, f"iterative {criterion}", IterativeParams, criterion, in_rounds=True)


def _distilled(criterion: str) -> Method:
    name, path = f"distilled_{criterion}", "pruning.distilled:prune"
    return Method(name, "procedure", path, f"distilled {criterion}", DistillationParams, criterion, starts_tuned=True)


_ROWS = (
    _criterion("sensitivity", "sensitivity:Sensitivity", "sensitivity"),
    _criterion("mask", "mask:LearnedMask", "learned mask"),
    _criterion("fisher", "fisher:Fisher", "Fisher"),
    _criterion("magnitude", "magnitude:Magnitude", "magnitude", reads_data=False),
    _criterion("random", "random:Random", "random", reads_data=False),
    _control("magnitude", shapes_of="sensitivity"),
    _control("random", shapes_of="sensitivity"),
    Method(
        "magnitude_per_group",
        "control",
        "scoring.ranking:best_in_shapes",
        "magnitude per group",
        criterion="magnitude",
        allocation="per_group",
    ),
    _longer("magnitude"),
    _warm("magnitude"),
    _warm("sensitivity"),
    Method(
        "own_pass_mask",
        "procedure",
        "pruning.own_pass:prune",
        "learned mask, own pass",
        OwnPassParams,
        "mask",
        scores_itself=True,
    ),
    Method("first_layers", "procedure", "pruning.first_layers:prune", "first layers"),
    Method("kwon", "procedure", "pruning.kwon.recipe:prune", "Kwon", KwonParams, starts_tuned=True),
    _repaired("magnitude"),
    _repaired("sensitivity"),
    _gradual("sensitivity"),
    _iterative("magnitude"),
    _iterative("sensitivity"),
    _distilled("magnitude"),
    _distilled("sensitivity"),
    Method(
        "recipe",
        "procedure",
        "pruning.distilled:prune",
        "recipe",
        RecipeParams,
        "sensitivity",
        starts_tuned=True,
    ),
    _tuning("full", "full"),
    _tuning("head_only", "head only"),
    _tuning("bitfit", "BitFit", trains_biases=True),
    _tuning("bitfit_frozen_classifier", "BitFit, frozen classifier", trains_biases=True),
    _tuning("bitfit_query_mlp", "BitFit, query and MLP", trains_biases=True),
    _tuning("bitfit_query_mlp_frozen_classifier", "BitFit, query and MLP, frozen classifier", trains_biases=True),
    _tuning("surgical", "surgical", SurgicalParams),
    _tuning("last_layers", "last layers", LayerParams),
    _tuning("random_layers", "random layers", LayerParams),
    _peft("lora", "LoRA"),
    _peft("adapter", "adapter"),
    _peft("spt_lora", "SPT-LoRA", SptParams),
    _peft("spt_adapter", "SPT-adapter", SptParams),
)

METHODS: dict[str, Method] = {row.name: row for row in _ROWS}
"""Every method by its name, in the order of tables and plots."""


def names(*kinds: Kind) -> tuple[str, ...]:
    """The methods of some kinds, in the order of the registry."""
    return tuple(name for name, method in METHODS.items() if method.kind in kinds)


def shaping_criterion(name: str) -> str:
    """The criterion whose cut says how much of each module stays: for a control another one, else the one itself."""
    method = METHODS.get(name)
    return (method and (method.shapes_of or method.criterion)) or name

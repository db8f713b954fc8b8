"""The settings of each method: one class per kind of method, named in the registry (`methods.py`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt

from sensibert.config.section import Section


def _as_rate(value: Any) -> float | str:
    if value == "searched":
        return str(value)
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = math.nan
    if isinstance(value, bool) or not 0 < rate < math.inf:
        raise ValueError("must be a number above 0, or `searched`")
    return rate


if TYPE_CHECKING:
    Rate = float | Literal["searched"]
else:  # a union would give a message for each of its members
    Rate = Annotated[Any, BeforeValidator(_as_rate)]


class MethodParams(Section):
    """How a method fine-tunes."""

    learning_rate: Rate
    """The peak rate; `searched` takes what the stage `rates` finds for each task and budget on the dev split."""

    @property
    def rate(self) -> float:
        """The peak rate as a number, once a search is done."""
        assert self.learning_rate != "searched", "the rate is to be searched first"
        return self.learning_rate

    def at(self, rate: float) -> Self:
        """The same settings at a rate."""
        return self.model_copy(update={"learning_rate": rate})


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
    """Sensitive weights that a matrix must hold to get a structured module; null takes the module's own size."""
    samples: PositiveInt = 800
    """Training examples that the weights are ranked by."""
    batch_size: PositiveInt = 32
    """Examples whose mean gradient is squared at once."""


class OwnPassParams(MethodParams):
    """A scoring pass of its own."""

    l1: Annotated[float, Field(ge=0)] = 1e-3
    """Weight of the L1 penalty on the masks."""


class RepairParams(MethodParams):
    """A repair at the cut."""

    repair_samples: PositiveInt = 512
    """Training examples by which the output projections are solved anew."""


class IterativeParams(MethodParams):
    """Iterative pruning."""

    rounds: Annotated[int, Field(ge=2)] = 3
    """Rounds of pruning and fine-tuning; they share the epochs of `training`."""


class GradualParams(MethodParams):
    """Shrinking while training."""

    shrinking: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """First part of the optimizer steps, in which the budget falls."""
    cuts: PositiveInt = 20
    """How often it falls."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.85
    """Part of the mean importance that stays at a step (PLATON's first beta)."""
    uncertainty_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """The same of the uncertainty (PLATON's second beta)."""


class DistillationParams(MethodParams):
    """Fine-tuning that also learns from the dense model."""

    temperature: PositiveFloat = 2.0
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of the teacher's answers; the rest goes to the labels."""
    hidden_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the distance to the teacher's hidden states, layer by layer."""
    start: Literal["pretrained", "tuned"] = "pretrained"
    """Whose weights are cut: the pre-trained model's, or the teacher's."""
    scores: Literal["pretrained", "tuned"] = "pretrained"
    """Whose scores are cut: those of the scoring pass, or the teacher's as it is, without training and dropout."""
    repair_samples: NonNegativeInt = 0
    """Training examples by which the output projections are solved anew after the cut; 0 leaves them."""


class RecipeParams(DistillationParams):
    """The recipe that the studies found (docs/recipe.md): cut the tuned model, repair it, learn from its answers."""

    start: Literal["pretrained", "tuned"] = "tuned"
    repair_samples: NonNegativeInt = 512


class KwonParams(Section):
    """Pruning without retraining, by Fisher information (`pruning/kwon`)."""

    samples: PositiveInt = 2000
    """Training examples that the masks are computed from."""
    batch_size: PositiveInt = 32

"""The settings of each method: one class per kind of method, named in the registry (`methods.py`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from sensibert.config.section import Section


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
    """Sensitive weights that a matrix must hold to get a structured module; null takes the module's own size."""
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
    """Weight of the teacher's answers; the rest goes to the labels."""
    hidden_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the distance to the teacher's hidden states, layer by layer."""
    start: Literal["pretrained", "tuned"] = "pretrained"
    """Whose weights are cut: the pre-trained model's, or the teacher's."""


class KwonParams(Section):
    """Pruning without retraining, by Fisher information (`pruning/kwon`)."""

    samples: PositiveInt = 2000
    """Training examples that the masks are computed from."""
    batch_size: PositiveInt = 32

"""Typed results: what evaluation writes and what tables, plots and MLflow read. Pure data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sensibert.params import Cell


@dataclass(frozen=True)
class Cost:
    """What a model costs to keep and to run."""

    prunable_parameters: int
    """Parameters in the dimensions that a mask can remove."""
    prunable_kept: float
    """Those, as a fraction of the dense model's."""
    encoder_parameters: int
    """Parameters of the layers (embeddings, pooler and classifier apart)."""
    total_parameters: int
    trainable_parameters: int
    stored_parameters: int
    """Parameters that this task needs beside the pre-trained backbone, which other tasks share: all of a pruned or
    fully tuned model; else those that trained, and the classifier."""
    extra_passes: float
    """Passes over the training data before fine-tuning: to score dimensions, or to choose what trains."""
    macs: int
    """Multiply-accumulate operations of one forward pass at `tokens` tokens."""
    tokens: int
    """Mean length of the task's training texts, rounded up."""
    model_bytes: int
    """Size of the saved weights."""


@dataclass(frozen=True)
class Effort:
    """What fine-tuning took on the machine at hand; measured, so not deterministic."""

    seconds: float
    peak_memory: int | None
    """Bytes of the process, on its GPU where there is one; None where the system does not tell."""


@dataclass(frozen=True)
class Result:
    """The outcome of one cell. Deterministic: times are in the provenance."""

    task: str
    method: str
    budget: float
    seed: int
    metrics: dict[str, float]
    """Percent (accuracy and F1) or 100 times the correlation, as GLUE tables print them."""
    primary_metric: str
    examples: int
    """Rows of the validation split."""
    cost: Cost

    @property
    def cell(self) -> Cell:
        """The point of the grid this is the outcome of."""
        return Cell(self.task, self.method, self.budget, self.seed)

    @property
    def primary(self) -> float:
        """The metric that the tables show."""
        return self.metrics[self.primary_metric]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Result:
        """The inverse of `to_dict`."""
        return cls(**{**content, "cost": Cost(**content["cost"])})


@dataclass(frozen=True)
class Transferred:
    """How the model of one cell does on a task that it was not tuned on."""

    task: str
    method: str
    budget: float
    seed: int
    to: str
    """The other task."""
    value: float
    """Its primary metric."""
    examples: int

    @property
    def cell(self) -> Cell:
        """The point of the grid."""
        return Cell(self.task, self.method, self.budget, self.seed)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)


@dataclass(frozen=True)
class Trial:
    """One point of a search for hyper-parameters."""

    number: int
    batch_size: int
    learning_rate: float
    state: Literal["complete", "pruned"]
    dev: list[float]
    """The primary metric on the dev split after each epoch; a pruned trial has fewer."""


def best_first(trials: Sequence[Trial]) -> list[Trial]:
    """The trials by their metric after the last epoch, those that were pruned behind the complete ones."""
    return sorted(trials, key=lambda trial: (trial.state == "pruned", -trial.dev[-1], trial.number))


@dataclass(frozen=True)
class Deployed:
    """How the model of one cell does in one runtime."""

    task: str
    method: str
    budget: float
    seed: int
    runtime: str
    """`torch`, `onnx` or `onnx-int8`."""
    file_bytes: int
    """Size of the file that holds the weights."""
    metrics: dict[str, float]
    """On the validation split, in percent."""
    seconds: dict[str, float]
    """Batch size -> median time of one forward pass over texts of the task's mean length."""

    @property
    def cell(self) -> Cell:
        """The point of the grid."""
        return Cell(self.task, self.method, self.budget, self.seed)

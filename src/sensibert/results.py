"""Typed records: what one step of the flow writes and others read. Pure data.

They are stored in JSON files as `dataclasses.asdict` gives them; `io.read_record` reads and checks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sensibert.config.grid import Cell

Passes = int | float
"""Passes over the training data; a pass over a part of them counts as that fraction."""


@dataclass(frozen=True)
class ModelSize:
    """What a model costs to store and to run."""

    prunable_parameters: int
    """Parameters in the dimensions that a mask can remove."""
    prunable_kept: float
    """These as a fraction of the dense model's."""
    encoder_parameters: int
    """Parameters of the layers (embeddings, pooler and classifier apart)."""
    total_parameters: int
    macs: int
    """Multiply-accumulate operations of one forward pass at `tokens` tokens."""
    tokens: int
    """Mean length of the task's training texts, rounded up."""
    model_bytes: int
    """Size of the saved weights."""


@dataclass(frozen=True)
class TrainingCost:
    """What the training of a model took, and what must be stored afterwards."""

    trainable_parameters: int
    stored_parameters: int
    """Parameters that this task needs on top of the pre-trained backbone, which other tasks share: all of a pruned
    or fully tuned model; else those that trained, and the whole classifier."""
    extra_passes: Passes
    """Passes over the training data before fine-tuning: to score dimensions, to choose what trains, or to tune the
    dense model that a method starts from."""


@dataclass(frozen=True)
class Cost(ModelSize, TrainingCost):
    """Size and training cost of one model, as a row of the tables holds them."""


@dataclass(frozen=True)
class CurvePoint:
    """One point of a training curve; the loss is the mean since the last point."""

    step: float
    epoch: float
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class History(TrainingCost):
    """How a model was trained. Deterministic: times are in the provenance."""

    log: list[CurvePoint]
    """The training curve."""
    steps: int
    """Optimizer steps; 0 for a model that was not trained."""
    chosen: dict[str, Any]
    """What the method chose: layers, a rank, entries of matrices."""
    tokens: int
    """Mean length of the training texts, rounded up; 0 for images."""


@dataclass(frozen=True)
class TriedRate:
    """A peak rate, and what it reached."""

    learning_rate: float
    dev: list[float]
    """Primary metric on the dev split, one for each seed; what diverged counts as `WORST_METRIC`."""

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return sum(self.dev) / len(self.dev)


@dataclass(frozen=True)
class RateCurve:
    """The peak rate of one method on one task at one budget, and how it was found."""

    learning_rate: float | None
    """None for a method that trains nothing."""
    tried: list[TriedRate]
    """In the order of the rates; empty for a rate that was given."""

    @property
    def rate(self) -> float:
        """The rate of a method that trains."""
        assert self.learning_rate is not None
        return self.learning_rate


WORST_METRIC = -100.0
"""Lower bound of every metric, including correlations."""


@dataclass(frozen=True)
class Effort:
    """What a model took on this machine, from the pre-trained weights on; measured, so not deterministic."""

    seconds: float
    """Of its fine-tuning, with all the rounds of a procedure."""
    preparation_seconds: float
    """Of what came before: the scoring pass, and the dense model that a method starts from."""
    peak_memory: int | None
    """Most bytes that the process of the fine-tuning held, on the GPU if there is one; None if unknown."""

    @property
    def total_seconds(self) -> float:
        """Everything that the model needed."""
        return self.seconds + self.preparation_seconds


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


@dataclass(frozen=True)
class SimpleResult:
    """How well a simple model does on a task. Deterministic: times are in the provenance."""

    task: str
    name: str
    """A row of `config.simple_models`."""
    metrics: dict[str, float]
    """In percent, on the validation split."""
    primary_metric: str
    examples: int
    file_bytes: int
    """What it takes on disk, the backbone included where it needs one."""
    needs: str
    """What must be installed to run it."""

    @property
    def primary(self) -> float:
        """The metric that the tables show."""
        return self.metrics[self.primary_metric]


@dataclass(frozen=True)
class Transferred:
    """How well the model of one cell does on a task that it was not tuned on."""

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
    """The trials by their metric after the last epoch, pruned ones after the complete ones."""
    return sorted(trials, key=lambda trial: (trial.state == "pruned", -trial.dev[-1], trial.number))


@dataclass(frozen=True)
class Latency:
    """The time that one forward pass takes."""

    model: str
    runtime: str
    """`torch`, `onnx` or `onnx-int8`; all but the last in fp32."""
    batch_size: int
    tokens: int
    seconds: float
    """Median of the repeats."""


@dataclass(frozen=True)
class Deployed:
    """How well the model of one cell does in one runtime."""

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

"""What a compression cost and saved: everything that its card and its page say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sensibert.results import Latency, Result, TriedRate


@dataclass(frozen=True)
class ChosenRate:
    """The peak rate of a fine-tuning, and the trials that found it."""

    learning_rate: float
    steps: int
    """Optimizer steps of the fine-tuning."""
    trial_steps: int
    """Those of a trial; 0 if there were too few rows to try, or the rate was given."""
    dev_examples: int
    """Training examples that the trials were judged by; they trained on the others."""
    tried: list[TriedRate]
    """In the order of the rates, which are those of the short trials."""


@dataclass(frozen=True)
class Drop:
    """What the primary metric lost on the held-out rows."""

    points: float
    low: float
    """Lower end of the 95 % interval of a paired bootstrap."""
    high: float

    @property
    def is_large(self) -> bool:
        """Whether it is more than a point, and more than chance makes of two equal models."""
        return self.points > 1 and self.low > 0


@dataclass(frozen=True)
class Point:
    """A budget that was tried, as its model would be deployed."""

    budget: float
    runtime: str
    """`torch`, `onnx` or `onnx-int8`: the file that was measured."""
    latency: float
    """Seconds for one text of mean length on one thread."""
    file_bytes: int
    metric: float | None
    """The primary metric on the training rows that were held back, in percent; None if nothing was trained."""
    drop: Drop | None
    """From the dense model in PyTorch on these rows; `high` is the one-sided 95 % bound."""


@dataclass(frozen=True)
class Search:
    """How the budget was found."""

    limits: dict[str, Any]
    """What the model might lose and cost at most."""
    dev_examples: int
    """Training rows that were held back to judge by; 0 if nothing had to be judged."""
    points: list[Point]
    chosen: float
    """The budget."""


@dataclass(frozen=True)
class Alternative:
    """A model that could be deployed, beside the others that could: measured on the same rows and the same machine."""

    name: str
    budget: float | None
    """The kept part of a slim model; None of any other."""
    metric: float
    """The primary metric, in percent."""
    low: float
    """Lower end of the 95 % interval of a bootstrap over the rows."""
    high: float
    latency: float
    """Seconds for one text of mean length."""
    batch_latency: float
    """Seconds for 32 such texts at once."""
    file_bytes: int
    training_minutes: float
    """From the pre-trained weights on."""
    needs: str
    """What must be installed to run it."""
    is_best: bool = False
    """Whether no other is at once as good by the metric, as fast and as small."""
    is_chosen: bool = False
    """Whether this one is to be deployed."""


@dataclass(frozen=True)
class Origin:
    """What is known of where a backbone and data come from."""

    base_model: str | None = None
    """Id on the hub; None of a local folder, whose path is private."""
    license: str | None = None
    languages: list[str] = field(default_factory=list)
    dataset: str | None = None
    """Id on the hub; None of local files."""


@dataclass(frozen=True)
class Evidence:
    """What a compression cost and saved."""

    recipe: dict[str, Any]
    task: dict[str, Any]
    data: dict[str, Any]
    """Rows read, kept and dropped, by split."""
    before: Result
    """The dense model; without metrics if no baseline was requested."""
    after: Result
    mask: dict[str, Any]
    """What the mask keeps, in the unit of the budget and in the others."""
    vocabulary: dict[str, Any] | None
    """What trimming the vocabulary removed and what it cost; None if it was not requested."""
    rates: dict[str, ChosenRate]
    """How fast the models that were tuned learned: `dense` and `slim`."""
    drop: Drop | None
    """None without a baseline."""
    latency: list[Latency]
    """Latencies of the models `before` and `after`, which took turns."""
    provenance: dict[str, Any] = field(repr=False)
    alternatives: list[Alternative] = field(default_factory=list)
    """What else could be deployed, this model included; empty if no comparison was requested."""
    search: Search | None = None
    """How the budget was found; None if it was given."""
    origin: Origin = field(default_factory=Origin)
    """What the backbone and the data are called on the hub, and the licence that the backbone brings."""

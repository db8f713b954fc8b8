"""The one signature of every pruning procedure: `prune(context) -> Pruned`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.artifacts import ScoreFile
from sensibert.encoding import Example, draw
from sensibert.importance import DATA_FREE
from sensibert.masks import Mask
from sensibert.params import MaskingParams, ScoringParams, Section, TrainingParams
from sensibert.training import Training


@dataclass(frozen=True)
class Context:
    """What a procedure may use: training data, the models it can begin with, and its settings."""

    examples: list[Example]
    tokenizer: PreTrainedTokenizerBase
    new_model: Callable[[], PreTrainedModel]
    """Makes the pre-trained model with its new classifier."""
    tuned_model: Callable[[], PreTrainedModel]
    """Makes the dense model as `full` fine-tuning left it."""
    scores: ScoreFile
    """Of the pre-trained model."""
    masking: MaskingParams
    scoring: ScoringParams
    training: TrainingParams
    settings: Section
    """Those of the procedure."""
    budget: float
    seed: int
    scratch: Path
    """Folder for what makes a killed run go on; removed by the caller when the run is complete."""

    @property
    def scoring_examples(self) -> list[Example]:
        """Those of a scoring pass."""
        count = self.scoring.max_samples
        return draw(self.examples, count, self.seed) if count else self.examples

    def scoring_passes(self, criterion: str) -> float:
        """What the scores of a criterion cost, in passes over the training data."""
        return 0 if criterion in DATA_FREE else self.scoring.epochs * len(self.scoring_examples) / len(self.examples)


@dataclass(frozen=True)
class Pruned:
    """A smaller model and how it came about."""

    model: PreTrainedModel
    mask: Mask
    """Of the dense model."""
    trainings: list[Training]
    """One for each time it was fine-tuned."""
    extra_passes: float
    """Passes over the training data before or between: scoring, and the fine-tuning of a dense model."""
    chosen: dict[str, Any]
    """What else is worth a record, JSON-ready."""

    @property
    def log(self) -> list[dict[str, float]]:
        """The training curves one behind the other."""
        curve, steps, epochs = [], 0, 0.0
        for training in self.trainings:
            curve += [
                point | {"step": point["step"] + steps, "epoch": point["epoch"] + epochs} for point in training.log
            ]
            steps, epochs = steps + training.steps, curve[-1]["epoch"]
        return curve

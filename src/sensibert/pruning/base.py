"""The one signature of every pruning procedure: `prune(context) -> Pruned`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.config.grid import Cell
from sensibert.config.methods import METHODS, Method
from sensibert.config.params import Params
from sensibert.config.section import Section
from sensibert.config.settings import MaskingParams, ScoringParams, TrainingParams
from sensibert.data.encoding import Examples, mean_length
from sensibert.models.cost import count
from sensibert.models.mask import Mask
from sensibert.models.subject import Subject
from sensibert.results import CurvePoint, History, Passes
from sensibert.scoring.budgets import mask_for
from sensibert.scoring.files import ScoreFile
from sensibert.scoring.scoring_pass import score
from sensibert.training.cell import Trained, train_cell


@dataclass(frozen=True)
class PruningContext:
    """What a procedure may use: training data, the models it can start from, and its settings."""

    method: Method
    """Its row of the registry."""
    examples: Examples
    tokenizer: PreTrainedTokenizerBase
    new_model: Callable[[], PreTrainedModel]
    """Makes the pre-trained model with its new classifier."""
    tuned_model: Callable[[], PreTrainedModel]
    """Makes the dense model as `full` fine-tuning left it."""
    scores: ScoreFile
    """Scores of the pre-trained model."""
    masking: MaskingParams
    scoring: ScoringParams
    training: TrainingParams
    settings: Section
    """The settings of the procedure."""
    budget: float
    seed: int
    scratch: Path
    """Folder for what a killed run needs to resume; the caller removes it when the run is complete."""

    @classmethod
    def of_cell(
        cls,
        cell: Cell,
        params: Params,
        subject: Subject,
        *,
        scores: ScoreFile,
        tuned_model: Callable[[], PreTrainedModel],
        scratch: Path,
    ) -> PruningContext:
        """What the procedure of a cell may use."""
        return cls(
            method=METHODS[cell.method],
            examples=subject.train,
            tokenizer=subject.tokenizer,
            new_model=lambda: subject.new_model(cell.seed),
            tuned_model=tuned_model,
            scores=scores,
            masking=params.masking,
            scoring=params.scoring,
            training=params.training,
            settings=params.settings_of(cell.method),
            budget=cell.budget,
            seed=cell.seed,
            scratch=scratch,
        )

    @property
    def criterion(self) -> str:
        """The criterion that the procedure cuts by."""
        assert self.method.criterion is not None, f"{self.method.name} cuts by no criterion"
        return self.method.criterion

    def mask(self, scores: ScoreFile, budget: float) -> Mask:
        """Cut scores as the settings of the grid say."""
        options = self.masking.options(self.criterion)
        return mask_for(scores, self.criterion, budget, self.masking.budget_kind, **options)

    def score(self, model: PreTrainedModel, criteria: Sequence[str] | None = None, **changes: Any) -> ScoreFile:
        """Run a scoring pass over the training data, by the criterion of the procedure or by others.

        Args:
            model: Its weights change, as `scoring_pass.score` says.
            criteria: What to score by.
            changes: Settings of the pass that differ from those of the grid.
        """
        *_, scores = score(
            model,
            self.examples,
            self.tokenizer,
            self.scoring.model_copy(update=changes),
            seed=self.seed,
            precision=self.training.precision,
            criteria=criteria or [self.criterion],
            made_for=self.scores.origin.made_for,
        )
        return scores

    def tune(self, model: PreTrainedModel, mask: Mask | None = None, **changes: Any) -> Trained:
        """Slim a model if there is a mask, and fine-tune it; `changes` differ from the training of the grid."""
        return train_cell(
            model,
            self.examples,
            self.tokenizer,
            self.training.model_copy(update=changes),
            options=self.settings,  # type: ignore[arg-type]
            mask=mask,
            seed=self.seed,
            checkpoints=self.scratch / "checkpoints",
        )

    def passes(self, scoring: Passes) -> Passes:
        """Passes over the training data: to score, and to tune the dense model if the procedure needs one."""
        return scoring + (self.training.epochs_for(len(self.examples)) if self.method.starts_tuned else 0)


@dataclass(frozen=True)
class Pruned:
    """A smaller model and how it came about."""

    model: PreTrainedModel
    mask: Mask
    """Which dimensions of the dense model stay."""
    trainings: list[History]
    """One for each fine-tuning run."""
    extra_passes: Passes
    """Passes over the training data before or between these runs: scoring, and fine-tuning a dense model."""
    chosen: dict[str, Any]
    """What else is worth recording, JSON-ready."""

    def history(self, examples: Examples) -> History:
        """How the model was trained in total."""
        return History(
            trainable_parameters=self.trainings[-1].trainable_parameters if self.trainings else 0,
            stored_parameters=count(self.model),
            extra_passes=self.extra_passes,
            log=self.log,
            steps=sum(training.steps for training in self.trainings),
            chosen=self.chosen,
            tokens=mean_length(examples),
        )

    @property
    def log(self) -> list[CurvePoint]:
        """The training curves one after the other."""
        curve: list[CurvePoint] = []
        steps, epochs = 0, 0.0
        for training in self.trainings:
            curve += [replace(p, step=p.step + steps, epoch=p.epoch + epochs) for p in training.log]
            steps, epochs = steps + training.steps, curve[-1].epoch
        return curve


Procedure = Callable[[PruningContext], Pruned]
"""Makes a smaller model."""

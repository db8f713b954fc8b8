"""Train a cell as the pipeline does and judge it on the dev split, without leaving files: for searches and studies."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedModel

from sensibert.config.grid import Cell
from sensibert.config.methods import METHODS
from sensibert.config.params import Params
from sensibert.data.encoding import Examples
from sensibert.evaluation.evaluate import judge
from sensibert.models.subject import Subject
from sensibert.pruning.base import Procedure, PruningContext
from sensibert.scoring.budgets import mask_for
from sensibert.scoring.files import ScoreFile
from sensibert.training.cell import train_cell


@dataclass(frozen=True)
class DevTrials:
    """The cells of one task."""

    subject: Subject
    """Cells are judged on its `dev`, which is carved from the training rows."""
    train: Examples
    """The training examples, or a sample of them."""
    scores: Callable[[int], ScoreFile]
    """Gives the scores of a seed."""
    _tuned: dict[str, PreTrainedModel] = field(default_factory=dict, repr=False)

    def dev_metric(self, cell: Cell, params: Params) -> float:
        """The primary metric of a cell on the dev split.

        Raises:
            DivergedError: the training diverged.
        """
        make = self._pruned if METHODS[cell.method].kind == "procedure" else self._trained
        with TemporaryDirectory() as scratch:
            model = make(cell, params, Path(scratch))
        return judge(model, self.subject.examples("dev"), self.subject.tokenizer, self.subject.task)

    def _trained(self, cell: Cell, params: Params, scratch: Path) -> PreTrainedModel:
        """The dense or slim model of a cell, fine-tuned."""
        subject, masking, mask = self.subject, params.masking, None
        if cell.is_pruned:
            options = masking.options(cell.method)
            mask = mask_for(self.scores(cell.seed), cell.method, cell.budget, masking.budget_kind, **options)
        return train_cell(
            subject.new_model(cell.seed),
            self.train,
            subject.tokenizer,
            params.training,
            options=params.tuning_of(cell.method),
            mask=mask,
            method="full" if cell.is_pruned else cell.method,
            budget=cell.budget,
            seed=cell.seed,
            checkpoints=scratch / "checkpoints",
        ).model

    def _pruned(self, cell: Cell, params: Params, scratch: Path) -> PreTrainedModel:
        """The model that the procedure of a cell makes."""
        context = PruningContext.of_cell(
            cell,
            params,
            self.subject,
            scores=self.scores(cell.seed),
            tuned_model=lambda: self._dense(cell, params, scratch),
            scratch=scratch,
        )
        procedure: Procedure = METHODS[cell.method].implementation
        return procedure(replace(context, examples=self.train)).model

    def _dense(self, cell: Cell, params: Params, scratch: Path) -> PreTrainedModel:
        """The dense model that a procedure starts from; trained once for all that shares its settings."""
        key = f"{cell.seed} {params.training.model_dump_json()} {params.tuning_of('full').model_dump_json()}"
        if key not in self._tuned:
            self._tuned[key] = self._trained(cell.dense, params, scratch / "dense")
        return copy.deepcopy(self._tuned[key])

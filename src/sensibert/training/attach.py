"""The one signature of every tuning method, `attach(model, context) -> Attached`, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.config.method_settings import MethodParams
from sensibert.data.encoding import Examples
from sensibert.errors import TuningError
from sensibert.models.anatomy import is_classifier


@dataclass(frozen=True)
class TuningContext:
    """What a method may use to decide what trains: the training data and its own settings."""

    examples: Examples
    tokenizer: PreTrainedTokenizerBase | None
    settings: MethodParams
    budget: float
    """Trained fraction of the backbone's parameters, for a method that has a budget."""
    seed: int


def _leave_as_it_is() -> None:
    """What most methods do after training: nothing."""


@dataclass(frozen=True)
class Attached:
    """A model that is ready to be trained: exactly the parameters that require a gradient will change."""

    merge: Callable[[], object] = _leave_as_it_is
    """Call it after training: it folds what was added for training into the model's own weights."""
    extra_passes: float = 0.0
    """Passes over the training data to choose the parameters; each is a forward and a backward one."""
    chosen: dict[str, Any] = field(default_factory=dict)
    """What was chosen, JSON-ready, for the record of the run."""


Attach = Callable[[PreTrainedModel, TuningContext], Attached]
"""Prepares a model for training, in place."""


def set_trainable_params(model: PreTrainedModel, names: Iterable[str]) -> None:
    """Let only the named parameters train."""
    wanted = set(names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in wanted)


def classifier_parameters(model: PreTrainedModel) -> set[str]:
    """The names of the parameters after the encoder, which are new for every task."""
    return {name for name, _ in model.named_parameters() if is_classifier(model, name)}


def backbone_size(model: PreTrainedModel) -> int:
    """Parameters of a model apart from its classifier: what a budget of trained parameters is a fraction of."""
    return sum(p.numel() for name, p in model.named_parameters() if not is_classifier(model, name))


def allowance(model: PreTrainedModel, budget: float) -> int:
    """The number of parameters of the backbone that may train under a budget; the classifier's come on top."""
    return int(budget * backbone_size(model))


def largest_rank(cost_per_rank: int, fixed_cost: int, allowed: int, what: str) -> int:
    """The largest rank whose parameters fit into what is allowed.

    Raises:
        TuningError: not even rank 1 does.
    """
    rank = (allowed - fixed_cost) // cost_per_rank
    if rank < 1:
        raise TuningError(
            f"{what} of rank 1 would train {cost_per_rank + fixed_cost:,} parameters, and the budget allows "
            f"{allowed:,}; give a larger one in peft_budgets"
        )
    return rank

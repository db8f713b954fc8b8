"""How a model is to be made smaller."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sensibert.config.defaults import SCORED_TEXTS
from sensibert.config.method_settings import Rate
from sensibert.config.section import Section
from sensibert.config.settings import (
    Budget,
    CriterionName,
    ModelParams,
    RankingParams,
    ScoringParams,
    Seed,
    TrainingParams,
)


def scoring_of(settings: ScoringParams, rows: int) -> ScoringParams:
    """The settings of a pass over so many rows. A sample of all of them is all of them, in their order."""
    is_sample = settings.max_samples is not None and settings.max_samples < rows
    return settings if is_sample else settings.model_copy(update={"max_samples": None})


class Recipe(Section):
    """How a model is made smaller. Equal recipes and data give equal models, unless a latency is measured."""

    model: ModelParams
    budget: Budget
    budget_kind: Literal["params", "macs", "size", "latency"] = "params"
    criterion: CriterionName = "sensitivity"
    method: Literal["recipe", "one_shot"] = "recipe"
    """`recipe` cuts the tuned dense model, repairs the cut and learns from that model too (docs/recipe.md); `one_shot`
    cuts the pre-trained model and fine-tunes it, as Sensi-BERT does."""
    scoring: ScoringParams = ScoringParams(max_samples=SCORED_TEXTS)
    ranking: RankingParams = RankingParams()
    training: TrainingParams = TrainingParams()
    learning_rate: Rate = "searched"
    """The peak rate of fine-tuning; `searched` finds one for the dense model and one for the slim model by short trials
    on a part of the training rows (`rates`)."""
    baseline: Literal["auto", "tune", "given", "none"] = "auto"
    """What the result is compared with: the dense model fine-tuned on the same data, the dense model as it was
    given, or the size and speed of the dense model alone. `auto` takes it as given if it already is a classifier
    of these labels, and tunes it otherwise; so does `recipe`, which needs a tuned one, if nothing is compared."""
    trim_vocabulary: bool = False
    keep_dense: bool = False
    """Whether the dense model that was tuned for comparison is left in the result too, in the folder `dense`."""
    compare: bool = False
    """Whether everything else that could be deployed is measured beside the result (`contenders`)."""
    seed: Annotated[Seed, Field()] = 0
    any_origin: bool = False
    """Whether scores or a mask may have been made for another backbone, task or data whose shapes fit."""
    trust_remote_code: bool = False
    """Whether code that comes with the backbone may run."""

    @model_validator(mode="after")
    def _compares_with_something(self) -> Recipe:
        if self.compare and self.baseline == "none":
            raise ValueError("--compare measures the dense model too: --baseline none leaves that out")
        return self

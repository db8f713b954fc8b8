"""SPT with LoRA (arXiv 2303.08566): low-rank updates where many weights are sensitive, single weights elsewhere."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.models.anatomy import features
from sensibert.training.attach import Attached, TuningContext
from sensibert.tuning.parts.low_rank import add_low_rank, low_rank_parameters
from sensibert.tuning.parts.spt import attach_plan, plan_tuning, spt_settings


def attach(model: PreTrainedModel, context: TuningContext) -> Attached:
    """Tune matrices with many sensitive weights by LoRA, and single weights of the others."""
    rank = spt_settings(context).rank
    plan = plan_tuning(model, context, lambda linear: rank * sum(features(linear)))
    tuner = add_low_rank(model, plan.structured, rank) if plan.structured else None
    return attach_plan(model, plan, low_rank_parameters(model), tuner.merge_and_unload if tuner else None)

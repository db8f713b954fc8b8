"""SPT with adapters (arXiv 2303.08566): adapters where many weights are sensitive, single weights elsewhere."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.models.anatomy import features
from sensibert.training.attach import Attached, TuningContext
from sensibert.tuning.parts.adapters import adapter_cost, adapter_parameters, add_adapters
from sensibert.tuning.parts.spt import attach_plan, plan_tuning, spt_settings


def attach(model: PreTrainedModel, context: TuningContext) -> Attached:
    """Tune matrices with many sensitive weights by an adapter, and single weights of the others."""
    bottleneck = spt_settings(context).rank
    plan = plan_tuning(model, context, lambda linear: adapter_cost(features(linear)[1], bottleneck))
    add_adapters(model, plan.structured, bottleneck)
    return attach_plan(model, plan, adapter_parameters(model))

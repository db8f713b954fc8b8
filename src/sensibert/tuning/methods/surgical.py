"""Surgical fine-tuning (arXiv 2310.17041): the layers with the most Fisher information train, and the classifier."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.config.method_settings import SurgicalParams
from sensibert.data.encoding import draw
from sensibert.training.attach import Attached, TuningContext
from sensibert.tuning.parts.layer_fisher import layer_fisher
from sensibert.tuning.parts.layer_order import rank
from sensibert.tuning.parts.layers import train_layers


def attach(model: PreTrainedModel, context: TuningContext) -> Attached:
    """Rank the layers by a sample of the training data and let the first ones train."""
    settings = context.settings
    assert isinstance(settings, SurgicalParams)
    sample = draw(context.examples, settings.samples, context.seed)
    scores = layer_fisher(model, sample, context.tokenizer, per_parameter=settings.per_parameter)
    return train_layers(model, rank(scores), context, extra_passes=len(sample) / len(context.examples))

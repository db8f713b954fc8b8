"""A control for surgical fine-tuning: the last layers train, and the classifier."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.models.anatomy import layers_of
from sensibert.training.attach import Attached, TuningContext
from sensibert.tuning.parts.layers import train_layers


def attach(model: PreTrainedModel, context: TuningContext) -> Attached:
    """Let the last layers train."""
    return train_layers(model, range(len(layers_of(model)))[::-1], context)

"""A control for surgical fine-tuning: layers that the seed draws train, and the classifier."""

from __future__ import annotations

import numpy as np
from transformers import PreTrainedModel

from sensibert.models.anatomy import layers_of
from sensibert.training.attach import Attached, TuningContext
from sensibert.tuning.parts.layers import train_layers


def attach(model: PreTrainedModel, context: TuningContext) -> Attached:
    """Let layers that the seed draws train."""
    drawn = np.random.default_rng(context.seed).permutation(len(layers_of(model)))
    return train_layers(model, drawn.tolist(), context)

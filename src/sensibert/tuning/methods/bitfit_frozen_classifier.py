"""BitFit (arXiv 2106.10199), read literally: all bias terms train, the weight of the classifier stays random."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.training.attach import Attached, TuningContext
from sensibert.tuning.parts.biases import all_biases, train_biases


def attach(model: PreTrainedModel, context: TuningContext) -> Attached:
    """Let all biases train, those of the norms, the pooler and the classifier included."""
    return train_biases(model, all_biases(model))

"""BitFit (arXiv 2106.10199): all bias terms train, and the new classifier."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.training.attach import Attached, TuningContext, classifier_parameters
from sensibert.tuning.parts.biases import all_biases, train_biases


def attach(model: PreTrainedModel, context: TuningContext) -> Attached:
    """Let all biases and the classifier's weight train."""
    return train_biases(model, all_biases(model) | classifier_parameters(model))

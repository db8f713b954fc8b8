"""Linear probing: the new classifier trains on top of a frozen encoder."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.training.attach import Attached, TuningContext, classifier_parameters, set_trainable_params


def attach(model: PreTrainedModel, context: TuningContext) -> Attached:
    """Let the classifier train."""
    set_trainable_params(model, classifier_parameters(model))
    return Attached()

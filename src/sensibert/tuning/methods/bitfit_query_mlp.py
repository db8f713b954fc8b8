"""BitFit (arXiv 2106.10199) with the biases of the query and the first feed-forward layer alone, and the classifier."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.training.attach import Attached, TuningContext, classifier_parameters
from sensibert.tuning.parts.biases import query_and_mlp_biases, train_biases


def attach(model: PreTrainedModel, context: TuningContext) -> Attached:
    """Let the biases of the queries and the first feed-forward layers train, and the classifier."""
    return train_biases(model, query_and_mlp_biases(model) | classifier_parameters(model))

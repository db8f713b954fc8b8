"""BitFit (arXiv 2106.10199) with the biases of the query, the first feed-forward layer and the classifier alone."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.models.anatomy import is_classifier
from sensibert.training.attach import Attached, TuningContext
from sensibert.tuning.parts.biases import all_biases, query_and_mlp_biases, train_biases


def attach(model: PreTrainedModel, context: TuningContext) -> Attached:
    """Let the biases of the queries, the first feed-forward layers and the classifier train."""
    of_classifier = {name for name in all_biases(model) if is_classifier(model, name)}
    return train_biases(model, query_and_mlp_biases(model) | of_classifier)

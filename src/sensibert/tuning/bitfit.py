"""BitFit (arXiv 2106.10199): the bias terms train, and the new classifier."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.models.anatomy import is_classifier
from sensibert.tuning import bitfit_frozen_classifier


def trains(model: PreTrainedModel) -> set[str]:
    """The names of all biases and of the classifier's weight."""
    classifier = {name for name, _ in model.named_parameters() if is_classifier(model, name)}
    return classifier | bitfit_frozen_classifier.trains(model)

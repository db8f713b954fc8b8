"""Real numbers as labels: a model trains on standardized ones, and answers in the units of the data.

A new classifier begins near 0 with weights of a few hundredths, and an optimizer moves them a little at each step:
prices of some hundred thousand would stay out of its reach. So a training sees labels with the mean 0 and the standard
deviation 1, and afterwards both go into the last linear layer, which makes the saved model an ordinary one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from sensibert.data.encoding import EncodedTexts, Example, Examples, TaughtExamples, labels_of
from sensibert.models.anatomy import is_classifier

_IN_UNITS = "answers_in_label_units"
"""In the config of a regressor that answers in the units of the data; a new classifier does not."""


@dataclass(frozen=True)
class TargetScale:
    """What standardizes labels: `(label - mean) / std`."""

    mean: float
    std: float


def begin_training(model: PreTrainedModel, examples: Examples) -> tuple[Examples, TargetScale | None]:
    """Make a regressor, in place, one for standardized labels, and standardize those of its training examples.

    Args:
        model: Any model; a classifier does not change.
        examples: What it will train on; what a teacher answered is standardized too.

    Returns:
        The examples for the training, and what `end_training` needs; the given examples and None for a classifier.
    """
    if not is_regressor(model):
        return examples, None
    scale = _scale_of(labels_of(examples), centred=_last_linear(model).bias is not None)
    if getattr(model.config, _IN_UNITS, False):
        _change_units(model, 1 / scale.std, -scale.mean / scale.std)
        setattr(model.config, _IN_UNITS, False)
    return _standardized(examples, scale), scale


def end_training(model: PreTrainedModel, scale: TargetScale | None) -> None:
    """Let a trained regressor answer in the units of the data: change its last linear layer, in place."""
    if scale is not None:
        _change_units(model, scale.std, scale.mean)
        setattr(model.config, _IN_UNITS, True)


def set_in_units(model: PreTrainedModel, *, trained: bool) -> None:
    """Note of a loaded regressor whether its answers are in the units of the data, or its classifier is new."""
    if is_regressor(model):
        setattr(model.config, _IN_UNITS, trained)


def is_regressor(model: PreTrainedModel) -> bool:
    """Whether the labels of a model are real numbers."""
    return model.config.problem_type == "regression" and model.config.num_labels == 1


def _scale_of(labels: np.ndarray, *, centred: bool) -> TargetScale:
    """Mean and standard deviation of labels; where an answer cannot be moved, 0 and the root of the mean square."""
    values = labels.astype(np.float64)
    mean = float(values.mean()) if centred else 0.0
    return TargetScale(mean, float(np.sqrt(np.square(values - mean).mean())) or 1.0)


def _last_linear(model: PreTrainedModel) -> nn.Linear:
    """The layer that gives the number."""
    layers = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == 1 and is_classifier(model, f"{name}.weight")
    ]
    return layers[-1]


@torch.no_grad()
def _change_units(model: PreTrainedModel, factor: float, offset: float) -> None:
    """Answer `factor * answer + offset` from now on."""
    linear = _last_linear(model)
    linear.weight.mul_(factor)
    if linear.bias is not None:
        linear.bias.mul_(factor).add_(offset)


def _standardized(examples: Examples, scale: TargetScale) -> Examples:
    if isinstance(examples, TaughtExamples):
        return TaughtExamples(_standardized(examples.examples, scale), (examples.logits - scale.mean) / scale.std)
    labels = (labels_of(examples).astype(np.float64) - scale.mean) / scale.std
    if isinstance(examples, EncodedTexts):
        return EncodedTexts(examples.tokens, examples.bounds[1:], labels, examples.idx)
    return [_one_standardized(example, label.item(), scale) for example, label in zip(examples, labels, strict=True)]


def _one_standardized(example: Example, label: float, scale: TargetScale) -> Example:
    taught = {}
    if "teacher_logits" in example:
        taught = {"teacher_logits": [(logit - scale.mean) / scale.std for logit in example["teacher_logits"]]}
    return {**example, "labels": label, **taught}

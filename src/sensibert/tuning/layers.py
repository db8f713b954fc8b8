"""Some layers train, and the classifier: what surgical fine-tuning chooses among, and its two controls."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from transformers import PreTrainedModel

from sensibert.errors import TuningError
from sensibert.models.anatomy import layers_of
from sensibert.params import LayerParams
from sensibert.tuning.base import Attached, Context, classifier_parameters, train_only


def attach_last(model: PreTrainedModel, context: Context) -> Attached:
    """Let the last layers train."""
    count = len(layers_of(model))
    return train_layers(model, range(count)[::-1], context)


def attach_random(model: PreTrainedModel, context: Context) -> Attached:
    """Let layers train that the seed draws."""
    count = len(layers_of(model))
    return train_layers(model, np.random.default_rng(context.seed).permutation(count).tolist(), context)


def train_layers(
    model: PreTrainedModel, ranking: Iterable[int], context: Context, extra_passes: float = 0.0
) -> Attached:
    """Let the first layers of a ranking train, as many as the settings say, and the classifier.

    Raises:
        TuningError: the model has fewer layers.
    """
    assert isinstance(context.settings, LayerParams)
    layers, wanted = layers_of(model), context.settings.layers
    if wanted > len(layers):
        raise TuningError(f"layers: {wanted} are to be tuned, and the model has {len(layers)}")
    chosen = sorted(list(ranking)[:wanted])
    names = {parameter: name for name, parameter in model.named_parameters()}
    of_layers = {names[parameter] for index in chosen for parameter in layers[index].parameters()}
    train_only(model, of_layers | classifier_parameters(model))
    return Attached(extra_passes=extra_passes, chosen={"layers": chosen})

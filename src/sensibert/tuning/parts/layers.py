"""Some layers train, and the classifier: what surgical fine-tuning and its two controls share."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedModel

from sensibert.config.method_settings import LayerParams
from sensibert.errors import TuningError
from sensibert.models.anatomy import layers_of
from sensibert.training.attach import Attached, TuningContext, classifier_parameters, set_trainable_params


def train_layers(
    model: PreTrainedModel, ranking: Iterable[int], context: TuningContext, extra_passes: float = 0.0
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
    set_trainable_params(model, of_layers | classifier_parameters(model))
    return Attached(extra_passes=extra_passes, chosen={"layers": chosen})

"""Fisher information of whole layers, by which surgical fine-tuning (arXiv 2310.17041) chooses."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.data.encoding import Examples, collator
from sensibert.models.anatomy import layers_of


def layer_fisher(
    model: PreTrainedModel,
    examples: Examples,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    per_parameter: bool = False,
) -> np.ndarray:
    """Fisher information of each layer, [layers].

    The mean over the examples of the squared norm of the gradient of one example's log-likelihood with respect to
    the layer's parameters: the trace of the layer's empirical Fisher information. Every example is differentiated
    on its own; the square of a batch's mean gradient would be a different quantity. Dropout is off.

    Args:
        model: A classifier; its weights stay unchanged.
        examples: Training data.
        tokenizer: Makes a batch of each example.
        per_parameter: Divide by the number of the layer's parameters.
    """
    layers, collate = layers_of(model), collator(tokenizer)
    parameters = [list(layer.parameters()) for layer in layers]
    frozen = [p for p in model.parameters() if not p.requires_grad]
    was_training = model.training
    model.eval().requires_grad_()
    totals = np.zeros(len(layers))
    for example in examples:
        batch = {name: values.to(model.device) for name, values in collate([example]).items()}
        flat = [parameter for of_layer in parameters for parameter in of_layer]
        gradients = iter(torch.autograd.grad(model(**batch).loss, flat))
        totals += [sum(_squared_norm(next(gradients)) for _ in of_layer) for of_layer in parameters]
    model.train(was_training)
    for parameter in frozen:
        parameter.requires_grad_(False)
    sizes = np.array([sum(p.numel() for p in of_layer) for of_layer in parameters])
    return totals / len(examples) / (sizes if per_parameter else 1)


def _squared_norm(gradient: Tensor) -> float:
    return float(gradient.double().square().sum())

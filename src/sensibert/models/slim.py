"""A mask makes a physically smaller model: the same function, with fewer rows and columns.

A slim layer is the stock layer with smaller linear layers and its own head count and head size; the
attention scores keep the scale of the dense model. So no modelling code is forked: a slim class
(`modeling_slim.py`) is the stock class that resizes itself from its config before the weights load.
"""

from __future__ import annotations

import copy
import math
import warnings

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sensibert.models.anatomy import Linear, PrunableModule, features, layers_of, prunable_modules
from sensibert.models.gates import check_fit
from sensibert.models.mask import Mask, Shape
from sensibert.models.modeling_slim import SLIM_PREFIX, slim_config_class, slim_model_class


def slim(model: PreTrainedModel, mask: Mask) -> PreTrainedModel:
    """A copy of the model without the dimensions that the mask drops.

    Raises:
        MaskError: the mask was made for another model, or its kept heads differ in size.
    """
    check_fit(model, mask)
    small = copy.deepcopy(model)
    become_slim(small)
    modules = prunable_modules(small)
    for key, shape in mask.shapes().items():
        module = modules[key]
        _cut(module, torch.from_numpy(mask.keep[key].reshape(-1)).nonzero().squeeze(1), shape)
    small.config.slim_linears, small.config.slim_attributes = _sizes(small)
    return small


def keep_first_layers(model: PreTrainedModel, count: int) -> PreTrainedModel:
    """A copy of the model that ends after its first layers."""
    small = copy.deepcopy(model)
    become_slim(small)
    layers = layers_of(small)
    path = next(name for name, module in small.named_modules() if module is layers)
    small.set_submodule(path, layers[:count])  # type: ignore[arg-type]
    small.config.slim_layers = {path: count}
    return small


def become_slim(model: PreTrainedModel) -> None:
    """Turn a stock model, in place, into one whose config says how its layers differ from the stock ones."""
    if is_slim(model):
        return
    # The config changes in place, since the layers hold the same object.
    model.config.__class__ = slim_config_class(type(model.config))  # type: ignore[arg-type]
    vars(model.config).pop("model_type", None)  # that of the class counts; a config that was read has one of its own
    model.__class__ = slim_model_class(type(model))  # type: ignore[arg-type]
    _forget_sizes(model.config)


def is_slim(model: PreTrainedModel) -> bool:
    """Whether a model has layers of its own sizes."""
    return bool(model.config.model_type.startswith(SLIM_PREFIX))


def dense_config(model: PreTrainedModel) -> PreTrainedConfig:
    """The config of the dense model that a slim one was cut from; a dense model's own. The head is the same."""
    config = copy.deepcopy(model.config)
    if is_slim(model):
        _forget_sizes(config)
    return config


def _forget_sizes(config: PreTrainedConfig) -> None:
    config.slim_linears, config.slim_attributes, config.adapters = {}, {}, {}
    vars(config).pop("slim_layers", None)  # only a model with fewer layers has it


def _cut(module: PrunableModule, kept: Tensor, shape: Shape) -> None:
    """Replace the linear layers of a module, in place, by those of the kept dimensions."""
    dimensions = module.shape.dimensions
    for projection, linear in module.input_projections.items():
        in_blocks = torch.cat([kept + block * dimensions for block in range(projection.blocks)])
        # The model will divide the scores by the root of the smaller size.
        scale = math.sqrt(shape.size / module.shape.size) if projection.in_scores else 1.0
        module.layer.set_submodule(projection.path, _select(linear, in_blocks, outputs=True, scale=scale))
    module.layer.set_submodule(module.paths.output_projection, _select(module.output_projection, kept, outputs=False))
    if module.head_holder is not None:
        values = {"heads": shape.heads, "size": shape.size, "width": shape.dimensions}
        for name, meaning in module.anatomy.attributes.items():
            setattr(module.head_holder, name, values[meaning])


def _select(linear: Linear, kept: Tensor, *, outputs: bool, scale: float = 1.0) -> Linear:
    """A linear layer with only the kept outputs, or only the kept inputs."""
    is_conv = isinstance(linear, Conv1D)
    kept = kept.to(linear.weight.device)
    weight = linear.weight.detach().index_select(int(outputs == is_conv), kept) * scale
    inputs, width = weight.shape if is_conv else reversed(weight.shape)
    if is_conv and inputs == 0:  # without inputs a Conv1D cannot compute
        is_conv, weight = False, weight.T
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # of a module that keeps nothing
        small: Linear = Conv1D(width, inputs) if is_conv else nn.Linear(inputs, width, linear.bias is not None)
    small.weight = nn.Parameter(weight)
    if linear.bias is not None:
        bias = linear.bias.detach()
        small.bias = nn.Parameter(bias[kept] * scale if outputs else bias.clone())
    return small


def _sizes(model: PreTrainedModel) -> tuple[dict[str, list[int]], dict[str, dict[str, int]]]:
    """What `modeling_slim.resize` needs: linear layer -> inputs and outputs, attention module -> attributes."""
    names = {module: name for name, module in model.named_modules()}
    linears, attributes = {}, {}
    for module in prunable_modules(model).values():
        for linear in module.linears:
            linears[names[linear]] = list(features(linear))
        if module.head_holder is not None:
            attributes[names[module.head_holder]] = {
                name: getattr(module.head_holder, name) for name in module.anatomy.attributes
            }
    return linears, attributes

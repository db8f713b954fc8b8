"""A mask makes a physically smaller model: the same function, with fewer rows and columns.

A slim layer is the stock layer with smaller `nn.Linear`s and its own head count and head size; the
softmax scaling keeps the value of the dense model. So no modelling code is forked: a slim class is the
stock class that resizes itself from `config.slim_shapes` before the weights load.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from sensibert.masks import Mask, ModuleKey, Shape
from sensibert.models.anatomy import anatomy_of, layers_of, prunable_modules
from sensibert.models.gates import check_fit

SHAPES_KEY = "slim_shapes"
"""Entry of the model config: `layer.group` -> [heads, dimensions per head]."""


def slim(model: PreTrainedModel, mask: Mask) -> PreTrainedModel:
    """A copy of the model without the dimensions that the mask drops.

    Raises:
        MaskError: the mask was made for another model, or its kept heads differ in size.
    """
    check_fit(model, mask)
    shapes = mask.shapes()
    small = copy.deepcopy(model)
    _cut(
        small, {key: torch.from_numpy(keep.reshape(-1)).nonzero().squeeze(1) for key, keep in mask.keep.items()}, shapes
    )
    setattr(small.config, SHAPES_KEY, {str(key): list(shape) for key, shape in shapes.items()})
    if not hasattr(model.config, SHAPES_KEY):
        small.__class__ = slim_class(type(model))  # type: ignore[arg-type]
    return small


@cache
def slim_class(stock: Any) -> type[PreTrainedModel]:
    """The subclass of a stock model class that builds itself in the sizes of `config.slim_shapes`."""

    def __init__(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        stock.__init__(self, config, *args, **kwargs)
        shapes = {ModuleKey.parse(key): Shape(*shape) for key, shape in getattr(config, SHAPES_KEY).items()}
        _cut(self, {key: torch.arange(shape.dimensions) for key, shape in shapes.items()}, shapes)

    return type(f"Slim{stock.__name__}", (stock,), {"__init__": __init__, "__module__": stock.__module__})


def _cut(model: PreTrainedModel, kept: dict[ModuleKey, torch.Tensor], shapes: dict[ModuleKey, Shape]) -> None:
    """Replace the prunable layers, in place, by those of the kept dimensions."""
    for key, module in prunable_modules(model).items():
        for path, row in zip(module.paths.rows, module.rows, strict=True):
            module.layer.set_submodule(path, _rows(row, kept[key]))
        module.layer.set_submodule(module.paths.column, _columns(module.column, kept[key]))
    anatomy = anatomy_of(model)
    for index, layer in enumerate(layers_of(model)):
        shape = shapes[ModuleKey(index, "attention")]
        holder = layer.get_submodule(anatomy.head_holder)
        setattr(holder, anatomy.heads_attribute, shape.heads)
        setattr(holder, anatomy.size_attribute, shape.size)
        setattr(holder, anatomy.width_attribute, shape.dimensions)


def _rows(linear: nn.Linear, kept: torch.Tensor) -> nn.Linear:
    return _linear(linear.weight.detach()[kept], linear.bias.detach()[kept] if linear.bias is not None else None)


def _columns(linear: nn.Linear, kept: torch.Tensor) -> nn.Linear:
    return _linear(linear.weight.detach()[:, kept], linear.bias.detach() if linear.bias is not None else None)


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.contiguous().clone())
    if bias is not None:
        linear.bias = nn.Parameter(bias.clone())
    return linear

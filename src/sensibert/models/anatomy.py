"""Where an architecture keeps its prunable linear layers, under uniform names.

A new architecture is one row of `ANATOMIES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn
from transformers import PreTrainedModel

from sensibert.errors import BackboneError
from sensibert.masks import ModuleKey, Shape


@dataclass(frozen=True)
class GroupPaths:
    """The linear layers that share the dimensions of one group, as paths below a layer."""

    rows: tuple[str, ...]
    """Layers whose output rows are the dimensions."""
    column: str
    """The layer whose input columns are the dimensions."""
    gate: Literal["outputs", "input"]
    """Where a mask acts: on the outputs of `rows`, or on the input of `column` (behind the activation)."""


@dataclass(frozen=True)
class Anatomy:
    """One architecture."""

    layers: str
    """Path of the list of layers below the base model."""
    attention: GroupPaths
    feed_forward: GroupPaths
    head_holder: str
    """Path, below a layer, of the module that reshapes the projections into heads."""
    heads_attribute: str = "num_attention_heads"
    size_attribute: str = "attention_head_size"
    width_attribute: str = "all_head_size"

    def group(self, name: str) -> GroupPaths:
        """The paths of `attention` or `feed_forward`."""
        return self.attention if name == "attention" else self.feed_forward


ANATOMIES: dict[str, Anatomy] = {
    "bert": Anatomy(
        layers="encoder.layer",
        attention=GroupPaths(
            rows=("attention.self.query", "attention.self.key", "attention.self.value"),
            column="attention.output.dense",
            gate="outputs",
        ),
        feed_forward=GroupPaths(rows=("intermediate.dense",), column="output.dense", gate="input"),
        head_holder="attention.self",
    ),
}
GROUPS = ("attention", "feed_forward")


@dataclass(frozen=True)
class PrunableModule:
    """The linear layers of one group of one layer, in a model."""

    key: ModuleKey
    layer: nn.Module
    paths: GroupPaths
    shape: Shape

    @property
    def rows(self) -> list[nn.Linear]:
        """The layers whose output rows are the dimensions: weight [dimensions, hidden]."""
        return [_linear(self.layer, path) for path in self.paths.rows]

    @property
    def column(self) -> nn.Linear:
        """The layer whose input columns are the dimensions: weight [hidden, dimensions]."""
        return _linear(self.layer, self.paths.column)

    @property
    def cost(self) -> int:
        """Parameters that one dimension holds."""
        in_rows = sum(row.in_features + (row.bias is not None) for row in self.rows)
        return in_rows + self.column.out_features


def anatomy_of(model: PreTrainedModel) -> Anatomy:
    """The row of the model's architecture.

    Raises:
        BackboneError: the architecture has no row.
    """
    model_type = model.config.model_type
    if model_type not in ANATOMIES:
        known = ", ".join(sorted(ANATOMIES))
        raise BackboneError(
            f"no anatomy for architecture {model_type!r}; known: {known}. "
            "Add a row to ANATOMIES in sensibert/models/anatomy.py"
        )
    return ANATOMIES[model_type]


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The Transformer layers of a model."""
    layers = model.base_model.get_submodule(anatomy_of(model).layers)
    assert isinstance(layers, nn.ModuleList)
    return layers


def prunable_modules(model: PreTrainedModel) -> dict[ModuleKey, PrunableModule]:
    """The prunable modules of a model, in the order of its layers."""
    anatomy = anatomy_of(model)
    modules = {}
    for index, layer in enumerate(layers_of(model)):
        for group in GROUPS:
            key = ModuleKey(index, group)
            modules[key] = PrunableModule(key, layer, anatomy.group(group), _shape(layer, anatomy, group))
    return modules


def costs_of(model: PreTrainedModel) -> dict[ModuleKey, int]:
    """Parameters that one dimension of each module holds."""
    return {key: module.cost for key, module in prunable_modules(model).items()}


def is_classifier(model: PreTrainedModel, name: str) -> bool:
    """Whether a parameter lies behind the encoder, in the new classification head."""
    return not name.startswith(f"{model.base_model_prefix}.")


def _shape(layer: nn.Module, anatomy: Anatomy, group: str) -> Shape:
    if group == "attention":
        holder = layer.get_submodule(anatomy.head_holder)
        return Shape(getattr(holder, anatomy.heads_attribute), getattr(holder, anatomy.size_attribute))
    return Shape(1, _linear(layer, anatomy.feed_forward.column).in_features)


def _linear(layer: nn.Module, path: str) -> nn.Linear:
    module = layer.get_submodule(path)
    assert isinstance(module, nn.Linear), f"{path} is no linear layer"
    return module

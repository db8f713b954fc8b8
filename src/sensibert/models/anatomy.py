"""The prunable modules of a model, found by the row of its architecture."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sensibert.errors import BackboneError
from sensibert.models.architectures import ANATOMIES, Anatomy, GroupPaths, InputProjection
from sensibert.models.mask import ModuleKey, Shape
from sensibert.models.modeling_slim import SLIM_PREFIX

Linear = nn.Linear | Conv1D
"""Conv1D is the linear layer of GPT-2: its weight is [inputs, outputs]."""

GROUPS = ("attention", "feed_forward")


@dataclass(frozen=True)
class PrunableModule:
    """The linear layers of one group of one layer, in a model."""

    key: ModuleKey
    layer: nn.Module
    anatomy: Anatomy
    shape: Shape

    @property
    def paths(self) -> GroupPaths:
        """Where the linear layers of this group are."""
        return self.anatomy.group(self.key.group)

    @property
    def head_holder(self) -> nn.Module | None:
        """The module that reshapes the projections into heads; None for a feed-forward module."""
        return self.layer.get_submodule(self.anatomy.head_holder) if self.key.group == "attention" else None

    @property
    def grain(self) -> Shape:
        """What the kept heads and the kept size of a head must be multiples of."""
        if self.key.group != "attention":
            return Shape(1, 1)
        heads = self.shape.heads if self.anatomy.keeps_heads else 1
        return Shape(heads, self.shape.size if self.anatomy.keeps_head_size else 1)

    @property
    def removable(self) -> bool:
        """Whether nothing but its output bias may stay of it."""
        return self.key.group == "feed_forward" or not (self.anatomy.keeps_heads or self.anatomy.keeps_a_head)

    @property
    def input_projections(self) -> dict[InputProjection, Linear]:
        """The layers whose output rows are the dimensions."""
        return {
            projection: get_linear(self.layer, projection.path)
            for projection in self.paths.input_projections
            if not (projection.optional and not _has(self.layer, projection.path))
        }

    @property
    def output_projection(self) -> Linear:
        """The layer whose input columns are the dimensions."""
        return get_linear(self.layer, self.paths.output_projection)

    @property
    def linears(self) -> tuple[Linear, ...]:
        """All its linear layers."""
        return (*self.input_projections.values(), self.output_projection)

    @property
    def cost(self) -> int:
        """Parameters that one dimension holds."""
        in_inputs = sum(
            projection.blocks * (features(linear)[0] + (linear.bias is not None))
            for projection, linear in self.input_projections.items()
        )
        return in_inputs + features(self.output_projection)[1]


def anatomy_of(model: PreTrainedModel) -> Anatomy:
    """The row of the model's architecture.

    Raises:
        BackboneError: the architecture has no row.
    """
    model_type = model.config.model_type.removeprefix(SLIM_PREFIX)
    if model_type not in ANATOMIES:
        known = ", ".join(sorted(ANATOMIES))
        raise BackboneError(
            f"no anatomy for architecture {model_type!r}; known: {known}. To add it, write one row of ANATOMIES "
            "in sensibert/models/architectures.py: docs/architectures.md shows how"
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
            modules[key] = PrunableModule(key, layer, anatomy, _shape(layer, anatomy, group))
    return modules


def hash_weights(model: PreTrainedModel) -> str:
    """SHA-256 of the prunable weights, layer by layer: equal for equal models, whatever their classifiers."""
    digest = hashlib.sha256()
    for module in prunable_modules(model).values():
        for linear in (*module.input_projections.values(), module.output_projection):
            digest.update(linear.weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def costs_of(model: PreTrainedModel) -> dict[ModuleKey, int]:
    """Parameters that one dimension of each module holds."""
    return {key: module.cost for key, module in prunable_modules(model).items()}


def grains_of(model: PreTrainedModel) -> dict[ModuleKey, Shape]:
    """What the kept heads and head sizes of each module must be multiples of."""
    return {key: module.grain for key, module in prunable_modules(model).items()}


def removable_of(model: PreTrainedModel) -> list[ModuleKey]:
    """The modules that may keep nothing."""
    return [key for key, module in prunable_modules(model).items() if module.removable]


def check_shapes(model: PreTrainedModel) -> None:
    """Refuse a slim model whose config gives a module heads and widths that do not fit each other.

    Raises:
        BackboneError: the message names the module.
    """
    for module in prunable_modules(model).values():
        outputs = {features(linear)[1] // projection.blocks for projection, linear in module.input_projections.items()}
        wanted = {"heads": module.shape.heads, "size": module.shape.size, "width": module.shape.dimensions}
        found = {name: getattr(module.head_holder, name) for name in _attributes(module)}
        width, _ = features(module.output_projection)
        if outputs != {width} or any(value != wanted[module.anatomy.attributes[name]] for name, value in found.items()):
            raise BackboneError(
                f"the config gives layer {module.key.layer}, {module.key.group}, sizes that do not fit each other: "
                f"{width} inputs of the output projection, outputs {sorted(outputs)}, {found}"
            )


def _attributes(module: PrunableModule) -> Iterable[str]:
    return module.anatomy.attributes if module.head_holder is not None else ()


def module_names(model: PreTrainedModel) -> dict[nn.Module, str]:
    """Module -> its name."""
    return {module: name for name, module in model.named_modules()}


def is_classifier(model: PreTrainedModel, name: str) -> bool:
    """Whether a parameter is in the new classification head: after the encoder, or in a pooler that is new as well."""
    return not name.startswith(f"{model.base_model_prefix}.") or name in getattr(model, "new_parameters", ())


def _shape(layer: nn.Module, anatomy: Anatomy, group: str) -> Shape:
    width, _ = features(get_linear(layer, anatomy.group(group).output_projection))
    if group == "feed_forward":
        return Shape(1, width)
    size = getattr(layer.get_submodule(anatomy.head_holder), anatomy.size_attribute)
    return Shape(width // size, size)


def _has(layer: nn.Module, path: str) -> bool:
    parent, _, name = path.rpartition(".")
    return hasattr(layer.get_submodule(parent), name)


def get_linear(layer: nn.Module, path: str) -> Linear:
    """The linear layer at a path below a layer."""
    module = layer.get_submodule(path)
    assert isinstance(module, nn.Linear | Conv1D), f"{path} is no linear layer"
    return module


def features(linear: Linear) -> tuple[int, int]:
    """Inputs and outputs of a linear layer."""
    return (linear.nx, linear.nf) if isinstance(linear, Conv1D) else (linear.in_features, linear.out_features)


def weight_by_output(linear: Linear) -> Tensor:
    """The weight as [outputs, inputs], detached from training."""
    weight = linear.weight.detach()
    return weight.T if isinstance(linear, Conv1D) else weight

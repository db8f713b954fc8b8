"""Where an architecture keeps its prunable linear layers, under uniform names.

A new architecture is one row of `ANATOMIES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sensibert.errors import BackboneError
from sensibert.masks import ModuleKey, Shape
from sensibert.models.modeling_slim import SLIM_PREFIX

Linear = nn.Linear | Conv1D
"""Conv1D is the linear layer of GPT-2: its weight is [inputs, outputs]."""


@dataclass(frozen=True)
class Rows:
    """A linear layer whose output rows are dimensions."""

    path: str
    """Below a layer."""
    blocks: int = 1
    """How often the dimensions stand in the output, one run behind the other: a fused query, key and value
    has 3, a gate and its value 2."""
    in_scores: bool = False
    """Whether the attention scores are linear in it while the model divides them by the root of its head size as
    it runs. A slim layer then scales these rows, so that the scores keep the divisor of the dense model."""


@dataclass(frozen=True)
class GroupPaths:
    """The linear layers that share the dimensions of one group."""

    rows: tuple[Rows, ...]
    """Layers whose output rows are the dimensions."""
    column: str
    """Path of the layer whose input columns are the dimensions."""
    gate: Literal["outputs", "input"]
    """Where a mask acts: on the outputs of `rows`, or on the input of `column` (behind the activation)."""


HeadSize = Literal["heads", "size", "width"]


@dataclass(frozen=True)
class Anatomy:
    """One architecture."""

    layers: str
    """Path of the list of layers below the base model."""
    attention: GroupPaths
    feed_forward: GroupPaths
    head_holder: str
    """Path, below a layer, of the module that reshapes the projections into heads."""
    attributes: dict[str, HeadSize]
    """Its attributes that a slim layer sets: the number of heads, their size, or the product of both."""
    keeps_heads: bool = False
    """Whether every head must stay, since something that all layers share counts on their number."""
    keeps_head_size: bool = False
    """Whether a head stays whole or goes, since its dimensions are not alike (rotary positions)."""

    @property
    def size_attribute(self) -> str:
        """The attribute of `head_holder` that holds the size of a head."""
        return next(name for name, meaning in self.attributes.items() if meaning == "size")

    def group(self, name: str) -> GroupPaths:
        """The paths of `attention` or `feed_forward`."""
        return self.attention if name == "attention" else self.feed_forward


def _rows(*paths: str, in_scores: tuple[str, ...] = ()) -> tuple[Rows, ...]:
    return tuple(Rows(path, in_scores=path in in_scores) for path in paths)


_BERT = Anatomy(
    layers="encoder.layer",
    attention=GroupPaths(
        rows=_rows("attention.self.query", "attention.self.key", "attention.self.value"),
        column="attention.output.dense",
        gate="outputs",
    ),
    feed_forward=GroupPaths(rows=_rows("intermediate.dense"), column="output.dense", gate="input"),
    head_holder="attention.self",
    attributes={"num_attention_heads": "heads", "attention_head_size": "size", "all_head_size": "width"},
)

ANATOMIES: dict[str, Anatomy] = {
    "bert": _BERT,
    "camembert": _BERT,
    "electra": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "distilbert": Anatomy(
        layers="transformer.layer",
        attention=GroupPaths(
            rows=_rows("attention.q_lin", "attention.k_lin", "attention.v_lin"),
            column="attention.out_lin",
            gate="outputs",
        ),
        feed_forward=GroupPaths(rows=_rows("ffn.lin1"), column="ffn.lin2", gate="input"),
        head_holder="attention",
        attributes={"n_heads": "heads", "attention_head_size": "size"},
    ),
    "gpt2": Anatomy(
        layers="h",
        attention=GroupPaths(rows=(Rows("attn.c_attn", blocks=3),), column="attn.c_proj", gate="outputs"),
        feed_forward=GroupPaths(rows=_rows("mlp.c_fc"), column="mlp.c_proj", gate="input"),
        head_holder="attn",
        attributes={"num_heads": "heads", "head_dim": "size", "split_size": "width"},
    ),
    "modernbert": Anatomy(
        layers="layers",
        attention=GroupPaths(rows=(Rows("attn.Wqkv", blocks=3),), column="attn.Wo", gate="outputs"),
        feed_forward=GroupPaths(rows=(Rows("mlp.Wi", blocks=2),), column="mlp.Wo", gate="input"),
        head_holder="attn",
        attributes={"head_dim": "size"},
        keeps_head_size=True,
    ),
    "mpnet": Anatomy(
        layers="encoder.layer",
        attention=GroupPaths(
            rows=_rows("attention.attn.q", "attention.attn.k", "attention.attn.v", in_scores=("attention.attn.q",)),
            column="attention.attn.o",
            gate="outputs",
        ),
        feed_forward=_BERT.feed_forward,
        head_holder="attention.attn",
        attributes=_BERT.attributes,
        keeps_heads=True,  # one relative position bias per head, shared by the layers
    ),
}
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
        """The module that reshapes the projections into heads; none for a feed-forward module."""
        return self.layer.get_submodule(self.anatomy.head_holder) if self.key.group == "attention" else None

    @property
    def grain(self) -> Shape:
        """What the kept heads and the kept size of a head must be multiples of."""
        if self.key.group != "attention":
            return Shape(1, 1)
        heads = self.shape.heads if self.anatomy.keeps_heads else 1
        return Shape(heads, self.shape.size if self.anatomy.keeps_head_size else 1)

    @property
    def rows(self) -> dict[Rows, Linear]:
        """The layers whose output rows are the dimensions."""
        return {rows: get_linear(self.layer, rows.path) for rows in self.paths.rows}

    @property
    def column(self) -> Linear:
        """The layer whose input columns are the dimensions."""
        return get_linear(self.layer, self.paths.column)

    @property
    def cost(self) -> int:
        """Parameters that one dimension holds."""
        in_rows = sum(
            rows.blocks * (features(linear)[0] + (linear.bias is not None)) for rows, linear in self.rows.items()
        )
        return in_rows + features(self.column)[1]


def anatomy_of(model: PreTrainedModel) -> Anatomy:
    """The row of the model's architecture.

    Raises:
        BackboneError: the architecture has no row.
    """
    model_type = model.config.model_type.removeprefix(SLIM_PREFIX)
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
            modules[key] = PrunableModule(key, layer, anatomy, _shape(layer, anatomy, group))
    return modules


def costs_of(model: PreTrainedModel) -> dict[ModuleKey, int]:
    """Parameters that one dimension of each module holds."""
    return {key: module.cost for key, module in prunable_modules(model).items()}


def grains_of(model: PreTrainedModel) -> dict[ModuleKey, Shape]:
    """What the kept heads and head sizes of each module must be multiples of."""
    return {key: module.grain for key, module in prunable_modules(model).items()}


def is_classifier(model: PreTrainedModel, name: str) -> bool:
    """Whether a parameter lies behind the encoder, in the new classification head."""
    return not name.startswith(f"{model.base_model_prefix}.")


def _shape(layer: nn.Module, anatomy: Anatomy, group: str) -> Shape:
    width, _ = features(get_linear(layer, anatomy.group(group).column))
    if group == "feed_forward":
        return Shape(1, width)
    size = getattr(layer.get_submodule(anatomy.head_holder), anatomy.size_attribute)
    return Shape(width // size, size)


def get_linear(layer: nn.Module, path: str) -> Linear:
    """The linear layer at a path below a layer."""
    module = layer.get_submodule(path)
    assert isinstance(module, nn.Linear | Conv1D), f"{path} is no linear layer"
    return module


def features(linear: Linear) -> tuple[int, int]:
    """Inputs and outputs of a linear layer."""
    return (linear.nx, linear.nf) if isinstance(linear, Conv1D) else (linear.in_features, linear.out_features)


def weight_by_output(linear: Linear) -> Tensor:
    """The weight as [outputs, inputs], apart from training."""
    weight = linear.weight.detach()
    return weight.T if isinstance(linear, Conv1D) else weight

"""Where an architecture keeps its prunable linear layers, under uniform names: a table without code.

A new architecture is one row of `ANATOMIES`; docs/architectures.md shows one being added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class InputProjection:
    """A linear layer whose output rows are dimensions."""

    path: str
    """Below a layer."""
    blocks: int = 1
    """How often the dimensions appear in the output, one block after the other: 3 times in a fused query, key
    and value, twice in a gate and its value."""
    in_scores: bool = False
    """Whether the attention scores are linear in it and the model divides them by the root of the head size that it
    finds at run time. A slim layer then scales these rows, so that the scores keep the divisor of the dense model."""
    optional: bool = False
    """Whether a model of the architecture may have no such layer."""


Gate = Literal["outputs", "token_outputs", "input"]
"""Where a mask acts: on all outputs of the input projections; on their outputs for the hidden states of the tokens, and
not on those for relative positions, which all examples share; or on the input of the output projection, after the
activation."""


@dataclass(frozen=True)
class GroupPaths:
    """The linear layers that share the dimensions of one group."""

    input_projections: tuple[InputProjection, ...]
    """Layers whose output rows are the dimensions."""
    output_projection: str
    """Path of the layer whose input columns are the dimensions."""
    gate: Gate
    """Where a mask acts."""


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
    """Whether every head must stay, since something that all layers share depends on their number."""
    keeps_a_head: bool = False
    """Whether its code cannot compute attention without any head."""
    keeps_head_size: bool = False
    """Whether a head stays whole or goes, since its dimensions are not alike (rotary positions)."""
    bias_switches: tuple[str, ...] = ()
    """The entries of the config that give the encoder its biases, off by default; empty if it always has some."""

    @property
    def size_attribute(self) -> str:
        """The attribute of `head_holder` that holds the size of a head."""
        return next(name for name, meaning in self.attributes.items() if meaning == "size")

    @property
    def linears(self) -> tuple[str, ...]:
        """The paths of all linear layers of both groups."""
        return tuple(
            path
            for group in (self.attention, self.feed_forward)
            for path in (*(projection.path for projection in group.input_projections), group.output_projection)
        )

    def group(self, name: str) -> GroupPaths:
        """The paths of `attention` or `feed_forward`."""
        return self.attention if name == "attention" else self.feed_forward


def _projections(*paths: str, **options: bool) -> tuple[InputProjection, ...]:
    return tuple(InputProjection(path, **options) for path in paths)


_BERT = Anatomy(
    layers="encoder.layer",
    attention=GroupPaths(
        input_projections=_projections("attention.self.query", "attention.self.key", "attention.self.value"),
        output_projection="attention.output.dense",
        gate="outputs",
    ),
    feed_forward=GroupPaths(
        input_projections=_projections("intermediate.dense"), output_projection="output.dense", gate="input"
    ),
    head_holder="attention.self",
    attributes={"num_attention_heads": "heads", "attention_head_size": "size", "all_head_size": "width"},
)

ANATOMIES: dict[str, Anatomy] = {
    "bert": _BERT,
    "camembert": _BERT,
    "electra": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "deberta-v2": Anatomy(
        layers="encoder.layer",
        attention=GroupPaths(
            input_projections=(
                *_projections("attention.self.query_proj", in_scores=True),
                *_projections("attention.self.key_proj", "attention.self.value_proj"),
                # If the projections of the tokens are not used for the relative positions too.
                *_projections("attention.self.pos_query_proj", in_scores=True, optional=True),
                *_projections("attention.self.pos_key_proj", optional=True),
            ),
            output_projection="attention.output.dense",
            # Every product of a position is with a token, so masking the token's side is enough.
            gate="token_outputs",
        ),
        feed_forward=_BERT.feed_forward,
        head_holder="attention.self",
        attributes=_BERT.attributes,
        keeps_a_head=True,
    ),
    "distilbert": Anatomy(
        layers="transformer.layer",
        attention=GroupPaths(
            input_projections=_projections("attention.q_lin", "attention.k_lin", "attention.v_lin"),
            output_projection="attention.out_lin",
            gate="outputs",
        ),
        feed_forward=GroupPaths(input_projections=_projections("ffn.lin1"), output_projection="ffn.lin2", gate="input"),
        head_holder="attention",
        attributes={"n_heads": "heads", "attention_head_size": "size"},
    ),
    "gpt2": Anatomy(
        layers="h",
        attention=GroupPaths(
            input_projections=(InputProjection("attn.c_attn", blocks=3),),
            output_projection="attn.c_proj",
            gate="outputs",
        ),
        feed_forward=GroupPaths(
            input_projections=_projections("mlp.c_fc"), output_projection="mlp.c_proj", gate="input"
        ),
        head_holder="attn",
        attributes={"num_heads": "heads", "head_dim": "size", "split_size": "width"},
        keeps_a_head=True,
    ),
    "modernbert": Anatomy(
        layers="layers",
        attention=GroupPaths(
            input_projections=(InputProjection("attn.Wqkv", blocks=3),), output_projection="attn.Wo", gate="outputs"
        ),
        feed_forward=GroupPaths(
            input_projections=(InputProjection("mlp.Wi", blocks=2),), output_projection="mlp.Wo", gate="input"
        ),
        head_holder="attn",
        attributes={"head_dim": "size"},
        keeps_head_size=True,
        bias_switches=("attention_bias", "mlp_bias", "norm_bias"),
    ),
    "mpnet": Anatomy(
        layers="encoder.layer",
        attention=GroupPaths(
            input_projections=(
                *_projections("attention.attn.q", in_scores=True),
                *_projections("attention.attn.k", "attention.attn.v"),
            ),
            output_projection="attention.attn.o",
            gate="outputs",
        ),
        feed_forward=_BERT.feed_forward,
        head_holder="attention.attn",
        attributes=_BERT.attributes,
        keeps_heads=True,  # one relative position bias per head, shared by the layers
    ),
    "vit": Anatomy(
        layers="layers",
        attention=GroupPaths(
            input_projections=_projections("attention.q_proj", "attention.k_proj", "attention.v_proj"),
            output_projection="attention.o_proj",
            gate="outputs",
        ),
        feed_forward=GroupPaths(input_projections=_projections("mlp.fc1"), output_projection="mlp.fc2", gate="input"),
        head_holder="attention",
        attributes={"num_attention_heads": "heads", "head_dim": "size"},
    ),
}

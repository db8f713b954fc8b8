"""Where an architecture keeps its prunable linear layers, under uniform names: a table without code.

A new architecture is one row of `ANATOMIES`; docs/architectures.md shows one being added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
    optional: bool = False
    """Whether a model of the architecture may have no such layer."""


Gate = Literal["outputs", "token_outputs", "input"]
"""Where a mask acts: on all outputs of the rows; on their outputs for the hidden states of the tokens, and not
on those for relative positions, which all examples share; or on the input of the column, behind the activation."""


@dataclass(frozen=True)
class GroupPaths:
    """The linear layers that share the dimensions of one group."""

    rows: tuple[Rows, ...]
    """Layers whose output rows are the dimensions."""
    column: str
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
    """Whether every head must stay, since something that all layers share counts on their number."""
    keeps_head_size: bool = False
    """Whether a head stays whole or goes, since its dimensions are not alike (rotary positions)."""
    bias_switches: tuple[str, ...] = ()
    """The entries of the config that give the encoder its biases, off by default; empty where it always has some."""

    @property
    def size_attribute(self) -> str:
        """The attribute of `head_holder` that holds the size of a head."""
        return next(name for name, meaning in self.attributes.items() if meaning == "size")

    def group(self, name: str) -> GroupPaths:
        """The paths of `attention` or `feed_forward`."""
        return self.attention if name == "attention" else self.feed_forward


def _rows(*paths: str, **options: bool) -> tuple[Rows, ...]:
    return tuple(Rows(path, **options) for path in paths)


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
    "deberta-v2": Anatomy(
        layers="encoder.layer",
        attention=GroupPaths(
            rows=(
                *_rows("attention.self.query_proj", in_scores=True),
                *_rows("attention.self.key_proj", "attention.self.value_proj"),
                # Where the projections of the tokens do not serve the relative positions too.
                *_rows("attention.self.pos_query_proj", in_scores=True, optional=True),
                *_rows("attention.self.pos_key_proj", optional=True),
            ),
            column="attention.output.dense",
            # A position meets a token in every product, so that masking the token's side is enough.
            gate="token_outputs",
        ),
        feed_forward=_BERT.feed_forward,
        head_holder="attention.self",
        attributes=_BERT.attributes,
    ),
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
        bias_switches=("attention_bias", "mlp_bias", "norm_bias"),
    ),
    "mpnet": Anatomy(
        layers="encoder.layer",
        attention=GroupPaths(
            rows=(*_rows("attention.attn.q", in_scores=True), *_rows("attention.attn.k", "attention.attn.v")),
            column="attention.attn.o",
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
            rows=_rows("attention.q_proj", "attention.k_proj", "attention.v_proj"),
            column="attention.o_proj",
            gate="outputs",
        ),
        feed_forward=GroupPaths(rows=_rows("mlp.fc1"), column="mlp.fc2", gate="input"),
        head_holder="attention",
        attributes={"num_attention_heads": "heads", "head_dim": "size"},
    ),
}

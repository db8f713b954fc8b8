"""What a model costs: parameters, multiply-accumulates, bytes. Counted on the real model, not predicted."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from sensibert.models.anatomy import layers_of, prunable_modules
from sensibert.models.slim import dense_config
from sensibert.results import Cost


def measure_cost(model: PreTrainedModel, folder: Path, *, trainable: int, tokens: int) -> Cost:
    """Everything the tables say about the size of a saved model.

    Args:
        model: A dense or slim model.
        folder: Where it is saved.
        trainable: Parameters that were trained.
        tokens: Length of the text whose MACs are counted.
    """
    prunable = prunable_parameters(model)
    return Cost(
        prunable_parameters=prunable,
        prunable_kept=prunable / prunable_parameters(dense_skeleton(model)),
        encoder_parameters=count(layers_of(model)),
        total_parameters=count(model),
        trainable_parameters=trainable,
        macs=macs(model, tokens),
        tokens=tokens,
        model_bytes=sum(file.stat().st_size for file in folder.glob("*.safetensors")),
    )


def count(module: nn.Module) -> int:
    """Number of parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def prunable_parameters(model: PreTrainedModel) -> int:
    """Parameters in the dimensions that a mask can remove."""
    return sum(module.cost * module.shape.dimensions for module in prunable_modules(model).values())


def dense_skeleton(model: PreTrainedModel) -> PreTrainedModel:
    """The dense model of a slim one, without memory or values: what its config would build without a mask."""
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(dense_config(model))


def macs(model: PreTrainedModel, tokens: int) -> int:
    """Multiply-accumulates of the matrix products of one forward pass over one text of `tokens` tokens."""
    ids = torch.ones((1, tokens), dtype=torch.long, device=model.device)
    counter = FlopCounterMode(display=False)
    # The counter does not know every fused attention kernel; unfused, attention is two plain matrix products.
    with sdpa_kernel(SDPBackend.MATH), counter, torch.no_grad():
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return counter.get_total_flops() // 2

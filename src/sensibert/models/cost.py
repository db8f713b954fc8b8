"""The size of a model: parameters, multiply-accumulates, bytes. Counted on the real model, not predicted."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from sensibert.models.anatomy import PrunableModule, layers_of, prunable_modules
from sensibert.models.mask import UnitCosts
from sensibert.models.slim import dense_config
from sensibert.results import ModelSize


def measure_size(model: PreTrainedModel, folder: Path, tokens: int) -> ModelSize:
    """Everything the tables say about the size of a saved model.

    Args:
        model: A dense or slim model.
        folder: Where it is saved.
        tokens: Length of the text whose MACs are counted.
    """
    prunable = prunable_parameters(model)
    return ModelSize(
        prunable_parameters=prunable,
        prunable_kept=prunable / prunable_parameters(dense_skeleton(model)),
        encoder_parameters=count(layers_of(model)),
        total_parameters=count(model),
        macs=macs(model, tokens),
        tokens=tokens,
        model_bytes=weights_bytes(folder),
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
        return type(model)(dense_config(model))


def macs(model: PreTrainedModel, tokens: int) -> int:
    """Multiply-accumulates of the matrix products of a forward pass over one text of that many tokens, or one image."""
    return _count_flops(model, tokens).get_total_flops() // 2


def unit_costs(model: PreTrainedModel, tokens: int) -> dict[str, UnitCosts]:
    """What a dimension costs in every unit but parameters (`anatomy.costs_of`): all that a budget needs."""
    return {"macs": macs_costs(model, tokens), "size": size_costs(model)}


def macs_costs(model: PreTrainedModel, tokens: int) -> UnitCosts:
    """What `macs` counts, by dimension: a slim model needs exactly that much less for each missing dimension.

    A matrix product of a layer is proportional either to the dimensions of its feed-forward module or, as the
    projections and the two products of attention all are, to those of its attention module.
    """
    counter = _count_flops(model, tokens)
    paths = {module: path for path, module in model.named_modules(prefix=type(model).__name__)}
    counts = {path: sum(flops.values()) // 2 for path, flops in counter.get_flop_counts().items()}
    modules = prunable_modules(model)

    def of_module(module: PrunableModule) -> int:
        if module.key.group == "attention":
            return counts[paths[module.layer]] - of_module(modules[module.key._replace(group="feed_forward")])
        return sum(counts[paths[linear]] for linear in module.linears)

    per_dimension = {key: of_module(module) // max(1, module.shape.dimensions) for key, module in modules.items()}
    return UnitCosts(per_dimension, counter.get_total_flops() // 2)


def size_costs(model: PreTrainedModel) -> UnitCosts:
    """Bytes of the weights file, by dimension.

    A slim model's file is smaller by at least that much for each missing dimension: the sizes in its header can
    have fewer digits, never more.
    """
    per_dimension = {
        key: module.cost * module.output_projection.weight.element_size()
        for key, module in prunable_modules(model).items()
    }
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return UnitCosts(per_dimension, weights_bytes(Path(folder)))


def weights_bytes(folder: Path) -> int:
    """Size of the weights of a saved model."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _count_flops(model: PreTrainedModel, tokens: int) -> FlopCounterMode:
    inputs = {name: values.to(model.device) for name, values in _one_input(model, tokens).items()}
    counter = FlopCounterMode(display=False)
    # The counter does not know every fused attention kernel; unfused, attention is two plain matrix products.
    # Without a graph it would fail at modules whose input is a view of a parameter (relative positions).
    with sdpa_kernel(SDPBackend.MATH), counter, torch.enable_grad():
        model(**inputs)
    return counter


def _one_input(model: PreTrainedModel, tokens: int) -> dict[str, torch.Tensor]:
    if model.main_input_name == "pixel_values":
        size = model.config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return {"pixel_values": torch.zeros(1, model.config.num_channels, height, width)}
    ids = torch.ones((1, tokens), dtype=torch.long)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

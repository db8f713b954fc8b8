"""The empirical Fisher information of the masks of heads and filters (arXiv 2204.09656, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from sensibert.compute.hardware import autocast
from sensibert.config.settings import Precision
from sensibert.models.anatomy import prunable_modules
from sensibert.models.gates import output_projections_gated
from sensibert.models.mask import ModuleKey
from sensibert.pruning.kwon.units import Units, unit_count, unit_size


def collect_gradients(
    model: PreTrainedModel, batches: Iterable[Mapping[str, Tensor]], precision: Precision = "fp32"
) -> Units:
    """Gradients of each example's own loss with respect to the masks, at 1: for each module [examples, units].

    Both approximations of the Fisher information, `diagonal` and `block`, are computed from them.

    Args:
        model: In evaluation mode; neither it nor its gradients change.
        batches: With labels, on the model's device.
        precision: Number format of the matrix products.
    """
    found: dict[ModuleKey, list[np.ndarray]] = {key: [] for key in prunable_modules(model)}
    for batch in tqdm(batches, desc="Fisher information", mininterval=1):
        for key, gradients in unit_gradients(model, batch, precision).items():
            found[key].append(gradients.float().cpu().numpy())
    return {key: np.concatenate(parts) for key, parts in found.items()}


def unit_gradients(
    model: PreTrainedModel, batch: Mapping[str, Tensor], precision: Precision = "fp32"
) -> dict[ModuleKey, Tensor]:
    """The gradients of one batch, for each module [batch, units].

    The mask of a head multiplies what the head gives to the output projection. Every example gets its own
    copy of the masks, so one backward pass gives the gradients of all examples; the loss is a batch mean,
    so they are scaled by the batch size.
    """
    size = batch["labels"].shape[0]
    modules = prunable_modules(model)
    masks = {
        key: torch.ones(size, unit_count(module), device=model.device, requires_grad=True)
        for key, module in modules.items()
    }
    gates = {key: mask.repeat_interleave(unit_size(modules[key]), dim=1).unsqueeze(1) for key, mask in masks.items()}
    with output_projections_gated(model, gates), autocast(precision, model.device):
        loss = model(**batch).loss
    gradients = torch.autograd.grad(loss, list(masks.values()))
    return {key: gradient * size for key, gradient in zip(masks, gradients, strict=True)}


def diagonal(gradients: np.ndarray) -> np.ndarray:
    """The diagonal of the information of one module [units]: the sum over the examples of g² (equation 7)."""
    return np.square(gradients, dtype=np.float64).sum(axis=0)


def block(gradients: np.ndarray) -> np.ndarray:
    """The information of one module [units, units]: the sum over the examples of g gᵀ."""
    exact = gradients.astype(np.float64)
    return exact.T @ exact

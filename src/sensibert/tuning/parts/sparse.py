"""Unstructured tuning: single entries of a weight matrix train, and only they are stored and updated."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sensibert.models.anatomy import Linear


class SparseUpdate(nn.Module):
    """Adds trained values to some entries of a weight."""

    indices: Tensor

    def __init__(self, indices: Tensor) -> None:
        """Start with an update of zero at the entries `indices` [entries] of the flattened weight."""
        super().__init__()
        self.register_buffer("indices", indices)
        self.values = nn.Parameter(torch.zeros(len(indices), device=indices.device))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with the update."""
        return weight.flatten().index_add(0, self.indices, self.values).view_as(weight)


def add_sparse_updates(linears: Mapping[Linear, Tensor]) -> set[nn.Parameter]:
    """Let the given entries [entries] of the flattened weights train, in place.

    Returns:
        The parameters that train.
    """
    trained = set()
    for linear, indices in linears.items():
        update = SparseUpdate(indices.to(linear.weight.device))
        parametrize.register_parametrization(linear, "weight", update)
        trained.add(update.values)
    return trained


def merge_sparse_updates(linears: Mapping[Linear, Tensor]) -> None:
    """Fold the updates into the weights."""
    for linear in linears:
        parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)

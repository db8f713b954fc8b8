"""Measured times of a model's modules on this machine, from which the latency of any mask is predicted.

A module that runs alone in a loop stays in the cache and looks faster than it is. So whole forward passes are timed
in which all layers have the same shape: one group varies, and the differences are the time its modules take.
"""

from __future__ import annotations

import copy
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
from torch import nn
from transformers import PreTrainedModel

from sensibert.compute.host import hardware
from sensibert.compute.timing import Run, interleaved_medians
from sensibert.deploy.bench import torch_candidate
from sensibert.errors import BackboneError
from sensibert.models.anatomy import GROUPS, anatomy_of, layers_of, prunable_modules
from sensibert.models.mask import Mask, Shape
from sensibert.models.slim import slim
from sensibert.scoring.budgets import LatencyTable, ModuleTimes
from sensibert.scoring.ranking import rounded

POINTS = 3
"""Number of sizes measured along each axis, besides the smallest."""


class _Layer(NamedTuple):
    """What every layer of a timed model keeps."""

    attention: Shape
    feed_forward: Shape


class _Axes(NamedTuple):
    """The measured sizes of a group, ascending."""

    heads: list[int]
    sizes: list[int]

    def at(self, part: float) -> Shape:
        """The shape at this fraction of both axes."""
        head, size = (int(part * (len(axis) - 1)) for axis in self)
        return Shape(self.heads[head], self.sizes[size])


def measure_table(
    model: PreTrainedModel, *, batch_size: int, tokens: int, round_to: int = 1, repeats: int = 15
) -> LatencyTable:
    """Time a model with smaller and smaller modules, with as many threads as PyTorch uses now.

    Args:
        model: A dense model; the values of its weights do not matter.
        batch_size: Texts per forward pass.
        tokens: Length of every text.
        round_to: The one of the masks to come (see `Ranking`): sizes that suit a processor are faster.
        repeats: Timed rounds. Each one times every shape; the median counts.

    Returns:
        Times from which the latency of a mask is predicted: the smallest and the dense model as they were measured,
        and between them times that never fall as a module grows.

    Raises:
        BackboneError: the layers of the model differ in shape.
    """
    axes = {group: _axes(model, group, round_to) for group in GROUPS}
    smallest, middle, dense = (_Layer(**{group: of.at(part) for group, of in axes.items()}) for part in (0, 0.5, 1))
    varied = {
        group: [[middle._replace(**{group: Shape(heads, size)}) for size in of.sizes] for heads in of.heads]
        for group, of in axes.items()
    }
    timed = {smallest, dense, *(layer for grid in varied.values() for row in grid for layer in row)}
    seconds = _time(model, sorted(timed), batch_size, tokens, repeats)
    added = {
        group: _growing(np.array([[seconds[layer] for layer in row] for row in grid])) for group, grid in varied.items()
    }
    # Each group was varied at a middle size of the other; together they must give the dense model.
    layers, least = len(layers_of(model)), min(seconds[smallest], seconds[dense])
    total = sum(float(times[-1, -1]) for times in added.values())
    scale = (seconds[dense] - least) / total / layers if total > 0 else 0.0
    modules = {
        group: ModuleTimes(tuple(of.heads), tuple(of.sizes), tuple(map(tuple, (scale * added[group]).tolist())))
        for group, of in axes.items()
    }
    about = {"architecture": model.config.model_type, "hardware": hardware(), "torch": version("torch")}
    return LatencyTable(batch_size, tokens, layers, least, modules, about)


def _axes(model: PreTrainedModel, group: str, round_to: int) -> _Axes:
    modules = [module for key, module in prunable_modules(model).items() if key.group == group]
    (shape, grain), *others = {(module.shape, module.grain) for module in modules}
    if others:
        raise BackboneError(f"the layers of this model differ in the shape of {group}: time the dense model instead")
    grain = rounded(grain, shape.size, round_to)
    return _Axes(_points(grain.heads, shape.heads), _points(grain.size, shape.size))


def _points(grain: int, largest: int) -> list[int]:
    """The grain, the largest size, and odd multiples of the grain spread about evenly between them.

    Odd ones, since round sizes are faster than most sizes that masks choose.
    """
    between = ((round(largest * part / POINTS / grain) | 1) * grain for part in range(1, POINTS))
    return sorted({grain, largest, *(size for size in between if size < largest)})


def _growing(seconds: np.ndarray) -> np.ndarray:
    """What each shape [heads, sizes] adds to the smallest one; noise cannot make a larger shape the faster one.

    The middle between the largest time so far and the smallest one to come: both grow too, but each is biased.
    """
    so_far = np.maximum.accumulate(np.maximum.accumulate(seconds, axis=0), axis=1)
    to_come = np.minimum.accumulate(np.minimum.accumulate(seconds[::-1, ::-1], axis=0), axis=1)[::-1, ::-1]
    middle = (so_far + to_come) / 2
    return middle - middle[0, 0]


def _time(
    model: PreTrainedModel, wanted: list[_Layer], batch_size: int, tokens: int, repeats: int
) -> dict[_Layer, float]:
    """Seconds of a forward pass of the model with each kind of layer."""
    host = copy.deepcopy(model).eval()
    slim_layers = {layer: _slim_layers(host, layer) for layer in wanted}  # only the layers of each slim model are kept
    run = torch_candidate("host", host).forward(batch_size, tokens)
    runs = {str(layer): _with_layers(host, layers, run) for layer, layers in slim_layers.items()}
    seconds = interleaved_medians(runs, repeats)
    return {layer: seconds[str(layer)] for layer in wanted}


def _slim_layers(model: PreTrainedModel, layer: _Layer) -> nn.ModuleList:
    keep, costs = {}, {}
    for key, module in prunable_modules(model).items():
        shape: Shape = getattr(layer, key.group)
        keep[key], costs[key] = np.zeros(module.shape, dtype=bool), module.cost
        keep[key][: shape.heads, : shape.size] = True
    return layers_of(slim(model, Mask(keep, costs)))


def _with_layers(host: PreTrainedModel, layers: nn.ModuleList, run: Run) -> Run:
    parent, _, name = anatomy_of(host).layers.rpartition(".")
    holder = host.base_model.get_submodule(parent)

    def run_with_layers() -> None:
        setattr(holder, name, layers)
        run()

    return run_with_layers

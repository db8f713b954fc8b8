"""Mask tuning: rescale the kept units so that each module gives what it gave before (arXiv 2204.09656, section 4.3).

With the modules rescaled one by one from the input on, the scale m of the kept units of a module minimises
‖A m - b‖² over the tokens of the sample: A holds what each unit of the pruned model adds to the output of the
output projection, after everything before it was pruned and rescaled, and b is the output of the dense model.
The scales are folded into the columns of the projection. The tokens that count are those whose output reaches the
logits: no padding, and in the last layer of most classifiers the first token alone.

A is never built. With x the inputs of the projection, W its weight and e = b - A 1 the error without rescaling,
AᵀA = xᵀx ∘ WᵀW and Aᵀe is the sum over the tokens of x ∘ eW, added up over the dimensions of each unit. The
system is solved for d = m - 1 with a small ridge, so that scales that the sample does not determine stay 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sensibert.compute.hardware import autocast
from sensibert.config.settings import Precision
from sensibert.models.anatomy import Linear, PrunableModule, layers_of, prunable_modules, weight_by_output
from sensibert.models.mask import ModuleKey
from sensibert.pruning.kwon.units import unit_count, unit_size

LARGEST_SCALE = 10.0
"""Scales beyond this, in either direction, are a sign of an ill-conditioned system (the authors' limit)."""

RIDGE = 0.1
"""Weight of ‖m - 1‖², as a part of the mean diagonal of AᵀA. With a sample of 256 texts it brought the logits of a
pruned MiniLM-L6 on dev texts closer to the dense model's than 0.001 did, and no further from them than 1 did."""


class Rescaling(NamedTuple):
    """What happened to one module."""

    scales: np.ndarray
    """Scales of the kept units; all 1 if rescaling was given up."""
    before: float
    """Squared error of the module's output without rescaling, as a fraction of the dense output's square."""
    after: float
    """The same with rescaling."""


@torch.no_grad()
def rescale(
    dense: PreTrainedModel,
    small: PreTrainedModel,
    batches: Sequence[Mapping[str, Tensor]],
    precision: Precision = "fp32",
) -> dict[ModuleKey, Rescaling]:
    """Rescale the output projections of a slim model, in place. Labels are ignored.

    A module keeps its weights if the best scales do not lower its error or one of them exceeds `LARGEST_SCALE`.

    Args:
        dense: The model that `small` was cut from, in evaluation mode.
        small: The slim model, in evaluation mode.
        batches: The sample, on the models' device.
        precision: Number format of the matrix products.
    """
    targets = prunable_modules(dense)
    pairs = [(_Run(dense, batch, precision), _Run(small, batch, precision)) for batch in batches]
    counting = [tokens_that_count(dense, batch, precision) for batch in batches]
    found = {}
    for key, module in tqdm(prunable_modules(small).items(), desc="rescaling", mininterval=1):
        system = _System.empty(module)
        for (reference, run), tokens in zip(pairs, counting, strict=True):
            _, wanted = reference.reach(targets[key].output_projection)
            inputs, output = run.reach(module.output_projection)
            system.add(module, *(values[tokens[key]].float() for values in (inputs, output, wanted)))
        found[key] = _solve(*system.by_unit(module))
        scales = np.repeat(found[key].scales, unit_size(module))
        scale_columns(module.output_projection, torch.from_numpy(scales).to(module.output_projection.weight))
        if key.group == "feed_forward":  # the last of its layer
            for run in (run for pair in pairs for run in pair):
                run.pass_layer()
    return found


def tokens_that_count(
    model: PreTrainedModel, batch: Mapping[str, Tensor], precision: Precision = "fp32"
) -> dict[ModuleKey, Tensor]:
    """Whether the output of a module for a token reaches the logits: for each module [batch, tokens]."""
    added: dict[ModuleKey, Tensor] = {}

    def add_zeros(key: ModuleKey, output: Tensor) -> Tensor:
        added[key] = torch.zeros_like(output, requires_grad=True)
        return output + added[key]

    with ExitStack() as hooks, torch.enable_grad(), autocast(precision, model.device):
        for key, module in prunable_modules(model).items():
            hook = module.output_projection.register_forward_hook(lambda _, __, output, key=key: add_zeros(key, output))
            hooks.callback(hook.remove)
        total = model(**without_labels(batch)).logits.sum()
    gradients = torch.autograd.grad(total, list(added.values()))
    return {key: (gradient != 0).any(dim=-1) for key, gradient in zip(added, gradients, strict=True)}


def without_labels(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a model needs to give logits."""
    return {name: values for name, values in batch.items() if name != "labels"}


def scale_columns(linear: Linear, scales: Tensor) -> None:
    """Multiply the columns of a projection, one per input, in place."""
    linear.weight.mul_(scales[:, None] if isinstance(linear, Conv1D) else scales)


class _System:
    """The normal equations of one module, by dimension."""

    def __init__(self, gram: Tensor, right: Tensor) -> None:
        self.gram = gram
        self.right = right
        self.error = 0.0
        self.square = 0.0

    @classmethod
    def empty(cls, module: PrunableModule) -> _System:
        zeros = module.output_projection.weight.new_zeros
        size = module.shape.dimensions
        return cls(zeros(size, size, dtype=torch.float64), zeros(size, dtype=torch.float64))

    def add(self, module: PrunableModule, inputs: Tensor, output: Tensor, wanted: Tensor) -> None:
        """Add tokens: the projection's inputs [tokens, dimensions], its output and the dense one [tokens, hidden]."""
        missing = wanted - output
        self.gram += inputs.T @ inputs
        self.right += (inputs * (missing @ weight_by_output(module.output_projection))).sum(dim=0)
        self.error += float(missing.square().sum())
        self.square += float(wanted.square().sum())

    def by_unit(self, module: PrunableModule) -> tuple[np.ndarray, np.ndarray, float, float]:
        """AᵀA [units, units], Aᵀe [units], the error and the square of the dense output."""
        units, size = unit_count(module), unit_size(module)
        weight = weight_by_output(module.output_projection).double()
        gram = (self.gram * (weight.T @ weight)).reshape(units, size, units, size).sum(dim=(1, 3))
        return gram.cpu().numpy(), self.right.reshape(units, size).sum(dim=1).cpu().numpy(), self.error, self.square


def _solve(gram: np.ndarray, right: np.ndarray, error: float, square: float) -> Rescaling:
    """The best scales, or 1 if they cannot be trusted."""
    units = len(right)
    ridge = RIDGE * np.trace(gram) / units or 1.0  # nothing reaches the output: any number will do
    change = np.linalg.solve(gram + ridge * np.eye(units), right)
    after = max(0.0, error - 2 * float(change @ right) + float(change @ gram @ change))
    scales = 1 + change
    if not (after < error and np.abs(scales).max() <= LARGEST_SCALE):
        scales, after = np.ones(units), error
    return Rescaling(scales, error / square, after / square)


class _Run:
    """A model on one batch, run layer by layer: only the current layer is computed, once per look."""

    def __init__(self, model: PreTrainedModel, batch: Mapping[str, Tensor], precision: Precision) -> None:
        self.model = model
        self.inputs = without_labels(batch)
        self.precision = precision
        self.passed = 0
        self.output: Any = None
        """Output of the last layer that was passed."""

    def reach(self, module: nn.Module) -> tuple[Tensor, Any]:
        """The first input and the output of a module of the current layer."""

        def stop(_: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
            raise _Reached(inputs[0], output)

        hook = module.register_forward_hook(stop)
        try:
            with (
                _replayed(layers_of(self.model)[: self.passed], self.output),
                autocast(self.precision, self.model.device),
            ):
                self.model(**self.inputs)
        except _Reached as reached:
            return reached.input, reached.output
        finally:
            hook.remove()
        raise AssertionError("the model does not run this module")

    def pass_layer(self) -> None:
        """Finish the current layer and move to the next one."""
        _, self.output = self.reach(layers_of(self.model)[self.passed])
        self.passed += 1


class _Reached(Exception):  # noqa: N818 (not an error: it ends a forward pass early)
    def __init__(self, inputs: Tensor, output: Any) -> None:
        self.input = inputs
        self.output = output


@contextmanager
def _replayed(layers: nn.ModuleList, output: Any) -> Iterator[None]:
    """Within the block, the layers compute nothing and return `output`."""
    for layer in layers:
        layer.forward = lambda *_, **__: output  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward

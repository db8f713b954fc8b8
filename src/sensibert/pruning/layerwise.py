"""Run a model layer by layer, beside another one: what a step needs that mends one module after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from sensibert.compute.hardware import autocast
from sensibert.config.settings import Precision
from sensibert.models.anatomy import PrunableModule, layers_of, prunable_modules
from sensibert.models.mask import ModuleKey


class Tokens(NamedTuple):
    """What a module does with the tokens of a batch whose output reaches the logits."""

    inputs: Tensor
    """What enters the slim model's output projection [tokens, dimensions]."""
    output: Tensor
    """What comes out of it [tokens, hidden size]."""
    wanted: Tensor
    """What comes out of the dense model's [tokens, hidden size]."""


@dataclass(frozen=True)
class Station:
    """A module of a slim model, everything before it being as it will stay."""

    key: ModuleKey
    module: PrunableModule
    """That of the slim model; to be changed in place."""
    runs: list[tuple[Run, Run]]
    """The dense and the slim model on each batch."""
    target: nn.Module
    """The dense model's output projection."""
    counting: list[dict[ModuleKey, Tensor]]

    def tokens(self) -> Iterator[Tokens]:
        """Batch after batch, computed when it is asked for."""
        for (dense, small), counting in zip(self.runs, self.counting, strict=True):
            _, wanted = dense.reach(self.target)
            inputs, output = small.reach(self.module.output_projection)
            yield Tokens(*(values[counting[self.key]].float() for values in (inputs, output, wanted)))


def stations(
    dense: PreTrainedModel,
    small: PreTrainedModel,
    batches: Sequence[Mapping[str, Tensor]],
    precision: Precision = "fp32",
    *,
    title: str,
) -> Iterator[Station]:
    """The modules of a slim model from the input on; one is to be changed before the next is asked for.

    Args:
        dense: The model that `small` was cut from, in evaluation mode.
        small: The slim model, in evaluation mode.
        batches: The sample, on the models' device; labels are ignored.
        precision: Number format of the matrix products.
        title: Of the progress bar.
    """
    targets = prunable_modules(dense)
    runs = [(Run(dense, batch, precision), Run(small, batch, precision)) for batch in batches]
    counting = [tokens_that_count(dense, batch, precision) for batch in batches]
    for key, module in tqdm(prunable_modules(small).items(), desc=title, mininterval=1):
        yield Station(key, module, runs, targets[key].output_projection, counting)
        if key.group == "feed_forward":  # the last of its layer
            for run in (run for pair in runs for run in pair):
                run.pass_layer()


class Run:
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

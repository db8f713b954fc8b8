"""Masks as hooks: multiply the dimensions of a running model by gates, without changing the model.

Used to learn masks, and as the reference that a slim model must match.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from sensibert.errors import MaskError
from sensibert.models.anatomy import PrunableModule, prunable_modules, weight_by_output
from sensibert.models.mask import Mask, ModuleKey, Modules


@contextmanager
def gated(model: PreTrainedModel, gates: Mapping[ModuleKey, Tensor]) -> Iterator[None]:
    """Within the block, the model runs with its dimensions multiplied by `gates`.

    Args:
        model: A model with an anatomy.
        gates: For each module a tensor that broadcasts against [batch, tokens, dimensions].
    """
    with ExitStack() as hooks:
        for key, module in prunable_modules(model).items():
            for handle in _attach(module, gates[key]):
                hooks.callback(handle.remove)
        yield


@contextmanager
def output_projections_gated(model: PreTrainedModel, gates: Mapping[ModuleKey, Tensor]) -> Iterator[None]:
    """Like `gated`, but every gate acts where the dimensions enter the output projection, in attention too.

    There a head's gate scales what the head adds to the hidden states and leaves its attention scores alone, so
    scaling the columns of the projection has the same effect.
    """
    with ExitStack() as hooks:
        for key, module in prunable_modules(model).items():
            hooks.callback(_scale_input(module.output_projection, gates[key]).remove)
        yield


@contextmanager
def masked(model: PreTrainedModel, mask: Mask) -> Iterator[None]:
    """Within the block, the dimensions that the mask drops are zero: the function of the slim model.

    Raises:
        MaskError: the mask was made for another model.
    """
    check_fit(model, mask)
    gates = {key: torch.from_numpy(keep.reshape(-1)).to(model.device) for key, keep in mask.keep.items()}
    with gated(model, gates):
        yield


@torch.no_grad()
def fold(model: PreTrainedModel, values: Modules) -> None:
    """Multiply masks into the weights, in place, so that the model computes without gates what it did with them.

    Where an architecture projects relative positions by the layers that project tokens (DeBERTa), its attention is
    left as it is: a gate acts on the tokens alone.
    """
    for key, module in prunable_modules(model).items():
        gate = torch.from_numpy(values[key].reshape(-1)).to(model.device)
        match module.paths.gate:
            case "input":
                weight_by_output(module.output_projection).mul_(gate)
            case "outputs":
                for projection, linear in module.input_projections.items():
                    of_rows = gate.repeat(projection.blocks)
                    weight_by_output(linear).mul_(of_rows[:, None])
                    if linear.bias is not None:
                        linear.bias.mul_(of_rows)


def check_fit(model: PreTrainedModel, mask: Mask) -> None:
    """Refuse a mask whose modules do not match those of the model, or that removes one which must stay."""
    modules = prunable_modules(model)
    expected = {key: tuple(module.shape) for key, module in modules.items()}
    found = {key: keep.shape for key, keep in mask.keep.items()}
    for key in sorted(expected.keys() | found.keys()):
        if expected.get(key) != found.get(key):
            raise MaskError(
                f"the mask does not fit the model: layer {key.layer}, {key.group}, has shape "
                f"{expected.get(key, 'none')} in the model and {found.get(key, 'none')} in the mask"
            )
        if not mask.keep[key].any() and not modules[key].removable:
            raise MaskError(f"layer {key.layer}: the mask leaves no dimension of {key.group}, which must keep one here")


def _scale_input(linear: nn.Module, gate: Tensor) -> RemovableHandle:
    def scale(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0] * gate.to(inputs[0].dtype), *inputs[1:])

    return linear.register_forward_pre_hook(scale)


def _attach(module: PrunableModule, gate: Tensor) -> list[RemovableHandle]:
    def scale_output(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        blocks = output.shape[-1] // gate.shape[-1]
        return output * gate.to(output.dtype).repeat(*[1] * (gate.dim() - 1), blocks)

    tokens: list[Tensor] = []

    def remember(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        tokens[:] = inputs[:1]

    def scale_tokens(linear: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return scale_output(linear, inputs, output) if inputs[0] is tokens[0] else output

    inputs = module.input_projections.values()
    match module.paths.gate:
        case "input":
            return [_scale_input(module.output_projection, gate)]
        case "outputs":
            return [linear.register_forward_hook(scale_output) for linear in inputs]
        case "token_outputs":
            assert module.head_holder is not None
            scaling = [linear.register_forward_hook(scale_tokens) for linear in inputs]
            return [module.head_holder.register_forward_pre_hook(remember), *scaling]

"""Dropout that costs little on a CPU.

PyTorch draws the noise of a CPU tensor one number at a time, which is up to a fifth of a training step of a small
model. Here one 64-bit draw decides over four elements: the probability is a multiple of 1/65536, and the noise
comes from PyTorch's own generator, so a seed and a checkpoint determine it as usual.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from sensibert.compute import processes

_ATTENTION = "sensibert_dropout"
_LEVELS = 1 << 16
_LEAST_WORD = -(1 << 63)
_VECTOR_BYTES = 64


def dropout(values: Tensor, probability: float) -> Tensor:
    """Zero each element of a tensor with a probability below 1 and scale the others to keep the mean.

    A process that has some rows of a batch (`processes.sharing`) draws the noise of all of them and takes its own.

    Args:
        values: Any shape, floating point; the rows of the batch first.
        probability: Rounded to a multiple of 1/65536.
    """
    dropped_levels = round(probability * _LEVELS)
    first, drawn = _place_in_batch(values)
    words = torch.empty(-(-drawn // 4), dtype=torch.int64, device=values.device).random_(_LEAST_WORD, None)
    levels = words.view(torch.int16)[first : first + values.numel()].view(values.shape)
    # Written as numbers right away: a tensor of booleans would be read and converted again.
    noise = torch.empty(values.shape, dtype=values.dtype, device=values.device)
    torch.ge(levels, dropped_levels - _LEVELS // 2, out=noise)
    return values * noise.mul_(_LEVELS / (_LEVELS - dropped_levels))


def _place_in_batch(values: Tensor) -> tuple[int, int]:
    """Where the elements of a tensor begin among those of the whole batch, and how many these are."""
    share = processes.current_share()
    # Rows may be split into heads; a matrix of another height is a table that all rows share, of DeBERTa's positions.
    if share is None or values.shape[0] % share.size or (values.dim() == 2 and values.shape[0] != share.size):
        return 0, values.numel()
    of_row = values.numel() // share.size
    return share.first * of_row, share.total * of_row


@contextmanager
def cheap_dropout(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, a model on the CPU uses `dropout` for its dropout, and so does one of several processes.

    Elsewhere nothing changes. The model keeps its class, its modules and its weights. Dropout of attention weights is
    included where the architecture lets its attention be replaced.
    """
    if model.device.type != "cpu" and processes.count() == 1:
        yield
        return
    attention = model.config._attn_implementation
    # A module that has a forward of its own is already in such a block.
    modules = [m for m in model.modules() if type(m) is nn.Dropout and 0 < m.p < 1 and "forward" not in vars(m)]
    for module in modules:
        module.forward = partial(_forward, module)  # type: ignore[method-assign]
    if attention == "sdpa":
        model.set_attn_implementation(_ATTENTION)
    try:
        yield
    finally:
        for module in modules:
            del module.forward
        if attention == "sdpa":
            model.set_attn_implementation(attention)


def _forward(module: nn.Dropout, values: Tensor) -> Tensor:
    return dropout(values, module.p) if module.training else values


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention as Transformers calls it: dropout by `_with_dropout`, everything else as `sdpa` does it."""
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    plain = query.shape == key.shape == value.shape and options.get("position_bias") is None
    if dropout == 0 or not plain or (causal and attention_mask is None):
        options |= {"dropout": dropout, "scaling": scaling, "is_causal": is_causal}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _with_dropout(query, key, value, attention_mask, dropout, scale).transpose(1, 2), None


def _with_dropout(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, probability: float, scale: float
) -> Tensor:
    """Attention of [batch, heads, tokens, head size]; the mask is true where a token is seen, or is added."""
    batch, heads, tokens, size = query.shape
    # Softmax falls back to one number at a time for rows shorter than a vector register: fill it with unseen tokens.
    unseen = max(0, _VECTOR_BYTES // query.element_size() - tokens)
    hidden = torch.finfo(query.dtype).min
    added = query.new_zeros((1, 1, tokens, tokens)) if mask is None else mask
    if added.dtype == torch.bool:
        added = query.new_zeros(added.shape).masked_fill_(~added, hidden)
    added = pad(added.expand(batch, -1, tokens, tokens), (0, unseen), value=hidden).expand(-1, heads, -1, -1)
    keys, values = (pad(tensor, (0, 0, 0, unseen)).flatten(0, 1) for tensor in (key, value))
    scores = torch.baddbmm(added.flatten(0, 1), query.flatten(0, 1), keys.transpose(1, 2), alpha=scale)
    return torch.bmm(dropout(scores.softmax(dim=-1), probability), values).view(batch, heads, tokens, size)


AttentionInterface.register(_ATTENTION, _attention)
AttentionMaskInterface.register(_ATTENTION, sdpa_mask)

"""The loss of a student that also learns from a teacher: from its answers (Hinton et al., arXiv 1503.02531), and from
its hidden states (TinyBERT, arXiv 1909.10351; CoFi, arXiv 2204.00408).

Pruning leaves the width of the hidden states as it is, so the layers match one to one, without a projection.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def distilled_loss(loss: Tensor, logits: Tensor, teacher_logits: Tensor, temperature: float, weight: float) -> Tensor:
    """Mix the loss on the labels with the distance to the teacher.

    Args:
        loss: The loss on the labels, a batch mean.
        logits: Those of the student [batch, classes]; [batch, 1] in a regression.
        teacher_logits: Those of the teacher, in the same shape.
        temperature: Softens both distributions; its square keeps the gradients' size. Unused in a regression.
        weight: Weight of the teacher; 0 gives the loss on the labels.
    """
    if logits.shape[-1] == 1:
        distance = functional.mse_loss(logits.float(), teacher_logits)
    else:
        student, teacher = ((values.float() / temperature).log_softmax(dim=-1) for values in (logits, teacher_logits))
        distance = temperature**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return (1 - weight) * loss + weight * distance


def hidden_distance(student: Sequence[Tensor], teacher: Sequence[Tensor], attention_mask: Tensor | None) -> Tensor:
    """Mean squared distance between two models' hidden states, over the layers, the real tokens and the width.

    Args:
        student: The hidden states after the embeddings and after each layer, [texts, tokens, width] each.
        teacher: The same of the teacher.
        attention_mask: 1 for real tokens, 0 for padding, [texts, tokens]; None if there is no padding.
    """
    real = slice(None) if attention_mask is None else attention_mask.bool()
    layers = [
        functional.mse_loss(ours[real].float(), theirs[real].float())
        for ours, theirs in zip(student[1:], teacher[1:], strict=True)
    ]
    return torch.stack(layers).mean()

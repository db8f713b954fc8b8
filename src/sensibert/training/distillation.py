"""The loss of a student that also learns from a teacher (Hinton et al., arXiv 1503.02531)."""

from __future__ import annotations

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

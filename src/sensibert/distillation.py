"""The loss of a student that also learns from a teacher's answers (Hinton et al., arXiv 1503.02531)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def distilled_loss(loss: Tensor, logits: Tensor, answers: Tensor, temperature: float, weight: float) -> Tensor:
    """Mix the loss on the labels with the distance to the teacher.

    Args:
        loss: On the labels, a batch mean.
        logits: Of the student [batch, classes]; [batch, 1] in a regression.
        answers: Logits of the teacher, of the same shape.
        temperature: Softens both distributions; its square keeps the gradients' size. Of no use in a regression.
        weight: Of the teacher; 0 gives the loss on the labels.
    """
    if logits.shape[-1] == 1:
        distance = functional.mse_loss(logits.float(), answers)
    else:
        student, teacher = ((values.float() / temperature).log_softmax(dim=-1) for values in (logits, answers))
        distance = temperature**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return (1 - weight) * loss + weight * distance

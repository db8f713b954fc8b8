"""Full fine-tuning: every parameter trains."""

from __future__ import annotations

from transformers import PreTrainedModel


def trains(model: PreTrainedModel) -> set[str]:
    """The names of all parameters."""
    return {name for name, _ in model.named_parameters()}

"""BitFit read literally: the bias terms train and nothing else, so the classifier's weight stays random."""

from __future__ import annotations

from transformers import PreTrainedModel


def trains(model: PreTrainedModel) -> set[str]:
    """The names of all biases, those of the layer norms, the pooler and the classifier included."""
    return {name for name, _ in model.named_parameters() if name.rsplit(".", 1)[-1] == "bias"}

"""The bias terms of a model, for the variants of BitFit (arXiv 2106.10199)."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.errors import TuningError
from sensibert.models.anatomy import is_classifier, prunable_modules
from sensibert.training.attach import Attached, set_trainable_params


def train_biases(model: PreTrainedModel, names: set[str]) -> Attached:
    """Let the named parameters train.

    Raises:
        TuningError: no bias of the encoder is among them.
    """
    if not any(name.endswith("bias") and not is_classifier(model, name) for name in names):
        raise TuningError(f"BitFit trains biases, and the encoder {model.config.model_type!r} of this config has none")
    set_trainable_params(model, names)
    return Attached()


def all_biases(model: PreTrainedModel) -> set[str]:
    """The names of all biases, those of the norms, the pooler and the classifier included."""
    return {name for name, _ in model.named_parameters() if name.rsplit(".", 1)[-1] == "bias"}


def query_and_mlp_biases(model: PreTrainedModel) -> set[str]:
    """The names of the biases of the queries and of the first feed-forward layers (section 4 of the paper)."""
    # A layer that computes query, key and value (or gate and value) at once has one bias for them.
    first = [next(iter(module.input_projections.values())) for module in prunable_modules(model).values()]
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[linear.bias] for linear in first if linear.bias is not None}

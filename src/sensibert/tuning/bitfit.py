"""BitFit (arXiv 2106.10199): the bias terms train, and the new classifier.

Two subsets of the biases: all of them, or those of the query and of the first feed-forward layer (the paper's
section 4). Two readings of the classifier: the usual one trains its weight, the literal one leaves it random.
"""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.errors import TuningError
from sensibert.models.anatomy import is_classifier, prunable_modules
from sensibert.tuning.base import Attached, Context, classifier_parameters, train_only


def attach(model: PreTrainedModel, context: Context) -> Attached:
    """Let all biases and the classifier's weight train."""
    return _train(model, _all_biases(model) | classifier_parameters(model))


def attach_with_frozen_classifier(model: PreTrainedModel, context: Context) -> Attached:
    """Let all biases train, those of the norms, the pooler and the classifier included."""
    return _train(model, _all_biases(model))


def attach_query_mlp(model: PreTrainedModel, context: Context) -> Attached:
    """Let the biases of the queries and the first feed-forward layers train, and the classifier."""
    return _train(model, _query_and_mlp_biases(model) | classifier_parameters(model))


def attach_query_mlp_with_frozen_classifier(model: PreTrainedModel, context: Context) -> Attached:
    """Let the biases of the queries, the first feed-forward layers and the classifier train."""
    of_classifier = {name for name in _all_biases(model) if is_classifier(model, name)}
    return _train(model, _query_and_mlp_biases(model) | of_classifier)


def _train(model: PreTrainedModel, names: set[str]) -> Attached:
    if not any(name.endswith("bias") and not is_classifier(model, name) for name in names):
        raise TuningError(f"BitFit trains biases, and the encoder {model.config.model_type!r} of this config has none")
    train_only(model, names)
    return Attached()


def _all_biases(model: PreTrainedModel) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.rsplit(".", 1)[-1] == "bias"}


def _query_and_mlp_biases(model: PreTrainedModel) -> set[str]:
    # A layer that computes query, key and value (or gate and value) at once has one bias for them.
    first = [next(iter(module.rows.values())) for module in prunable_modules(model).values()]
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[linear.bias] for linear in first if linear.bias is not None}

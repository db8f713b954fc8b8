"""The head that the backbone was trained for: what a new classifier sees of a text, and why.

A pooler that was never trained is a random projection, and a method that freezes it measures that projection. Sentence
encoders are trained for the mean over the tokens, and say so in their folder.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils.hub import cached_file

from sensibert.config.settings import Pooling
from sensibert.errors import ArtifactError
from sensibert.io import read_json
from sensibert.models.modeling_slim import has_own_head, replace_head
from sensibert.models.slim import become_slim

_POOLING_FILE = "1_Pooling/config.json"
_MODES: dict[str, Literal["cls", "mean"]] = {"mean": "mean", "cls": "cls"}
"""What sentence-transformers calls them, in the field `pooling_mode`."""
_FLAGS: dict[str, Literal["cls", "mean"]] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
"""The same before its version 5.5: a field for each."""


@dataclass(frozen=True)
class HeadPooling:
    """What the classifier sees of a text."""

    kind: Literal["pooler", "cls", "mean"]
    """`pooler` is the stock head of the architecture."""
    reason: str
    """For people."""


def choose_pooling(
    wish: Pooling, model: PreTrainedModel, backbone: str | None, missing: Collection[str]
) -> HeadPooling:
    """The pooling of a loaded backbone whose classifier is new.

    Args:
        wish: `auto` takes what the backbone was trained for.
        model: The backbone with its stock head, or with the one that its config names.
        backbone: Its folder or hub id; None if it has neither.
        missing: Names of the parameters that the backbone's files lack.
    """
    if wish != "auto":
        return HeadPooling(wish, "asked for")
    if has_own_head(model.config):
        return HeadPooling(model.config.head_pooling["kind"], "the backbone's config names it")
    if (mode := _sentence_mode(backbone)) is not None:
        return HeadPooling(mode, f"the backbone's {_POOLING_FILE} names it")
    if any(".pooler." in name for name in missing):
        return HeadPooling("mean", "the backbone's files hold no pooler")
    if _is_untrained(model):
        return HeadPooling("mean", "the backbone's pooler was never trained: its bias is exactly 0")
    return HeadPooling("pooler", "the stock head of the architecture")


def give_head(model: PreTrainedModel, pooling: HeadPooling, seed: int) -> None:
    """Give a model, in place, a new classifier on what the pooling makes of its hidden states.

    The stock head is left as it is. The config records the pooling and the reason for it.
    """
    model.config.head_pooling = asdict(pooling)
    if pooling.kind == "pooler":
        return
    become_slim(model)
    replace_head(model)
    classifier = model.get_submodule("classifier")
    assert isinstance(classifier, nn.Linear)
    torch.manual_seed(seed)
    nn.init.normal_(classifier.weight, std=getattr(model.config, "initializer_range", 0.02))
    nn.init.zeros_(classifier.bias)


def _sentence_mode(backbone: str | None) -> Literal["cls", "mean"] | None:
    """The pooling that a folder of sentence-transformers, or one on the hub, was trained for."""
    if backbone is None:
        return None
    folder = Path(backbone)
    file = folder / _POOLING_FILE if folder.is_dir() else _on_hub(backbone)
    if file is None or not file.is_file():
        return None
    try:
        content = read_json(file)
    except ArtifactError:
        return None
    if not isinstance(content, dict):
        return None
    if isinstance(mode := content.get("pooling_mode"), str):
        return _MODES.get(mode)
    return next((kind for name, kind in _FLAGS.items() if content.get(name) is True), None)


def _on_hub(backbone: str) -> Path | None:
    try:
        file = cached_file(backbone, _POOLING_FILE, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError):  # no such name, or no connection
        return None
    return Path(file) if file else None


def _is_untrained(model: PreTrainedModel) -> bool:
    """Whether the encoder has a pooler as it was initialized; training moves a bias off 0."""
    pooler = getattr(model.base_model, "pooler", None)
    bias = getattr(getattr(pooler, "dense", None), "bias", None)
    return bias is not None and not bool(bias.detach().any())

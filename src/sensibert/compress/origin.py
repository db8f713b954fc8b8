"""What a model was made of, as its card names it on the hub: the backbone, its licence and languages, the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from yaml import YAMLError

from sensibert.models.loading import MINILM, TINY, source_of
from sensibert.report.evidence import Origin

_CARD = "README.md"
_MINILM_ID = "sentence-transformers/all-MiniLM-L6-v2"
"""What comes with a package under another name."""


def origin_of(backbone: str, data_source: str) -> Origin:
    """What the card of a backbone says, if it has one.

    Args:
        backbone: As `ModelParams` names it.
        data_source: The source of the rows, as `Audit` names it.
    """
    said = _metadata(_card_of(backbone))
    given, languages = said.get("license"), said.get("language")
    return Origin(
        base_model=_hub_id(backbone),
        license=given if isinstance(given, str) else None,
        languages=[one for one in (languages if isinstance(languages, list) else [languages]) if isinstance(one, str)],
        dataset=None if data_source == "files" else data_source.partition("@")[0].partition(":")[0],
    )


def _hub_id(backbone: str) -> str | None:
    if backbone == MINILM:
        return _MINILM_ID
    return None if backbone == TINY or Path(backbone).exists() else backbone


def _metadata(card: Path | None) -> dict[str, Any]:
    """What a card says about its model; nothing if it cannot be read: whatever a folder holds, it is no must."""
    if card is None:
        return {}
    try:
        return ModelCard.load(card, ignore_metadata_errors=True).data.to_dict()
    except (YAMLError, ValueError, TypeError, OSError):
        return {}


def _card_of(backbone: str) -> Path | None:
    """The card beside the weights: in their folder, or on the hub they came from."""
    if backbone == TINY:
        return None
    source = source_of(backbone)
    if source.is_dir():
        return source / _CARD if (source / _CARD).is_file() else None
    try:
        return Path(hf_hub_download(backbone, _CARD))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError):
        return None

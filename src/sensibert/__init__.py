"""Sensitivity-driven pruning and tuning of Transformer encoders (Sensi-BERT, arXiv 2307.11764).

The functions named in `API` are the flow, in its order:

    read_task -> score -> mask_for -> slim -> fine_tune -> evaluate -> export_onnx

`compress_model` runs it from end to end. Importing the package also lets the Auto classes of Transformers load slim
models.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sensibert.models.registration import register_with_transformers

__version__ = "0.1.0"

API = {
    "read_task": "sensibert.sources.files",
    "Subject": "sensibert.models.subject",
    "load_backbone": "sensibert.models.backbones",
    "load_model": "sensibert.models.backbones",
    "load_tokenizer": "sensibert.models.backbones",
    "encode": "sensibert.data.encoding",
    "score": "sensibert.scoring.scoring_pass",
    "mask_for": "sensibert.scoring.budgets",
    "slim": "sensibert.models.slim",
    "fine_tune": "sensibert.training.fine_tune",
    "train_cell": "sensibert.training.cell",
    "save_model": "sensibert.training.cell",
    "evaluate": "sensibert.evaluation.evaluate",
    "trim_vocabulary": "sensibert.deploy.vocabulary",
    "export_onnx": "sensibert.deploy.onnx.export",
    "compress_model": "sensibert.compress",
    "Recipe": "sensibert.compress",
    "MethodParams": "sensibert.config.method_settings",
    "ModelParams": "sensibert.config.settings",
    "ScoringParams": "sensibert.config.settings",
    "TrainingParams": "sensibert.config.settings",
}
"""Public name -> the module it is in, which is imported when the name is first used."""

__all__ = [*API, "__version__"]

register_with_transformers()


def __getattr__(name: str) -> Any:
    if name not in API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(API[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *API])

"""Which run a result or a work folder belongs to: a hash of everything that shapes it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from sensibert.compress.recipe import Recipe
from sensibert.data.encoding import hash_rows
from sensibert.io import hash_file
from sensibert.models.mask import Mask
from sensibert.scoring.files import ScoreFile


def run_of(
    recipe: Recipe, dataset: DatasetDict, scores: ScoreFile | None = None, mask: Mask | None = None, **more: Any
) -> str:
    """Identity of a run, hexadecimal: its recipe, its data, what the classes are called, the files of its backbone, and
    what it was given.

    Args:
        recipe: What to do.
        dataset: The rows.
        scores: Given, instead of a pass.
        mask: Given, instead of a budget.
        more: Whatever else shapes it, ready for JSON.
    """
    backbone = Path(recipe.model.backbone)
    given = [scores.of(recipe.criterion) if scores else {}, mask.keep if mask else {}]
    from_elsewhere = [{str(key): values.tolist() for key, values in modules.items()} for modules in given]
    classes = getattr(dataset["train"].features["label"], "names", [])
    read = [data_hash(dataset), classes, _files_hash(backbone) if backbone.is_dir() else "", from_elsewhere]
    run = json.dumps([recipe.model_dump(mode="json"), read, *([more] if more else [])], sort_keys=True)
    return hashlib.sha256(run.encode()).hexdigest()


def _files_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode())
        digest.update(bytes.fromhex(hash_file(path)))
    return digest.hexdigest()


def data_hash(dataset: DatasetDict) -> str:
    """The sha256 over all rows of all splits, hexadecimal."""
    digest = hashlib.sha256()
    for split in sorted(dataset):
        digest.update(f"{split} {hash_rows(dataset[split])}".encode())
    return digest.hexdigest()

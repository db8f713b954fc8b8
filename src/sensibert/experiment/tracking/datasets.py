"""The data of a task as an input of runs, known by the hash that DVC gives it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from sensibert.config.paths import Paths
from sensibert.io import files_below

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

_CONTEXT = "mlflow.data.context"


def input_of(paths: Paths, task: str) -> DatasetInput | None:
    """The normalized data of a task as MLflow knows data sets; None if they are not there.

    The digest is the one in dvc.lock. Schema and rows are those of the training split.
    """
    folder = paths.raw(task)
    if not (folder / "train.parquet").exists():
        return None
    import pandas as pd
    from mlflow.data.pandas_dataset import from_pandas
    from mlflow.entities import Dataset, DatasetInput, InputTag

    rows = pd.read_parquet(folder / "train.parquet")
    source = folder.relative_to(paths.root).as_posix()
    dataset = from_pandas(rows, source=source, name=task, digest=dvc_hash(folder))
    return DatasetInput(Dataset(**dataset.to_dict()), [InputTag(_CONTEXT, "training")])


def dvc_hash(folder: Path) -> str:
    """The hash that DVC gives a folder: of the sorted list of its files with the hash of each."""
    listing = [{"md5": _md5((folder / name).read_bytes()), "relpath": name} for name in files_below(folder)]
    return f"{_md5(json.dumps(listing, sort_keys=True).encode())}.dir"


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()

"""Data of real size: a large file of a user, and GLUE and IMDB where they lie beside the repository."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from sensibert.config.settings import DataParams
from sensibert.data.tasks import TASKS
from sensibert.sources.files import read_task
from sensibert.sources.prepare import Carving, prepare, prepare_splits
from sensibert.sources.public import RawSplit, read_local

REAL_DATA = Path(__file__).parents[3] / "shared"
REAL_GLUE = REAL_DATA / "glue"
REAL_TASKS = ["sst2", "mrpc", "rte", "cola"]


def texts_of(rows):
    """What makes two rows of the normalized data the same text."""
    columns = [column for column in ("text", "text_pair") if column in rows.column_names]
    return {
        tuple(sorted(" ".join(text.casefold().split()) for text in texts))
        for texts in zip(*(rows[column] for column in columns), strict=True)
    }


def assert_no_shared_text(dataset):
    texts = {split: texts_of(rows) for split, rows in dataset.items()}
    assert not texts["train"] & texts["dev"]
    for split in texts.keys() - {"train", "dev"}:
        assert not texts[split] & (texts["train"] | texts["dev"])


def test_a_large_file_takes_seconds(tmp_path):
    rows = [
        {"review": f"review number {number} of a film", "stars": ("good", "bad")[number % 2]}
        for number in range(100_000)
    ]
    path = tmp_path / "large.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    started = time.monotonic()
    _, dataset, _ = read_task(str(path), text="review", label="stars", dev_fraction=0.1)
    assert len(dataset["validation"]) == 20_000
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("name", REAL_TASKS)
def test_real_glue_does_not_leak(name):
    if not (REAL_GLUE / name).is_dir():
        pytest.skip(f"real GLUE data is not at {REAL_GLUE.parent.name}/{REAL_GLUE.name}/{name}")
    dataset, audit = prepare(TASKS[name], DataParams(source="local", directory=REAL_GLUE))
    assert_no_shared_text(dataset)
    train = audit.splits["train"]
    assert train.read == len(Dataset.from_parquet(str(REAL_GLUE / name / "train.parquet"), keep_in_memory=True))
    share = {split: np.mean(rows["label"]) for split, rows in dataset.items()}
    # Sentences are a little more often negative than the phrases of them.
    assert share["dev"] == pytest.approx(share["train"], abs=0.05 if TASKS[name].trains_on_phrases else 0.005)


def test_the_dev_split_of_sst2_looks_like_its_validation_split():
    if not (REAL_GLUE / "sst2").is_dir():
        pytest.skip(f"real GLUE data is not at {REAL_GLUE.parent.name}/{REAL_GLUE.name}/sst2")
    dataset, _ = prepare(TASKS["sst2"], DataParams(source="local", directory=REAL_GLUE, max_dev=500))
    words = {split: np.mean([len(text.split()) for text in rows["text"]]) for split, rows in dataset.items()}
    assert words["dev"] == pytest.approx(words["validation"], abs=1)
    assert words["train"] < 0.6 * words["validation"]


def test_real_imdb_is_found_beside_glue_and_does_not_leak():
    if not (REAL_DATA / "imdb").is_dir():
        pytest.skip(f"real IMDB data is not at {REAL_DATA.name}/imdb")
    task = TASKS["imdb"]
    raw = read_local(task, REAL_DATA)
    rows = {split: pd.concat(part.parts) for split, part in raw.items()}
    assert {split: len(found) for split, found in rows.items()} == {"train": 25_000, "test": 25_000}
    some = {split: RawSplit([found.iloc[::50]]) for split, found in rows.items()}
    dataset, audit = prepare_splits(task, some, "local", Carving())
    assert_no_shared_text(dataset)
    assert audit.splits["test"].labels == {"neg": 250, "pos": 250}
    assert np.mean(dataset["train"]["label"]) == pytest.approx(0.5, abs=0.01)

"""The embedded data set on the packages that are really installed."""

import importlib.util
import os
import subprocess
import sys

import pytest

from sensibert.data.tasks import TASKS
from sensibert.sources import pydocs

TASK_NAMES = ("docs_origin", "docs_match")

installed = pytest.mark.skipif(
    any(importlib.util.find_spec(name.replace("scikit-learn", "sklearn")) is None for name in pydocs.PACKAGES),
    reason="not all packages of the embedded data set are installed",
)


@pytest.fixture(scope="module")
def real():
    return {task_name: pydocs.read(task_name) for task_name in TASK_NAMES}


@installed
def test_locating_imports_nothing():
    code = (
        "import sys; from sensibert.sources import pydocs; [pydocs.locate(name) for name in pydocs.PACKAGES];"
        "assert not {'torch', 'transformers', 'mlflow', 'sqlalchemy', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@installed
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_installed_packages_give_all_labels_in_sensible_numbers(real, task_name):
    splits = real[task_name]
    assert list(splits) == ["train", "validation"]
    assert 15_000 < len(splits["train"]) < 30_000
    assert 1_500 < len(splits["validation"]) < 3_000
    for frame in splits.values():
        assert list(frame.columns) == [*TASKS[task_name].text_columns, "label"]
        assert frame["label"].dtype == "int64"
        assert not frame.isna().any(axis=None)
        counts = frame["label"].value_counts()
        assert set(counts.index) == set(range(len(TASKS[task_name].label_names)))
        assert counts.min() > 0.5 * counts.max()


@installed
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_no_name_of_a_package_is_left(real, task_name):
    names = (*pydocs.PACKAGES, "sklearn", "hugging face", "huggingface", "scikit learn")
    for frame in real[task_name].values():
        for column in TASKS[task_name].text_columns:
            text = frame[column].str.lower()
            assert not any(text.str.contains(name, regex=False).any() for name in names)
            assert not text.str.contains(r"\b(?:plt|pd)\b").any()


@installed
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_sentences_are_english_of_a_usual_length(real, task_name):
    for frame in real[task_name].values():
        lengths = frame["sentence"].str.split().str.len()
        assert lengths.between(4, 40).all()
        assert 8 < lengths.mean() < 14
        assert frame["sentence"].map(str.isascii).all()


@installed
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_the_splits_share_no_sentence_and_no_near_copy(real, task_name):
    prints = [set(frame["sentence"].map(pydocs.fingerprint)) for frame in real[task_name].values()]
    assert prints[0].isdisjoint(prints[1])


@installed
def test_neither_sentence_nor_function_gives_the_label_away(real):
    for frame in real["docs_match"].values():
        for column in ("sentence", "function"):
            assert (frame.groupby(column)["label"].agg(["size", "sum"]) == [2, 1]).all(axis=None)
    functions = [set(frame["function"]) for frame in real["docs_match"].values()]
    assert functions[0].isdisjoint(functions[1])


@installed
def test_frames_do_not_depend_on_the_hash_seed():
    code = """
import hashlib
from sensibert.sources import pydocs
splits = pydocs.docs_match(pydocs.corpus({"sqlalchemy": pydocs.locate("sqlalchemy")}))
print(hashlib.sha256("".join(frame.to_csv() for frame in splits.values()).encode()).hexdigest())
"""
    printed = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert len(printed[0].strip()) == 64
    assert printed[0] == printed[1]

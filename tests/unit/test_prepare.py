import json
import shutil
from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, DatasetDict, Value, concatenate_datasets
from hypothesis import given
from hypothesis import strategies as st

from sensibert.config.settings import DataParams
from sensibert.data.task_files import load_task, save_task
from sensibert.data.tasks import TASKS, Task
from sensibert.errors import DataError
from sensibert.sources.prepare import Carving, prepare, prepare_splits, set_aside, stratified_order
from sensibert.sources.public import RawSplit, read_local


def local(directory, **settings):
    return DataParams(source="local", directory=directory, **settings)


def change(directory, task, split, edit):
    path = directory / task / f"{split}.parquet"
    edit(pd.read_parquet(path)).to_parquet(path, index=False)


def set_value(directory, task, split, row, column, value):
    def edit(rows):
        rows = rows.astype({column: "object"})
        rows.loc[row, column] = value
        return rows

    change(directory, task, split, edit)


def plain(rows):
    """What makes two rows of the normalized data the same text."""
    columns = [column for column in ("text", "text_pair") if column in rows.column_names]
    return {
        tuple(sorted(" ".join(text.casefold().split()) for text in texts))
        for texts in zip(*(rows[column] for column in columns), strict=True)
    }


def assert_no_shared_text(dataset):
    texts = {split: plain(rows) for split, rows in dataset.items()}
    assert not texts["train"] & texts["dev"]
    for split in texts.keys() - {"train", "dev"}:
        assert not texts[split] & (texts["train"] | texts["dev"])


def test_a_single_text_task_is_normalized(glue_directory):
    dataset, audit = prepare(TASKS["sst2"], local(glue_directory))
    assert list(dataset) == ["train", "dev", "validation"]
    assert {split: len(rows) for split, rows in dataset.items()} == {"train": 72, "dev": 8, "validation": 30}
    source = pd.read_parquet(glue_directory / "sst2" / "train.parquet")
    for split in ("train", "dev"):
        rows = dataset[split]
        assert rows.column_names == ["text", "label", "idx"]
        assert rows.features["label"] == ClassLabel(names=["negative", "positive"])
        assert rows["text"][:] == source["sentence"][rows["idx"][:]].tolist()
        assert rows["label"][:] == source["label"][rows["idx"][:]].tolist()
    assert sorted([*dataset["train"]["idx"], *dataset["dev"]["idx"]]) == list(range(80))
    assert audit.splits["train"].dropped == {"set_aside_for_dev": 8}
    assert audit.splits["validation"].labels == {"negative": 15, "positive": 15}


def test_a_pair_task_has_both_texts(glue_directory):
    dataset, _ = prepare(TASKS["mrpc"], local(glue_directory))
    source = pd.read_parquet(glue_directory / "mrpc" / "validation.parquet")
    assert dataset["validation"].column_names == ["text", "text_pair", "label", "idx"]
    assert dataset["validation"]["text_pair"][:] == source["sentence2"].tolist()


def test_a_regression_task_keeps_real_labels(glue_directory):
    dataset, audit = prepare(TASKS["stsb"], local(glue_directory, dev_fraction=0.25))
    assert dataset["train"].features["label"] == Value("float64")
    source = pd.read_parquet(glue_directory / "stsb" / "validation.parquet")
    assert dataset["validation"]["label"][:] == source["label"].tolist()
    # Quantile bins: the dev split spans the range as train does.
    assert np.mean(dataset["dev"]["label"]) == pytest.approx(np.mean(dataset["train"]["label"]), abs=0.25)
    assert sum(audit.splits["dev"].labels.values()) == 20
    assert set(audit.splits["train"].labels) <= {"0", "1", "2", "3", "4", "5"}


def test_the_original_release_gives_the_same_rows_as_parquet(glue_directory, tmp_path):
    folder = tmp_path / "release" / "SST-2"
    folder.mkdir(parents=True)
    for split, name in (("train", "train.tsv"), ("validation", "dev.tsv")):
        rows = pd.read_parquet(glue_directory / "sst2" / f"{split}.parquet")
        rows[["sentence", "label"]].to_csv(folder / name, sep="\t", index=False)
    from_release, _ = prepare(TASKS["sst2"], local(folder.parent))
    from_parquet, _ = prepare(TASKS["sst2"], local(glue_directory))
    assert {s: rows.to_dict() for s, rows in from_release.items()} == {
        s: rows.to_dict() for s, rows in from_parquet.items()
    }


def superglue_rows(name, split, size):
    """A small split as the release has it; of WiC one pair stands in many rows, each about another word."""
    texts = [f"{split} {row}" for row in range(size)]
    if name == "wic":
        rows = {"word": texts, "sentence1": f"one {split}", "sentence2": f"two {split}"}
    else:
        rows = dict(zip(TASKS[name].text_columns, (texts, [f"{text} so" for text in texts]), strict=True))
    labels = ["entailment", "contradiction", "neutral"] if name == "cb" else [False, True]
    return pd.DataFrame(rows).assign(label=np.resize(np.array(labels, dtype=object), size), idx=range(size))


@pytest.mark.parametrize("name", ["boolq", "cb", "wic"])
def test_the_original_superglue_release_gives_the_same_rows_as_parquet(tmp_path, name):
    task = TASKS[name]
    release, parquet = tmp_path / task.release.folder, tmp_path / "parquet" / name
    for folder in (release, parquet):
        folder.mkdir(parents=True)
    for split, size in (("train", 60), ("validation", 12)):
        rows = superglue_rows(name, split, size)
        rows.to_json(release / f"{split.replace('idation', '')}.jsonl", orient="records", lines=True)
        ids = rows["label"].map(lambda label: task.label_names.index(str(label))).astype("int64")
        rows.assign(label=ids).to_parquet(parquet / f"{split}.parquet")
    dataset, audit = prepare(task, local(tmp_path, dev_fraction=0.2))
    expected, _ = prepare(task, local(parquet.parent, dev_fraction=0.2))
    assert {s: rows.to_dict() for s, rows in dataset.items()} == {s: rows.to_dict() for s, rows in expected.items()}
    assert {split: len(rows) for split, rows in dataset.items()} == {"train": 48, "dev": 12, "validation": 12}
    assert list(audit.splits["validation"].labels) == list(task.label_names)
    assert dataset["validation"].features["label"].names == list(task.label_names)


def test_the_word_of_wic_stands_in_front_of_both_sentences():
    validation = superglue_rows("wic", "validation", 2)
    swapped = validation.assign(sentence1=validation["sentence2"], sentence2=validation["sentence1"])
    train = pd.concat([superglue_rows("wic", "train", 40), swapped], ignore_index=True)
    train.loc[0, "word"] = None
    train.loc[1, "word"] = " "
    raw = {"train": RawSplit([train]), "validation": RawSplit([validation])}
    dataset, audit = prepare_splits(TASKS["wic"], raw, "local", Carving(dev_fraction=0.2))
    rows = dataset["validation"]
    assert rows.column_names == ["text", "text_pair", "label", "idx"]
    assert rows["text"][:] == ["validation 0 : one validation", "validation 1 : one validation"]
    assert rows["text_pair"][:] == ["validation 0 : two validation", "validation 1 : two validation"]
    dropped = audit.splits["train"].dropped
    assert dropped == {"missing_text": 2, "also_in_validation": 2, "set_aside_for_dev": 8}
    train["word"] = 5
    with pytest.raises(DataError, match="row 0 of split train has 5 in column word; expected a text"):
        prepare_splits(TASKS["wic"], raw, "local", Carving())


def test_the_test_split_of_imdb_gives_the_final_number(tmp_path):
    (tmp_path / "imdb").mkdir()
    for split, size in (("train", 40), ("test", 10)):
        texts = [*(f"{split}<br />film {row}" for row in range(size)), "in both"]
        rows = pd.DataFrame({"text": texts, "label": np.arange(size + 1) % 2})
        rows.to_parquet(tmp_path / "imdb" / f"{split}.parquet")
    dataset, audit = prepare(TASKS["imdb"], local(tmp_path, dev_fraction=0.25))
    assert {split: len(rows) for split, rows in dataset.items()} == {"train": 30, "dev": 10, "test": 11}
    assert audit.splits["train"].dropped == {"also_in_validation": 1, "set_aside_for_dev": 10}
    assert dataset["test"]["text"][0] == "test<br />film 0"
    assert dataset["test"].features["label"].names == ["neg", "pos"]
    save_task(dataset, audit, tmp_path / "raw")
    assert set(load_task(tmp_path / "raw")) == {"train", "dev", "test"}


def test_class_names_are_understood_as_labels(glue_directory):
    expected, _ = prepare(TASKS["sst2"], local(glue_directory))
    names = {0: "negative", 1: " positive "}
    for split in ("train", "validation"):
        change(glue_directory, "sst2", split, lambda rows: rows.assign(label=rows["label"].map(names)))
    dataset, _ = prepare(TASKS["sst2"], local(glue_directory))
    assert dataset["train"].to_dict() == expected["train"].to_dict()


def test_each_validation_split_stands_under_its_own_name(tmp_path):
    (tmp_path / "mnli").mkdir()
    for split, size in (("train", 60), ("validation_matched", 9), ("validation_mismatched", 12)):
        rows = pd.DataFrame({"premise": [f"{split} {i}" for i in range(size)], "hypothesis": "so", "label": 0})
        rows.assign(label=rows.index % 3).to_parquet(tmp_path / "mnli" / f"{split}.parquet")
    dataset, audit = prepare(TASKS["mnli"], local(tmp_path))
    assert list(dataset) == list(audit.splits) == ["train", "dev", "validation_matched", "validation_mismatched"]
    assert audit.splits["validation_mismatched"].labels == {"entailment": 4, "neutral": 4, "contradiction": 4}


def test_planted_duplicates_leave_train(glue_directory):
    def plant(rows):
        copies = validation.head(6).assign(sentence=lambda v: "  " + v["sentence"].str.upper().str.replace(" ", "\t "))
        own_copies = rows.head(40)  # some of these texts are drawn for dev
        return pd.concat([rows, copies, own_copies], ignore_index=True)

    validation = pd.read_parquet(glue_directory / "sst2" / "validation.parquet")
    change(glue_directory, "sst2", "train", plant)
    dataset, audit = prepare(TASKS["sst2"], local(glue_directory, dev_fraction=0.2))
    assert_no_shared_text(dataset)
    assert audit.splits["train"].dropped["also_in_validation"] == 6
    assert audit.splits["train"].dropped["also_in_dev"] > 0
    assert len(dataset["validation"]) == 30


def test_a_swapped_pair_is_a_duplicate_and_a_shared_half_is_not(glue_directory):
    def plant(rows):
        first = validation.iloc[[0]]
        swapped = first.assign(sentence1=first["sentence2"], sentence2=first["sentence1"])
        half = first.assign(sentence2="nothing of the kind")
        return pd.concat([rows, swapped, half], ignore_index=True)

    validation = pd.read_parquet(glue_directory / "mrpc" / "validation.parquet")
    change(glue_directory, "mrpc", "train", plant)
    dataset, audit = prepare(TASKS["mrpc"], local(glue_directory))
    assert_no_shared_text(dataset)
    assert audit.splits["train"].dropped["also_in_validation"] == 1
    assert 81 in {*dataset["train"]["idx"], *dataset["dev"]["idx"]}


def test_rows_without_text_or_label_are_dropped_and_counted(glue_directory):
    for row, column, value in ((3, "sentence", None), (4, "sentence", " \t"), (5, "label", None)):
        set_value(glue_directory, "sst2", "train", row, column, value)
    set_value(glue_directory, "sst2", "validation", 0, "sentence", "")
    dataset, audit = prepare(TASKS["sst2"], local(glue_directory))
    assert audit.splits["train"].dropped["missing_text"] == 2
    assert audit.splits["train"].dropped["missing_label"] == 1
    assert audit.splits["validation"].dropped == {"missing_text": 1}
    assert not {3, 4, 5} & {*dataset["train"]["idx"], *dataset["dev"]["idx"]}
    assert dataset["validation"]["idx"][0] == 1


def test_broken_lines_and_empty_labels_of_a_release_are_counted(tmp_path):
    folder = tmp_path / "SST-2"
    folder.mkdir()
    good = [f"text number {i}\t{i % 2}" for i in range(40)]
    (folder / "train.tsv").write_text("\n".join(["sentence\tlabel", "alone", "a\tb\tc", "no label\t", *good]))
    (folder / "dev.tsv").write_text("sentence\tlabel\ngood\t1\nbad\t0\n")
    dataset, audit = prepare(TASKS["sst2"], local(tmp_path))
    dropped = audit.splits["train"].dropped
    assert (dropped["wrong_field_count"], dropped["missing_label"]) == (2, 1)
    assert audit.splits["train"].read == 43
    assert min(*dataset["train"]["idx"], *dataset["dev"]["idx"]) == 3


@pytest.mark.parametrize("task", ["sst2", "mrpc", "stsb"])
def test_the_audit_accounts_for_every_row(glue_directory, task):
    set_value(glue_directory, task, "train", 7, "label", None)
    dataset, audit = prepare(TASKS[task], local(glue_directory, max_train=20))
    for split, counts in audit.splits.items():
        assert counts.read == counts.kept + sum(counts.dropped.values())
        assert counts.kept == len(dataset[split]) == sum(counts.labels.values())
    assert audit.splits["train"].read == 80
    assert audit.splits["train"].kept == 20
    assert json.loads(json.dumps(audit.to_dict()))["splits"]["train"]["dropped"]["missing_label"] == 1


@pytest.mark.parametrize("label", [2, -1, 0.5, "maybe"])
def test_an_unknown_label_is_refused(glue_directory, label):
    def plant(rows):
        labels = [type(label)(value) for value in rows["label"]]
        return rows.assign(label=[*labels[:4], label, *labels[5:]])

    change(glue_directory, "sst2", "validation", plant)
    with pytest.raises(DataError) as caught:
        prepare(TASKS["sst2"], local(glue_directory))
    message = str(caught.value)
    assert f"unknown label {label!r} in row 4 of split validation of task sst2 (1 such rows up to row 29)" in message
    assert message.endswith("allowed: negative, positive or their ids from 0")


@pytest.mark.parametrize("label", [5.1, -0.5, "high"])
def test_a_label_outside_the_range_is_refused(glue_directory, label):
    path = glue_directory / "stsb" / "train.parquet"
    rows = pd.read_parquet(path)
    labels = [*rows["label"][:9], label, *rows["label"][10:]]
    rows.assign(label=[str(value) for value in labels]).to_parquet(path)
    with pytest.raises(DataError, match=rf"unknown label '{label}' in row 9 of split train.*from 0\.0 to 5\.0"):
        prepare(TASKS["stsb"], local(glue_directory))


def test_a_column_that_holds_no_text_is_refused(glue_directory):
    change(glue_directory, "mrpc", "train", lambda rows: rows.assign(sentence2=range(len(rows))))
    with pytest.raises(DataError, match="row 0 of split train has 0 in column sentence2; expected a text"):
        prepare(TASKS["mrpc"], local(glue_directory))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_empty_split_is_refused(glue_directory, split):
    change(glue_directory, "sst2", split, lambda rows: rows.head(0))
    with pytest.raises(DataError, match=f"split {split} has no usable row"):
        prepare(TASKS["sst2"], local(glue_directory))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_with_one_class_is_refused(glue_directory, split):
    change(glue_directory, "sst2", split, lambda rows: rows[rows["label"] == 1])
    with pytest.raises(DataError, match=f"split {split} has rows of a single label only"):
        prepare(TASKS["sst2"], local(glue_directory))


def test_a_train_split_that_is_wholly_leaked_is_refused(glue_directory):
    shutil.copy(glue_directory / "sst2" / "validation.parquet", glue_directory / "sst2" / "train.parquet")
    with pytest.raises(DataError, match="'also_in_validation': 30"):
        prepare(TASKS["sst2"], local(glue_directory))


def test_too_small_a_dev_split_or_sample_names_the_key(glue_directory):
    with pytest.raises(DataError, match=r"split dev has no usable row .*dev_fraction: 0\.001"):
        prepare(TASKS["sst2"], local(glue_directory, dev_fraction=0.001))
    with pytest.raises(DataError, match=r"split train has rows of a single label only .*max_train: 1"):
        prepare(TASKS["sst2"], local(glue_directory, max_train=1))


@pytest.mark.parametrize("task", ["sst2", "stsb"])
def test_samples_are_nested_stratified_and_leave_dev_alone(glue_directory, task):
    sizes = (10, 20, 40, None)
    datasets = [prepare(TASKS[task], local(glue_directory, max_train=size))[0] for size in sizes]
    samples = [set(dataset["train"]["idx"]) for dataset in datasets]
    assert [len(sample) for sample in samples] == [10, 20, 40, 72]
    assert all(small < large for small, large in pairwise(samples))
    assert len({tuple(dataset["dev"]["idx"]) for dataset in datasets}) == 1
    if task == "sst2":
        for dataset, size in zip(datasets, sizes[:3], strict=False):
            assert sum(dataset["train"]["label"]) == size // 2


def test_max_dev_and_dev_fraction_bound_the_dev_split(glue_directory):
    for settings, size in (({"dev_fraction": 0.25}, 20), ({"dev_fraction": 0.25, "max_dev": 6}, 6)):
        dataset, _ = prepare(TASKS["sst2"], local(glue_directory, **settings))
        assert Counter(dataset["dev"]["label"]) == {0: size // 2, 1: size // 2}


def test_the_seed_decides_the_draw(glue_directory):
    draws = [prepare(TASKS["sst2"], local(glue_directory, seed=seed, max_train=30))[0] for seed in (0, 0, 1)]
    assert draws[0]["dev"].to_dict() == draws[1]["dev"].to_dict()
    assert draws[0]["train"].to_dict() == draws[1]["train"].to_dict()
    assert draws[0]["dev"]["idx"][:] != draws[2]["dev"]["idx"][:]
    assert draws[0]["validation"].to_dict() == draws[2]["validation"].to_dict()


@pytest.mark.parametrize("task", ["sst2", "mrpc", "stsb"])
def test_a_split_that_the_source_does_not_have_is_carved(glue_directory, task):
    raw = read_local(TASKS[task], glue_directory)
    carving = Carving(dev_fraction=0.25, validation_fraction=0.5, max_train=10)
    dataset, audit = prepare_splits(TASKS[task], {"train": raw["train"]}, "local", carving)
    assert list(dataset) == list(audit.splits) == ["train", "dev", "validation"]
    assert {split: len(rows) for split, rows in dataset.items()} == {"train": 10, "dev": 10, "validation": 40}
    assert_no_shared_text(dataset)
    expected = {"set_aside_for_validation": 40, "set_aside_for_dev": 10, "beyond_max_train": 20}
    assert audit.splits["train"].dropped == expected
    if task == "sst2":
        assert audit.splits["validation"].labels == {"negative": 20, "positive": 20}


def test_a_source_with_all_splits_is_prepared_as_its_carving_says(glue_directory):
    data = local(glue_directory, dev_fraction=0.2, max_train=30, seed=3)
    raw = read_local(TASKS["mrpc"], glue_directory)
    dataset, audit = prepare_splits(TASKS["mrpc"], raw, "local", Carving(dev_fraction=0.2, max_train=30, seed=3))
    expected, expected_audit = prepare(TASKS["mrpc"], data)
    assert {s: rows.to_dict() for s, rows in dataset.items()} == {s: rows.to_dict() for s, rows in expected.items()}
    assert audit == expected_audit


@pytest.mark.parametrize("task", ["mrpc", "stsb"])
def test_rows_that_are_set_aside_later_leave_no_text_of_theirs(glue_directory, task):
    dataset, audit = prepare(TASKS[task], local(glue_directory))
    train = dataset["train"]
    twice = DatasetDict({**dataset, "train": concatenate_datasets([train, train])})
    apart, counted = set_aside(twice, audit, TASKS[task], "held_back", 0.25, 10, seed=0)
    assert len(apart["held_back"]) == 10
    assert not plain(apart["held_back"]) & plain(apart["train"])
    assert plain(apart["held_back"]) | plain(apart["train"]) == plain(train)
    dropped = counted.splits["train"].dropped
    assert dropped["set_aside_for_held_back"] == 10
    assert dropped["also_in_held_back"] == 2 * len(train) - 10 - len(apart["train"])
    assert sum(counted.splits["train"].labels.values()) == counted.splits["train"].kept == len(apart["train"])
    assert sum(counted.splits["held_back"].labels.values()) == 10
    assert apart["validation"].to_list() == dataset["validation"].to_list()


def test_a_class_is_found_by_its_exact_name_first():
    task = Task("own", "files", ("text",), ("1", "0", "v1.0", "v1"), ("accuracy",), "accuracy")
    rows = pd.DataFrame({"text": [f"text {n}" for n in range(80)], "label": np.resize(task.label_names, 80)})
    dataset, _ = prepare_splits(task, {"train": RawSplit([rows])}, "files", Carving())
    for part in dataset.values():
        assert [task.label_names[label] for label in part["label"]] == rows["label"][part["idx"][:]].tolist()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200), st.integers(0, 2**32 - 1), st.integers(0, 200))
def test_every_prefix_of_the_stratified_order_is_in_proportion(strata, seed, size):
    strata = np.array(strata)
    order = stratified_order(strata, seed)
    assert sorted(order) == list(range(len(strata)))
    size = min(size, len(strata))
    for stratum in np.unique(strata):
        share = np.mean(strata == stratum)
        assert abs(np.sum(strata[order[:size]] == stratum) - share * size) <= 2

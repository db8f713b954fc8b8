import gzip

import datasets
import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensibert.data.task_files import load_task, save_task
from sensibert.data.tasks import TASKS
from sensibert.errors import DataError
from sensibert.evaluation.metrics import compute_metrics
from sensibert.sources.files import _read, read_labelled, read_task

SIZE = 120


def reviews(labels=("good", "bad"), size=SIZE, start=0):
    numbers = range(start, start + size)
    texts = [f"review number {number} of a film" for number in numbers]
    return pd.DataFrame({"review": texts, "title": [f"title {n}" for n in numbers], "stars": np.resize(labels, size)})


def write(rows, path):
    """Write rows in the format that the suffix names."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        rows.to_parquet(path, index=False)
    elif name.endswith(".jsonl"):
        rows.to_json(path, orient="records", lines=True)
    elif name.endswith(".json"):
        rows.to_json(path, orient="records")
    else:
        rows.to_csv(path, index=False, sep="\t" if name.endswith(".tsv") else ",")
    return str(path)


def read(rows, tmp_path, validation=None, name="train.csv", **options):
    train = rows if isinstance(rows, str) else write(rows, tmp_path / name)
    if isinstance(validation, pd.DataFrame):
        validation = write(validation, tmp_path / f"validation-{name}")
    return read_task(train, validation, **{"text": "review", "label": "stars", "dev_fraction": 0.1, **options})


def texts(dataset):
    return {split: set(rows["text"]) for split, rows in dataset.items()}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


FORMATS = ["csv", "tsv", "jsonl", "json", "parquet", "tsv.gz", "json.gz", "CSV"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_task(tmp_path, suffix):
    rows, held_out = reviews(), reviews(size=40, start=1000)
    # A text with everything that a format may stumble on.
    rows.loc[0, "review"] = 'NA, "null"\tand\na new\u2028line, 007'
    task, dataset, audit = read(rows, tmp_path, held_out, name=f"my reviews.{suffix}")
    assert (task.name, task.source, task.text_columns) == ("my-reviews", "files", ("text",))
    assert task.label_names == ("bad", "good")
    assert (task.metrics, task.primary_metric) == (("accuracy", "f1"), "accuracy")
    assert task.name not in TASKS
    assert {split: len(part) for split, part in dataset.items()} == {"train": 108, "dev": 12, "validation": 40}
    assert dataset["validation"]["text"][:] == held_out["review"].tolist()
    assert dataset["validation"].features["label"] == ClassLabel(names=["bad", "good"])
    by_row = {
        index: (text, label)
        for rows in (dataset["train"], dataset["dev"])
        for text, label, index in zip(rows["text"], rows["label"], rows["idx"], strict=True)
    }
    expected = zip(rows["review"], rows["stars"].map({"bad": 0, "good": 1}), strict=True)
    assert [by_row[index] for index in range(SIZE)] == list(expected)
    assert audit.task == "my-reviews"
    assert audit.splits["validation"].labels == {"bad": 20, "good": 20}


def test_without_a_validation_file_one_is_carved_from_train(tmp_path):
    rows = reviews(labels=("good", "bad", "bad"))
    copies = rows.head(60).assign(review=rows["review"].str.upper() + "  ")
    task, dataset, audit = read(pd.concat([rows, copies]), tmp_path, dev_fraction=0.25)
    plain = {split: {text.lower().strip() for text in found} for split, found in texts(dataset).items()}
    assert plain["train"].isdisjoint(plain["dev"] | plain["validation"])
    assert plain["dev"].isdisjoint(plain["validation"])
    assert len(dataset["validation"]) == 36
    assert audit.splits["validation"].labels == {"bad": 24, "good": 12}
    dropped = audit.splits["train"].dropped
    assert dropped["set_aside_for_validation"] == 36
    assert dropped["also_in_validation"] > 0
    assert dropped["also_in_dev"] > 0
    assert audit.splits["train"].read == 180 == audit.splits["train"].kept + sum(dropped.values())
    assert task.validation_splits == ("validation",)


def test_the_seed_decides_the_carved_splits_and_max_train_leaves_them_alone(tmp_path):
    path = write(reviews(), tmp_path / "train.csv")
    draws = [read(path, tmp_path, seed=seed, max_train=size)[1] for seed, size in ((0, 40), (0, 20), (1, 40))]
    for split in ("dev", "validation"):
        assert draws[0][split].to_dict() == draws[1][split].to_dict()
        assert draws[0][split].to_dict() != draws[2][split].to_dict()
    assert texts(draws[1])["train"] < texts(draws[0])["train"]
    assert [len(draw["train"]) for draw in draws] == [40, 20, 40]


def test_rows_of_train_that_stand_in_the_validation_file_are_dropped_and_counted(tmp_path):
    _, dataset, audit = read(reviews(), tmp_path, reviews(size=30))
    assert audit.splits["train"].dropped["also_in_validation"] == 30
    assert len(dataset["validation"]) == 30
    with pytest.raises(DataError, match="'also_in_validation': 120"):
        read(reviews(), tmp_path, reviews())


def test_two_columns_make_a_pair_task_whatever_their_names(tmp_path):
    rows = reviews().rename(columns={"review": "label", "title": "text"})
    task, dataset, _ = read(rows, tmp_path, text="label", text_pair="text")
    assert task.is_pair
    assert dataset["dev"].column_names == ["text", "text_pair", "label", "idx"]
    index = dataset["dev"]["idx"][:]
    assert dataset["dev"]["text"][:] == rows["label"][index].tolist()
    assert dataset["dev"]["text_pair"][:] == rows["text"][index].tolist()


def test_a_saved_task_loads_as_it_was(tmp_path):
    for name, labels in (("classes", ("b", "a", "c")), ("numbers", np.linspace(-3, 7, 50))):
        _, dataset, audit = read(reviews(labels), tmp_path)
        save_task(dataset, audit, tmp_path / name)
        loaded = load_task(tmp_path / name)
        assert {split: rows.to_dict() for split, rows in loaded.items()} == {
            split: rows.to_dict() for split, rows in dataset.items()
        }
        assert loaded["dev"].features == dataset["dev"].features


# Labels


@pytest.mark.parametrize(
    ("labels", "names", "suffixes"),
    [
        ((1, 0), ("0", "1"), ("csv", "parquet")),
        ((10, 9, -1), ("-1", "9", "10"), ("csv", "jsonl")),
        (("10", "9", "007"), ("007", "9", "10"), ("csv", "jsonl", "parquet")),
        (("9" * 30, "1", "2" * 400), ("1", "9" * 30, "2" * 400), ("jsonl",)),
        ((True, False), ("False", "True"), ("csv", "jsonl", "parquet")),
        ((2.0, 1.0, None), ("1", "2"), ("csv", "jsonl", "parquet")),
        (("NA", "null", "v1.0"), ("NA", "null", "v1.0"), ("csv", "jsonl", "parquet")),
        (("b", "a", " c "), ("a", "b", "c"), ("csv",)),
    ],
)
def test_classes_are_the_different_labels_in_order(tmp_path, labels, names, suffixes):
    rows = reviews().assign(stars=pd.Series(list(labels) * SIZE).head(SIZE))
    for suffix in suffixes:
        task, dataset, audit = read(rows, tmp_path, rows.tail(42).assign(review="new " + rows["review"]), f"t.{suffix}")
        if suffix == "jsonl" and names == ("False", "True"):
            assert [name.title() for name in task.label_names] == list(names)
        else:
            assert task.label_names == names
        spelled = rows["stars"].dropna().astype("str").str.strip().str.replace(r"^(\d+)\.0$", r"\1", regex=True)
        for split in ("train", "dev"):
            index = dataset[split]["idx"][:]
            assert [task.label_names[label] for label in dataset[split]["label"]] == spelled[index].tolist()
        missing = int(rows["stars"].isna().sum())
        assert audit.splits["train"].dropped.get("missing_label", 0) == missing
        assert len(dataset["train"]) + len(dataset["dev"]) == SIZE - missing


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1), min_size=2))
def test_every_row_keeps_the_class_that_its_label_names(tmp_path, labels):
    rows = reviews().assign(stars=(labels * SIZE)[:SIZE])
    try:
        task, dataset, _ = read(rows, tmp_path, name="t.jsonl", regression=False)
    except DataError as error:
        assert any(reason in str(error) for reason in ("single label", "no label", "different labels"))  # noqa: PT017
        return
    for part in dataset.values():
        for index, label in zip(part["idx"], part["label"], strict=True):
            written = rows["stars"][index].strip()
            assert task.label_names[label] in {written, written.partition(".")[0]}


def test_declared_classes_keep_their_order_and_those_that_do_not_occur_are_left_out(tmp_path):
    names = ["low", "high", "middle", "none"]
    rows = reviews(labels=(0, 1, 2, -1))
    features = datasets.Features(
        {"review": Value("string"), "title": Value("string"), "stars": ClassLabel(names=names)}
    )
    Dataset.from_pandas(rows, features).to_parquet(tmp_path / "declared.parquet")
    task, dataset, audit = read(str(tmp_path / "declared.parquet"), tmp_path)
    assert task.label_names == ("low", "high", "middle")
    assert audit.splits["train"].dropped["missing_label"] == 30
    for index, label in zip(dataset["train"]["idx"], dataset["train"]["label"], strict=True):
        assert label == rows["stars"][index]
    categorical = rows.assign(stars=pd.Categorical.from_codes(rows["stars"], names))
    again, _, _ = read(categorical, tmp_path, name="categorical.parquet")
    assert again.label_names == task.label_names


def test_fractions_make_a_regression_task_of_any_range(tmp_path):
    labels = np.linspace(-40.5, 2000, 60).round(2)
    task, dataset, audit = read(reviews(labels), tmp_path)
    assert task.is_regression
    assert (task.metrics, task.primary_metric, task.label_range) == (("pearson", "spearman"), "spearman", None)
    assert dataset["dev"].features["label"] == Value("float64")
    assert set(dataset["validation"]["label"]) <= set(labels)
    counts = audit.splits["train"].labels
    assert 1 < len(counts) <= 10
    assert sum(counts.values()) == audit.splits["train"].kept
    # Quantile bins: the validation split spans the range as train does.
    assert np.mean(dataset["validation"]["label"]) == pytest.approx(np.mean(labels), rel=0.15)


def test_regression_can_be_asked_for_and_refused(tmp_path):
    path = write(reviews(labels=(1, 2, 3, 4, 5)), tmp_path / "train.csv")
    assert not read(path, tmp_path)[0].is_regression
    assert read(path, tmp_path, regression=True)[1]["train"].features["label"] == Value("float64")
    path = write(reviews(labels=(0.5, 10.5, 1.0)), tmp_path / "train.csv")
    assert read(path, tmp_path)[0].is_regression
    assert read(path, tmp_path, regression=False)[0].label_names == ("0.5", "1", "10.5")


def test_the_metrics_of_a_task_outside_the_table_are_computed(tmp_path):
    expected = {("a", "b"): {"accuracy", "f1"}, ("a", "b", "c"): {"accuracy", "macro_f1"}}
    for labels, metrics in expected.items():
        task, dataset, _ = read(reviews(labels), tmp_path)
        right = np.asarray(dataset["validation"]["label"])
        assert compute_metrics(task, right, right) == dict.fromkeys(metrics, pytest.approx(100))
    task, dataset, _ = read(reviews(np.linspace(0, 1, 60)), tmp_path)
    right = np.asarray(dataset["validation"]["label"])
    assert compute_metrics(task, right, right) == dict.fromkeys(("pearson", "spearman"), pytest.approx(100))


@pytest.mark.parametrize("missing", [None, "", "  "])
def test_rows_without_label_or_text_are_dropped_and_counted(tmp_path, missing):
    rows = reviews()
    rows.loc[[3, 4], "stars"] = missing
    rows.loc[[4, 5, 6], "review"] = missing
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        dropped = read(rows, tmp_path, name=name)[2].splits["train"].dropped
        assert (dropped["missing_label"], dropped["missing_text"]) == (1, 3)


# Folders and the hub


def test_a_folder_has_its_own_validation_split(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    write(reviews(), folder / "train.csv")
    write(reviews(size=20, start=500), folder / "test.csv")
    task, dataset, _ = read(str(folder), tmp_path)
    assert task.name == "films"
    assert dataset["validation"]["text"][:] == reviews(size=20, start=500)["review"].tolist()
    write(reviews(size=10, start=700), folder / "dev.csv")
    _, dataset, _ = read(str(folder), tmp_path)
    assert dataset["validation"]["text"][0] == "review number 700 of a film"
    given_file = write(reviews(size=30, start=900), tmp_path / "other.jsonl")
    assert len(read(str(folder), tmp_path, given_file)[1]["validation"]) == 30
    assert len(read(given_file, tmp_path, str(folder))[1]["validation"]) == 10


def test_a_split_without_labels_is_no_validation_split(tmp_path):
    names = ["bad", "good"]
    features = datasets.Features(
        {"review": Value("string"), "title": Value("string"), "stars": ClassLabel(names=names)}
    )
    parts = {"train": reviews((1, 0)), "test": reviews((-1,), size=20, start=500)}
    for split, rows in parts.items():
        (tmp_path / "films").mkdir(exist_ok=True)
        Dataset.from_pandas(rows, features).to_parquet(tmp_path / "films" / f"{split}.parquet")
    task, dataset, audit = read(str(tmp_path / "films"), tmp_path)
    assert task.label_names == ("bad", "good")
    assert audit.splits["train"].dropped["set_aside_for_validation"] == len(dataset["validation"]) == 24


def test_a_configuration_of_a_data_set_is_chosen_by_its_name(tmp_path, monkeypatch):
    folder = tmp_path / "films"
    folder.mkdir()
    for name, start in (("short", 0), ("long", 5000)):
        write(reviews(start=start), folder / f"{name}.csv")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- {config_name: short, data_files: short.csv}\n"
        "- {config_name: long, data_files: long.csv}\n---\n"
    )
    monkeypatch.chdir(tmp_path)
    task, dataset, _ = read("films:long", tmp_path)
    assert task.name == "films-long"
    assert min(dataset["train"]["text"]) >= "review number 5000"
    with pytest.raises(DataError, match=r"(?s)folder films could not be read .*'short', 'long'.*FOLDER:CONF"):
        read("films", tmp_path)


@pytest.fixture
def films(tmp_path):
    (tmp_path / "films").mkdir()
    return tmp_path / "films"


@pytest.mark.parametrize("name", ["train.csv", "train.csv.gz", "train.tsv", "train.jsonl", "train.parquet", "odd.csv"])
def test_a_folder_is_read_like_its_files(tmp_path, name):
    rows = pd.DataFrame({"review": ["NA", "None", "null", ""], "stars": ["007", "7", "1.0", "x"]})
    file = tmp_path / "films" / name
    file.parent.mkdir()
    write(rows, file)
    pd.testing.assert_frame_equal(_read(str(tmp_path / "films"))["train"], _read(str(file))["train"])


def test_a_folder_may_have_a_split_in_several_files(films):
    for part, start in enumerate((0, 500)):
        write(reviews(size=20, start=start), films / f"train-{part}.csv")
    assert len(_read(str(films))["train"]) == 40
    write(reviews(size=20).rename(columns={"stars": "other"}), films / "train-2.csv")
    with pytest.raises(DataError, match=r"train-2.csv has other columns than .*train-0.csv"):
        _read(str(films))


def test_two_columns_of_one_name_in_a_folder_are_refused(films):
    (films / "train.csv").write_text("text,text,label\na,b,c\n")
    with pytest.raises(DataError, match=r"train.csv has more than one column 'text'"):
        _read(str(films))


def test_a_folder_may_say_how_its_files_are_read(films):
    (films / "README.md").write_text("---\nconfigs:\n- {config_name: x, data_files: a.csv, sep: '|'}\n---\n")
    (films / "a.csv").write_text("review|stars\nfine|1\n")
    assert _read(str(films))["train"].to_dict("list") == {"review": ["fine"], "stars": [1]}


CLASSES = """---
dataset_info:
  features:
  - {name: review, dtype: string}
  - {name: stars, dtype: {class_label: {names: {'0': poor, '1': fine}}}}
---
"""


def test_a_folder_may_declare_classes(films):
    (films / "README.md").write_text(CLASSES)
    (films / "train.csv").write_text("review,stars\nNA,1\nb,poor\nc,-1\nd,\n")
    rows = _read(str(films))["train"]
    assert rows["review"].tolist() == ["NA", "b", "c", "d"]
    assert rows["stars"].cat.categories.tolist() == ["poor", "fine"]
    assert rows["stars"].cat.codes.tolist() == [1, 0, -1, -1]
    (films / "train.csv").write_text("review,stars\na,evil\n")
    with pytest.raises(DataError, match=r"train.csv: column 'stars': .*evil; its folder declares poor, fine"):
        _read(str(films))


@pytest.mark.parametrize("front", ["---\n: [\n---\n", "---\nconfigs: 3\n---\n", "---\n- a\n---\n"])
def test_a_folder_with_a_damaged_readme_is_refused(tmp_path, front):
    (tmp_path / "README.md").write_text(front)
    write(reviews(), tmp_path / "train.csv")
    with pytest.raises(DataError, match="could not be read as a data set"):
        _read(str(tmp_path))


@pytest.mark.parametrize("name", ["", "csv", "json", "text", "csv:x", "@main", ":x"])
def test_names_of_no_data(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(reviews(), tmp_path / "train.csv")
    with pytest.raises(DataError, match=r"names no data: there is no such file or folder|no file or folder"):
        _read(name)


def test_a_data_set_that_cannot_be_reached_says_what_was_tried(tmp_path):
    expected = r"no file or folder a/films:long@v2, and no data set a/films \(configuration long, revision v2\).*jsonl"
    with pytest.raises(DataError, match=expected):
        read("a/films:long@v2", tmp_path)
    with pytest.raises(DataError, match=r"a/films \(configuration default, revision main\)"):
        read("a/films", tmp_path)
    with pytest.raises(DataError, match="no file or folder data/sub/train"):
        read("data/sub/train", tmp_path)


def test_a_data_set_without_the_split_is_refused(tmp_path):
    (tmp_path / "films").mkdir()
    write(reviews(), tmp_path / "films" / "test.csv")
    with pytest.raises(DataError, match=r"films has no split train; it has test"):
        read(str(tmp_path / "films"), tmp_path)


def test_a_folder_that_is_no_data_set_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"the folder .*empty could not be read as a data set"):
        read(str(tmp_path / "empty"), tmp_path)
    (tmp_path / "empty" / "train.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"empty/train.parquet is not a readable parquet file"):
        read(str(tmp_path / "empty"), tmp_path)


# Mistakes


def refuse(tmp_path, content, name, match):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=match):
        read(str(path), tmp_path)


@pytest.mark.parametrize("name", ["train.csv", "train.jsonl.gz", "train.parquet"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(DataError, match=f"{name} does not exist"):
        read(str(tmp_path / name), tmp_path)
    with pytest.raises(DataError, match=f"{name} does not exist"):
        read(reviews(), tmp_path, str(tmp_path / name), name="there.csv")


@pytest.mark.parametrize("name", ["train.txt", "train", "train.xlsx", "train.parquet.gz", "train.csv.zip"])
def test_an_unknown_suffix_is_refused_with_those_that_are_known(tmp_path, name):
    refuse(tmp_path, "review,stars\n", name, r"unknown suffix; allowed: \.csv, \.tsv, \.jsonl, \.json, \.parquet")


@pytest.mark.parametrize("name", ["train.csv", "train.tsv", "train.jsonl", "train.json"])
def test_an_empty_file_is_refused(tmp_path, name):
    refuse(tmp_path, "", name, f"{name} is empty")
    refuse(tmp_path, "\n\n", name, f"{name} is empty")
    refuse(tmp_path, gzip.compress(b""), f"{name}.gz", f"{name}.gz is empty")


def test_a_file_without_rows_is_refused(tmp_path):
    refuse(tmp_path, "review,stars\n", "train.csv", r"train\.csv is empty: it holds no rows")
    refuse(tmp_path, "[]", "train.json", r"train\.json is empty: it holds no rows")
    with pytest.raises(DataError, match=r"train\.parquet is empty: it holds no rows"):
        read(reviews().head(0), tmp_path, name="train.parquet")


@pytest.mark.parametrize("cut", [0, 100, -20])
def test_a_damaged_parquet_file_is_named(tmp_path, cut):
    path = write(reviews(), tmp_path / "whole.parquet")
    with open(path, "rb") as file:  # noqa: PTH123
        refuse(tmp_path, file.read()[:cut], "train.parquet", r"train\.parquet is not a readable parquet file")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"review": "a", "stars": 1}\n\n{"review": "b", "sta', "line 3 is not valid JSON"),
        ('{"review": "a", "stars": 1}\n["b", 0]\n', r"line 2 holds \[\"b\", 0\]; expected an object"),
        ('[{"review": "a"}, 5]', "entry 1 of its list is no object"),
        ('[{"review": "a"},\n{"rev', "is not valid JSON: .* line 2"),
        ("review,stars\na,1\n", "line 1 is not valid JSON"),
    ],
)
def test_damaged_json_is_named_by_its_line(tmp_path, content, expected):
    refuse(tmp_path, content, "train.jsonl", rf"train\.jsonl.*{expected}")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("review,stars\na,1\nb,0,more\n", "Expected 2 fields in line 3, saw 3"),
        ("review,stars\na,b,1\nc,d,0\n", "more cells than its first line names columns"),
        ('review,stars\n"a,1\nb,0\n', "line 2: a quotation mark at the start of a cell is opened and never closed"),
        (b"review,stars\nna\xefve,1\n", "is not UTF-8 text"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, content, expected):
    refuse(tmp_path, content, "train.csv", rf"train\.csv.*{expected}")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_damaged_gzip_file_is_named(tmp_path, suffix):
    whole = (tmp_path / f"whole.{suffix}.gz", reviews())
    write(whole[1], whole[0])
    content = whole[0].read_bytes()
    for damaged in (b"no gzip", content[: len(content) // 2], content[:40] + b"x" * 40 + content[80:]):
        refuse(tmp_path, damaged, f"train.{suffix}.gz", "is not a readable gzip file")


@pytest.mark.parametrize("option", ["text", "label", "text_pair"])
def test_a_wrong_column_is_named_beside_those_there_are(tmp_path, option):
    with pytest.raises(DataError, match=r"train\.csv has no column 'revew'; it has 'review', 'title', 'stars'"):
        read(reviews(), tmp_path, **{option: "revew"})
    with pytest.raises(DataError, match=r"validation-train\.csv has no column 'stars'; it has 'review', 'title'"):
        read(reviews(), tmp_path, reviews().drop(columns="stars"))


@pytest.mark.parametrize("columns", [{"label": "review"}, {"text_pair": "review"}, {"text_pair": "stars"}])
def test_one_column_in_two_roles_is_refused(tmp_path, columns):
    with pytest.raises(DataError, match="is named twice"):
        read(reviews(), tmp_path, **columns)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("numbers", [range(SIZE), np.linspace(0, 1, SIZE)])
def test_a_text_column_of_numbers_is_refused_with_a_better_one(tmp_path, suffix, numbers):
    rows = reviews().assign(number=numbers)
    with pytest.raises(DataError, match=r"column 'number' holds .*0.*; other columns with texts: 'review', 'title'"):
        read(rows, tmp_path, text="number", name=f"t.{suffix}")
    with pytest.raises(DataError, match=r"column 'number' holds .*; other columns with texts: 'title'"):
        read(rows, tmp_path, text_pair="number", name=f"t.{suffix}")


def test_a_number_among_texts_is_refused_in_json_and_a_text_in_csv(tmp_path):
    rows = reviews().astype({"review": "object"})
    rows.loc[7, "review"] = 7
    with pytest.raises(DataError, match="column 'review' holds 7 in row 7; expected texts"):
        read(rows, tmp_path, name="t.jsonl")
    assert "7" in set().union(*texts(read(rows, tmp_path, name="t.csv")[1]).values())


def test_an_empty_text_column_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"column 'review' is empty in every row; expected texts; other .* 'title'"):
        read(reviews().assign(review=None), tmp_path)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_labels_that_are_all_missing_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="column 'stars' holds no label in any of its 120 rows"):
        read(reviews().assign(stars=None), tmp_path, name=name)


def test_a_single_class_is_refused(tmp_path):
    with pytest.raises(DataError, match="column 'stars' has the single label 'good'; expected at least two"):
        read(reviews(("good",)), tmp_path)
    with pytest.raises(DataError, match="split validation has rows of a single label only"):
        read(reviews(), tmp_path, reviews(("good",), start=500))


def test_several_labels_in_a_row_are_refused(tmp_path):
    rows = reviews().assign(stars=[["good", "long"]] * SIZE)
    for name in ("t.jsonl", "t.parquet"):
        with pytest.raises(DataError, match=r"column 'stars' holds .*'good'.*'long'.* in row 0; expected one label"):
            read(rows, tmp_path, name=name)


def test_too_many_classes_are_refused_with_advice(tmp_path):
    with pytest.raises(DataError, match=r"column 'title' has 120 different labels in 120 rows;.*regression"):
        read(reviews(), tmp_path, label="title")
    with pytest.raises(DataError, match=r"1,001 different labels in 3,003 rows; allowed are 1,000 classes"):
        read(reviews(range(1001), size=3003), tmp_path)
    assert len(read(reviews(range(60)), tmp_path, dev_fraction=0.3)[0].label_names) == 60


def test_labels_that_train_does_not_have_are_named(tmp_path):
    with pytest.raises(DataError, match=r"validation.* has labels that train does not have: '0'; the classes are 1, 2"):
        read(reviews((1, 2)), tmp_path, reviews((0, 1, 2), start=500))
    many = reviews(tuple("abcdefgh"), start=500)
    with pytest.raises(DataError, match="'c', 'd', 'e', 'f', 'g' and 1 more; the classes are a, b"):
        read(reviews(("a", "b")), tmp_path, many)


@pytest.mark.parametrize("label", ["high", "inf", "1e400"])
def test_a_label_that_is_no_number_is_refused_for_regression(tmp_path, label):
    rows = reviews(("1.5", "2.5")).astype({"stars": "object"})
    rows.loc[9, "stars"] = label
    with pytest.raises(DataError, match=f"unknown label '{label}' in row 9 of split train .*allowed: finite numbers"):
        read(rows, tmp_path, regression=True)


@pytest.mark.parametrize("size", [2, 4, 12])
def test_too_few_rows_for_a_split_are_refused(tmp_path, size):
    with pytest.raises(DataError, match=r"split (validation|dev|train) has (no usable row|rows of a single label)"):
        read(reviews(size=size), tmp_path)


def test_a_part_or_size_that_makes_no_sense_is_refused(tmp_path):
    for setting in ({"dev_fraction": -0.1}, {"validation_fraction": 1.5}, {"max_train": 0}, {"max_dev": -1}):
        with pytest.raises(DataError, match=f"{next(iter(setting))}: .* is not allowed"):
            read(reviews(), tmp_path, **setting)


def test_no_dev_split_is_set_aside_unless_asked(tmp_path):
    rows = reviews(range(60))
    _, dataset, _ = read(rows, tmp_path, dev_fraction=0.0)
    assert sorted(dataset) == ["train", "validation"]
    assert len(dataset["train"]) + len(dataset["validation"]) == len(rows)


def test_rows_to_judge_a_model_by_take_its_classes(tmp_path):
    rows = pd.DataFrame({"review": ["fine film", "dull film", ""], "stars": ["good", "bad", "bad"]})
    rows.to_csv(tmp_path / "test.csv", index=False)
    place = str(tmp_path / "test.csv")
    task, dataset, _ = read_labelled(place, text="review", label="stars", classes=("good", "bad"))
    assert (task.label_names, task.primary_metric) == (("good", "bad"), "accuracy")
    assert dataset["label"][:] == [0, 1]
    with pytest.raises(DataError, match="has labels that the model does not have: 'bad'; the classes are good, poor"):
        read_labelled(place, text="review", label="stars", classes=("good", "poor"))

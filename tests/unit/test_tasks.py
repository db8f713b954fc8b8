import subprocess
import sys
from pathlib import Path

import datasets
import pandas as pd
import pytest

from sensibert.errors import DataError
from sensibert.tasks import TASKS, glue

GLUE = ["cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli"]

# One good line of each file of the GLUE release, as its columns stand there.
RELEASE = {
    "cola": (None, ["gj04", "0", "*", 'They "drank the pub.']),
    "sst2": ("sentence label", ["a fine film ", "1"]),
    "mrpc": ("Quality/#1 ID/#2 ID/#1 String/#2 String", ["1", "17", "18", "One text", "Another text"]),
    "qqp": ("id qid1 qid2 question1 question2 is_duplicate", ["7", "1", "2", "Why?", 'How "so?', "0"]),
    "stsb": (
        "index genre filename year old_index source1 source2 sentence1 sentence2 score",
        ["0", "main", "f", "2012", "1", "none", "none", "A plane.", "A jet.", "3.800"],
    ),
    "mnli": (
        "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse "
        "sentence1 sentence2 label1 gold_label",
        ["0", "1", "1n", "fiction", "( a )", "( b )", "(A)", "(B)", "A premise", "A guess", "neutral", "neutral"],
    ),
    "qnli": ("index question sentence label", ["0", "Who?", "He did.", "entailment"]),
    "rte": ("index sentence1 sentence2 label", ["0", "It rains.", "It is wet.", "not_entailment"]),
    "wnli": ("index sentence1 sentence2 label", ["0", "I left it there.", "It left.", "1"]),
}
TEXTS_AND_LABEL = {
    "cola": ['They "drank the pub.', "0"],
    "sst2": ["a fine film ", "1"],
    "mrpc": ["One text", "Another text", "1"],
    "qqp": ["Why?", 'How "so?', "0"],
    "stsb": ["A plane.", "A jet.", "3.800"],
    "mnli": ["A premise", "A guess", "neutral"],
    "qnli": ["Who?", "He did.", "entailment"],
    "rte": ["It rains.", "It is wet.", "not_entailment"],
    "wnli": ["I left it there.", "It left.", "1"],
}


def header_of(task: str) -> list[str] | None:
    header = RELEASE[task][0]
    return None if header is None else header.split("/" if "/" in header else " ")


def write_release(directory: Path, task: str, files: list[str], lines: list[list[str]] | None = None) -> Path:
    header, good = header_of(task), RELEASE[task][1]
    folder = directory / TASKS[task].tsv.folder
    folder.mkdir(parents=True, exist_ok=True)
    content = [*([header] if header else []), *(lines or [good])]
    for name in files:
        (folder / name).write_text("".join("\t".join(fields) + "\n" for fields in content), encoding="utf-8")
    return folder


def test_the_table_holds_the_nine_glue_tasks_with_their_official_metrics():
    assert [name for name, task in TASKS.items() if task.source == "glue"] == GLUE
    metrics = {name: TASKS[name].metrics for name in GLUE}
    assert metrics["cola"] == ("matthews_correlation",)
    assert metrics["stsb"] == ("pearson", "spearman")
    assert metrics["mrpc"] == metrics["qqp"] == ("accuracy", "f1")
    assert {metrics[name] for name in ("sst2", "mnli", "qnli", "rte", "wnli")} == {("accuracy",)}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_each_row_of_the_table_is_consistent(task):
    assert task.primary_metric in task.metrics
    assert len(task.text_columns) in (1, 2)
    assert task.is_regression == (task.label_range is not None)
    assert task.is_pair == (len(task.text_columns) == 2)
    assert (task.tsv is not None) == (task.source == "glue")
    if task.tsv is not None:
        assert len(task.tsv.text_columns) == len(task.text_columns)


def test_the_table_is_light():
    code = (
        "import sys, sensibert.tasks; print([m for m in ('numpy', 'pandas', 'torch', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", GLUE)
def test_the_original_release_is_read(name, tmp_path):
    dev = ["dev_matched.tsv", "dev_mismatched.tsv"] if name == "mnli" else ["dev.tsv"]
    write_release(tmp_path, name, ["train.tsv", *dev])
    task = TASKS[name]
    splits = glue.read_local(task, tmp_path)
    assert list(splits) == ["train", *task.validation_splits]
    for raw in splits.values():
        assert list(raw.rows.columns) == [*task.text_columns, "label"]
        assert raw.rows.to_numpy().tolist() == [TEXTS_AND_LABEL[name]]
        assert raw.wrong_field_count == 0


def test_lines_with_a_wrong_number_of_fields_are_counted_and_keep_their_number(tmp_path):
    good = RELEASE["qqp"][1]
    write_release(tmp_path, "qqp", ["train.tsv", "dev.tsv"], [good[:3], good, [*good, "more"], good])
    raw = glue.read_local(TASKS["qqp"], tmp_path)["train"]
    assert raw.wrong_field_count == 2
    assert raw.rows.index.tolist() == [1, 3]


def test_long_fields_line_ends_and_separators_inside_texts_survive(tmp_path):
    long = "word " * 40_000 + "\u2028\x0b end"
    folder = write_release(tmp_path, "sst2", ["train.tsv", "dev.tsv"], [[long, "1"]])
    (folder / "dev.tsv").write_bytes(b"sentence\tlabel\r\nfine\t1\r\n")
    splits = glue.read_local(TASKS["sst2"], tmp_path)
    assert splits["train"].rows["sentence"].tolist() == [long]
    assert splits["validation"].rows.to_numpy().tolist() == [["fine", "1"]]


def test_the_paraphrase_corpus_is_split_by_the_list_of_pairs(tmp_path):
    lines = [["1", str(i), str(i + 100), f"text {i}", f"other {i}"] for i in range(5)]
    folder = write_release(tmp_path, "mrpc", ["msr_paraphrase_train.txt"], lines)
    corpus = folder / "msr_paraphrase_train.txt"
    corpus.write_bytes(b"\xef\xbb\xbf" + corpus.read_bytes() + b"broken\n")
    with pytest.raises(DataError, match=r"dev_ids\.tsv"):
        glue.read_local(TASKS["mrpc"], tmp_path)
    (folder / "dev_ids.tsv").write_text("#1 ID\t#2 ID\n1\t101\n3\t103\n2\t999\n")
    splits = glue.read_local(TASKS["mrpc"], tmp_path)
    assert splits["validation"].rows["sentence1"].tolist() == ["text 1", "text 3"]
    assert splits["train"].rows["sentence2"].tolist() == ["other 0", "other 2", "other 4"]
    assert splits["train"].rows.index.tolist() == [0, 2, 4]
    assert (splits["train"].wrong_field_count, splits["validation"].wrong_field_count) == (1, 0)


def test_parquet_files_are_read_and_win_over_the_release(glue_directory):
    write_release(glue_directory, "sst2", ["train.tsv", "dev.tsv"])
    splits = glue.read_local(TASKS["sst2"], glue_directory)
    assert {split: len(raw.rows) for split, raw in splits.items()} == {"train": 80, "validation": 30}
    assert list(splits["train"].rows.columns) == ["sentence", "label"]


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*nowhere; expected one with sst2/train\.parquet"):
        glue.read_local(TASKS["sst2"], tmp_path / "nowhere")


def test_a_missing_task_says_which_files_are_expected(tmp_path):
    with pytest.raises(DataError, match=r"task mnli; expected mnli/train\.parquet, mnli/validation_matched") as caught:
        glue.read_local(TASKS["mnli"], tmp_path)
    assert "MNLI/train.tsv, MNLI/dev_matched.tsv, MNLI/dev_mismatched.tsv" in str(caught.value)


def test_a_missing_split_is_named(glue_directory):
    (glue_directory / "sst2" / "validation.parquet").unlink()
    with pytest.raises(DataError, match=r"sst2.validation\.parquet does not exist"):
        glue.read_local(TASKS["sst2"], glue_directory)


def test_a_missing_release_file_is_named(tmp_path):
    write_release(tmp_path, "rte", ["train.tsv"])
    with pytest.raises(DataError, match=r"RTE.dev\.tsv does not exist"):
        glue.read_local(TASKS["rte"], tmp_path)


def test_a_missing_column_is_named(glue_directory):
    path = glue_directory / "mrpc" / "train.parquet"
    pd.read_parquet(path).rename(columns={"sentence2": "other"}).to_parquet(path)
    expected = r"train\.parquet has no column sentence2; expected sentence1, sentence2, label, found sentence1, other"
    with pytest.raises(DataError, match=expected):
        glue.read_local(TASKS["mrpc"], glue_directory)


def test_a_missing_tsv_column_is_named(tmp_path):
    folder = write_release(tmp_path, "sst2", ["train.tsv", "dev.tsv"])
    (folder / "train.tsv").write_text("text\tlabel\nfine\t1\n")
    with pytest.raises(DataError, match=r"train\.tsv has no column sentence; expected sentence, label, found text"):
        glue.read_local(TASKS["sst2"], tmp_path)


def test_an_empty_tsv_file_is_named(tmp_path):
    folder = write_release(tmp_path, "sst2", ["train.tsv", "dev.tsv"])
    (folder / "train.tsv").write_text("")
    with pytest.raises(DataError, match=r"train\.tsv has no column sentence, label"):
        glue.read_local(TASKS["sst2"], tmp_path)


@pytest.mark.parametrize("cut", [0, 100, -20])
def test_a_corrupt_parquet_file_is_named(glue_directory, cut):
    path = glue_directory / "sst2" / "train.parquet"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"train\.parquet is not a readable parquet file"):
        glue.read_local(TASKS["sst2"], glue_directory)


def test_a_tsv_file_that_is_not_utf8_is_named(tmp_path):
    folder = write_release(tmp_path, "sst2", ["train.tsv", "dev.tsv"])
    (folder / "dev.tsv").write_bytes(b"sentence\tlabel\nna\xefve\t1\n")
    with pytest.raises(DataError, match=r"dev\.tsv is not UTF-8"):
        glue.read_local(TASKS["sst2"], tmp_path)


@pytest.fixture
def hub_copy(glue_directory, tmp_path, monkeypatch):
    """A folder in the layout of the hub's repository, in the hub's place."""
    configs = "".join(
        f"- config_name: {task}\n  data_files:\n  - {{split: train, path: {task}/train.parquet}}\n"
        f"  - {{split: validation, path: {task}/validation.parquet}}\n"
        for task in ("sst2", "stsb")
    )
    (glue_directory / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    monkeypatch.setattr(glue, "HUB_REPOSITORY", str(glue_directory))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return glue_directory


@pytest.mark.parametrize("name", ["sst2", "stsb"])
def test_the_hub_gives_the_same_rows_as_the_files(hub_copy, name):
    from_hub, from_files = glue.read_hub(TASKS[name], "main"), glue.read_local(TASKS[name], hub_copy)
    assert list(from_hub) == ["train", "validation"]
    for split, raw in from_hub.items():
        assert raw.rows.to_dict("list") == from_files[split].rows.to_dict("list")


def test_a_data_set_without_the_task_is_reported(hub_copy):
    with pytest.raises(DataError, match=r"\(rte, revision main\) could not be read"):
        glue.read_hub(TASKS["rte"], "main")


def test_a_data_set_without_a_split_is_reported(hub_copy):
    readme = hub_copy / "README.md"
    readme.write_text(readme.read_text().replace("split: validation", "split: test"))
    with pytest.raises(DataError, match=r"no split validation; it has train, test"):
        glue.read_hub(TASKS["sst2"], "main")


def test_an_unreachable_hub_says_to_use_local(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(
        DataError, match=r"nyu-mll/glue \(cola, revision main\).*`data\.source: local`.*CoLA/train\.tsv"
    ):
        glue.read_hub(TASKS["cola"], "main")

import json
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sensibert.config.settings import DataParams
from sensibert.data.tasks import TASKS
from sensibert.errors import DataError
from sensibert.sources import public
from sensibert.sources.prepare import prepare


def rows_of(raw):
    return pd.concat(raw.parts)


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

# One good line of each file of the SuperGLUE release.
SUPERGLUE_RELEASE = {
    "boolq": {"question": 'is "it', "passage": "It -- so it is.\u2028Still.", "idx": 0, "label": True},
    "cb": {"premise": "B: I guess so.", "hypothesis": "it is so", "label": "contradiction", "idx": 0},
    "wic": {"word": "place", "sentence1": "My place.", "sentence2": "No place for it.", "idx": 0, "label": False}
    | {"start1": 3, "end1": 8, "start2": 3, "end2": 8, "version": 1.1},
}


def header_of(task: str) -> list[str] | None:
    header = RELEASE[task][0]
    return None if header is None else header.split("/" if "/" in header else " ")


def write_release(directory: Path, task: str, files: list[str], lines: list[list[str]] | None = None) -> Path:
    header, good = header_of(task), RELEASE[task][1]
    folder = directory / TASKS[task].release.folder
    folder.mkdir(parents=True, exist_ok=True)
    content = [*([header] if header else []), *(lines or [good])]
    for name in files:
        (folder / name).write_text("".join("\t".join(fields) + "\n" for fields in content), encoding="utf-8")
    return folder


def write_jsonl(directory: Path, task: str, records: list[dict], files: tuple[str, ...] = ("train", "val")) -> Path:
    folder = directory / TASKS[task].release.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", RELEASE)
def test_the_original_release_is_read(name, tmp_path):
    dev = ["dev_matched.tsv", "dev_mismatched.tsv"] if name == "mnli" else ["dev.tsv"]
    write_release(tmp_path, name, ["train.tsv", *dev])
    task = TASKS[name]
    splits = public.read_local(task, tmp_path)
    assert list(splits) == ["train", *task.validation_splits]
    for raw in splits.values():
        assert list(rows_of(raw).columns) == [*task.text_columns, "label"]
        assert rows_of(raw).to_numpy().tolist() == [TEXTS_AND_LABEL[name]]
        assert raw.wrong_field_count == 0


@pytest.mark.parametrize("name", SUPERGLUE_RELEASE)
def test_the_original_superglue_release_is_read(name, tmp_path):
    record, task = SUPERGLUE_RELEASE[name], TASKS[name]
    folder = write_jsonl(tmp_path, name, [record])
    (folder / "val.jsonl").write_bytes(b"\r\n" + json.dumps(record).encode() + b"\r\n")
    splits = public.read_local(task, tmp_path)
    assert list(splits) == ["train", "validation"]
    for raw in splits.values():
        assert rows_of(raw).to_dict("index") == {0: {column: record[column] for column in task.columns}}
        assert raw.wrong_field_count == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", r"BoolQ.train\.jsonl, line 2 is not valid JSON"),
        (b"[1]", r"BoolQ.train\.jsonl, line 2 holds \[1\]; expected an object with the columns"),
        (b"\xef", r"BoolQ.train\.jsonl is not UTF-8 text"),
    ],
)
def test_a_line_of_the_superglue_release_that_is_no_object_is_named(tmp_path, line, message):
    path = write_jsonl(tmp_path, "boolq", [SUPERGLUE_RELEASE["boolq"]]) / "train.jsonl"
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(DataError, match=message):
        public.read_local(TASKS["boolq"], tmp_path)


def test_a_missing_column_or_file_of_the_superglue_release_is_named(tmp_path):
    folder = write_jsonl(tmp_path, "wic", [{"sentence1": "a", "sentence2": "b", "label": True}], files=("train",))
    with pytest.raises(DataError, match=r"train\.jsonl has no column word; expected sentence1, sentence2, word, label"):
        public.read_local(TASKS["wic"], tmp_path)
    write_jsonl(tmp_path, "wic", [SUPERGLUE_RELEASE["wic"]], files=("train", "test"))
    with pytest.raises(DataError, match=r"WiC.val\.jsonl does not exist"):
        public.read_local(TASKS["wic"], tmp_path)
    assert {path.name for path in folder.iterdir()} == {"train.jsonl", "test.jsonl"}


def test_a_task_may_lie_in_a_folder_of_its_collection(glue_directory, tmp_path):
    write_jsonl(tmp_path / "superglue", "cb", [SUPERGLUE_RELEASE["cb"]])
    assert len(rows_of(public.read_local(TASKS["cb"], tmp_path)["train"])) == 1
    assert glue_directory == tmp_path / "glue"
    assert len(rows_of(public.read_local(TASKS["sst2"], tmp_path)["train"])) == 80
    with pytest.raises(
        DataError, match=r"expected wic/train\.parquet.*WiC/val\.jsonl\) in it or in its folder superglue"
    ):
        public.read_local(TASKS["wic"], tmp_path)


def test_lines_with_a_wrong_number_of_fields_are_counted_and_keep_their_number(tmp_path):
    good = RELEASE["qqp"][1]
    write_release(tmp_path, "qqp", ["train.tsv", "dev.tsv"], [good[:3], good, [*good, "more"], good])
    raw = public.read_local(TASKS["qqp"], tmp_path)["train"]
    assert raw.wrong_field_count == 2
    assert rows_of(raw).index.tolist() == [1, 3]


def test_long_fields_line_ends_and_separators_inside_texts_survive(tmp_path):
    long = "word " * 40_000 + "\u2028\x0b end"
    folder = write_release(tmp_path, "sst2", ["train.tsv", "dev.tsv"], [[long, "1"]])
    (folder / "dev.tsv").write_bytes(b"sentence\tlabel\r\nfine\t1\r\n")
    splits = public.read_local(TASKS["sst2"], tmp_path)
    assert rows_of(splits["train"])["sentence"].tolist() == [long]
    assert rows_of(splits["validation"]).to_numpy().tolist() == [["fine", "1"]]


def test_the_paraphrase_corpus_is_split_by_the_list_of_pairs(tmp_path):
    lines = [["1", str(i), str(i + 100), f"text {i}", f"other {i}"] for i in range(5)]
    folder = write_release(tmp_path, "mrpc", ["msr_paraphrase_train.txt"], lines)
    corpus = folder / "msr_paraphrase_train.txt"
    corpus.write_bytes(b"\xef\xbb\xbf" + corpus.read_bytes() + b"broken\n")
    with pytest.raises(DataError, match=r"dev_ids\.tsv"):
        public.read_local(TASKS["mrpc"], tmp_path)
    (folder / "dev_ids.tsv").write_text("#1 ID\t#2 ID\n1\t101\n3\t103\n2\t999\n")
    splits = public.read_local(TASKS["mrpc"], tmp_path)
    assert rows_of(splits["validation"])["sentence1"].tolist() == ["text 1", "text 3"]
    assert rows_of(splits["train"])["sentence2"].tolist() == ["other 0", "other 2", "other 4"]
    assert rows_of(splits["train"]).index.tolist() == [0, 2, 4]
    assert (splits["train"].wrong_field_count, splits["validation"].wrong_field_count) == (1, 0)


def test_parquet_files_are_read_and_win_over_the_release(glue_directory):
    write_release(glue_directory, "sst2", ["train.tsv", "dev.tsv"])
    splits = public.read_local(TASKS["sst2"], glue_directory)
    rows = {split: rows_of(raw) for split, raw in splits.items()}
    assert {split: len(found) for split, found in rows.items()} == {"train": 80, "validation": 30}
    assert list(rows["train"].columns) == ["sentence", "label"]


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*nowhere; expected one with sst2/train\.parquet"):
        public.read_local(TASKS["sst2"], tmp_path / "nowhere")


def test_a_missing_task_says_which_files_are_expected(tmp_path):
    with pytest.raises(DataError, match=r"task mnli; expected mnli/train\.parquet, mnli/validation_matched") as caught:
        public.read_local(TASKS["mnli"], tmp_path)
    assert "MNLI/train.tsv, MNLI/dev_matched.tsv, MNLI/dev_mismatched.tsv" in str(caught.value)


def test_a_missing_split_is_named(glue_directory):
    (glue_directory / "sst2" / "validation.parquet").unlink()
    with pytest.raises(DataError, match=r"sst2.validation\.parquet does not exist"):
        public.read_local(TASKS["sst2"], glue_directory)


def test_a_missing_release_file_is_named(tmp_path):
    write_release(tmp_path, "rte", ["train.tsv"])
    with pytest.raises(DataError, match=r"RTE.dev\.tsv does not exist"):
        public.read_local(TASKS["rte"], tmp_path)


def test_a_missing_column_is_named(glue_directory):
    path = glue_directory / "mrpc" / "train.parquet"
    pd.read_parquet(path).rename(columns={"sentence2": "other"}).to_parquet(path)
    expected = r"train\.parquet has no column sentence2; expected sentence1, sentence2, label, found sentence1, other"
    with pytest.raises(DataError, match=expected):
        public.read_local(TASKS["mrpc"], glue_directory)


def test_a_missing_tsv_column_is_named(tmp_path):
    folder = write_release(tmp_path, "sst2", ["train.tsv", "dev.tsv"])
    (folder / "train.tsv").write_text("text\tlabel\nfine\t1\n")
    with pytest.raises(DataError, match=r"train\.tsv has no column sentence; expected sentence, label, found text"):
        public.read_local(TASKS["sst2"], tmp_path)


def test_an_empty_tsv_file_is_named(tmp_path):
    folder = write_release(tmp_path, "sst2", ["train.tsv", "dev.tsv"])
    (folder / "train.tsv").write_text("")
    with pytest.raises(DataError, match=r"train\.tsv has no column sentence, label"):
        public.read_local(TASKS["sst2"], tmp_path)


@pytest.mark.parametrize("cut", [0, 100, -20])
def test_a_corrupt_parquet_file_is_named(glue_directory, cut):
    path = glue_directory / "sst2" / "train.parquet"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"train\.parquet is not a readable parquet file"):
        public.read_local(TASKS["sst2"], glue_directory)


def test_a_parquet_file_may_be_a_folder_of_parts_with_categories_and_an_index(glue_directory):
    path = glue_directory / "sst2" / "train.parquet"
    rows = pd.read_parquet(path)
    expected, _ = prepare(TASKS["sst2"], DataParams(source="local", directory=glue_directory))
    path.unlink()
    path.mkdir()
    parts = (rows.iloc[:79].astype({"sentence": "category"}), rows.iloc[79:].astype({"sentence": "category"}))
    for number, part in enumerate(parts):
        part.assign(sentence=part["sentence"].cat.remove_unused_categories()).to_parquet(path / f"{number}.parquet")
    found, _ = prepare(TASKS["sst2"], DataParams(source="local", directory=glue_directory))
    assert found["train"].to_dict() == expected["train"].to_dict()
    rows.set_index("sentence").iloc[:79].to_parquet(path / "0.parquet")
    raw = public.read_local(TASKS["sst2"], glue_directory)["train"]
    assert rows_of(raw).equals(rows_of(raw)), "it may be read twice"
    assert rows_of(raw)["sentence"].tolist() == rows["sentence"].tolist()
    assert rows_of(raw).index.tolist() == list(range(len(rows)))


def test_two_columns_of_one_name_are_refused(glue_directory):
    path = glue_directory / "sst2" / "train.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("label", table["label"]), path)
    with pytest.raises(DataError, match=r"train\.parquet has more than one column 'label'; allowed: names that differ"):
        public.read_local(TASKS["sst2"], glue_directory)


def test_text_of_a_parquet_file_that_is_not_utf_8_is_named(glue_directory):
    path = glue_directory / "sst2" / "train.parquet"
    table = pq.read_table(path)
    latin = pa.array([sentence.encode() + b" caf\xe9" for sentence in table["sentence"].to_pylist()], pa.binary())
    sentences = pa.Array.from_buffers(pa.string(), len(latin), latin.buffers())
    pq.write_table(table.set_column(0, "sentence", sentences), path)
    with pytest.raises(DataError, match=r"train\.parquet is not a readable parquet file: .*Invalid UTF8"):
        list(public.read_local(TASKS["sst2"], glue_directory)["train"].parts)


def test_a_parquet_file_that_is_damaged_in_the_middle_is_named(glue_directory):
    path = glue_directory / "sst2" / "train.parquet"
    content = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    content[column.data_page_offset : column.data_page_offset + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.parquet is not a readable parquet file"):
        rows_of(public.read_local(TASKS["sst2"], glue_directory)["train"])


def test_a_tsv_file_that_is_not_utf8_is_named(tmp_path):
    folder = write_release(tmp_path, "sst2", ["train.tsv", "dev.tsv"])
    (folder / "dev.tsv").write_bytes(b"sentence\tlabel\nna\xefve\t1\n")
    with pytest.raises(DataError, match=r"dev\.tsv is not UTF-8"):
        public.read_local(TASKS["sst2"], tmp_path)


def write_repository(folder: Path, tasks: tuple[str, ...], configuration: str = "{}") -> None:
    """Describe the parquet files of a folder as a data set of the hub does."""
    configs = "".join(
        f"- config_name: {configuration.format(task)}\n  data_files:\n"
        + "".join(
            f"  - {{split: {path.stem}, path: {task}/{path.name}}}\n" for path in sorted((folder / task).iterdir())
        )
        for task in tasks
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")


@pytest.fixture
def hub_copy(glue_directory, tmp_path, monkeypatch):
    """Folders in the layout of the hub's repositories, in the hub's place."""
    write_repository(glue_directory, ("sst2", "stsb"))
    wic, imdb = tmp_path / "superglue" / "wic", tmp_path / "imdb" / "imdb"
    for folder, splits in ((wic, ("train", "validation", "test")), (imdb, ("train", "test", "unsupervised"))):
        folder.mkdir(parents=True)
        for split in splits:
            record = SUPERGLUE_RELEASE["wic"] if folder == wic else {"text": f"of {split}"}
            rows = pd.DataFrame([record | {"label": int(split == "train")}])
            rows.to_parquet(folder / f"{split}.parquet", index=False)
    write_repository(wic.parent, ("wic",))
    write_repository(imdb.parent, ("imdb",), configuration="plain_text")
    for source in public.HUB_REPOSITORIES:
        monkeypatch.setitem(public.HUB_REPOSITORIES, source, str(tmp_path / source))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return glue_directory


@pytest.mark.parametrize("name", ["sst2", "stsb", "wic", "imdb"])
def test_the_hub_gives_the_same_rows_as_the_files(hub_copy, name):
    task = TASKS[name]
    from_hub, from_files = public.read_hub(task, "main"), public.read_local(task, hub_copy.parent / task.source)
    assert list(from_hub) == ["train", *task.validation_splits]
    for split, raw in from_hub.items():
        assert rows_of(raw).to_dict("list") == rows_of(from_files[split]).to_dict("list")


def test_a_data_set_without_the_task_is_reported(hub_copy):
    with pytest.raises(DataError, match=r"\(rte, revision main\) could not be read"):
        public.read_hub(TASKS["rte"], "main")


def test_a_data_set_without_a_split_is_reported(hub_copy):
    readme = hub_copy / "README.md"
    readme.write_text(readme.read_text().replace("split: validation", "split: test"))
    with pytest.raises(DataError, match=r"no split validation; it has train, test"):
        public.read_hub(TASKS["sst2"], "main")


def test_an_unreachable_hub_says_to_use_local(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(
        DataError, match=r"nyu-mll/glue \(cola, revision main\).*`data\.source: local`.*CoLA/train\.tsv"
    ):
        public.read_hub(TASKS["cola"], "main")

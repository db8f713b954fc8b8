"""`sensibert predict`: the answers to a file of texts, in whatever format, by a model or by its export."""

import gzip
import io
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sensibert.cli import app
from sensibert.data.encoding import encode_texts
from sensibert.data.tasks import TASKS
from sensibert.deploy.onnx.export import export_onnx
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.training.cell import save_model

TEXTS = ["a warm film", 'it says "no", and\nends', "dull , dull , dull", "été ☃", "x"]
ROWS = pd.DataFrame({"id": [7, 8, 9, 10, 11], "review": TEXTS, "stars": [1.5, 2.0, 3.0, 4.0, 5.0]})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model, its export, and one for each other kind of task."""
    place = tmp_path_factory.mktemp("saved")
    tokenizer = load_tokenizer("tiny-bert")
    for name, task in (("model", "sst2"), ("pairs", "mrpc"), ("numbers", "stsb")):
        save_model(load_backbone("tiny-bert", TASKS[task], seed=0), tokenizer, place / name)
    model = load_backbone("tiny-bert", TASKS["sst2"], seed=0)
    texts = TEXTS * 3
    export_onnx(
        model, encode_texts(texts, tokenizer, 32), tokenizer, place / "onnx", max_length=32, texts=texts, int8=True
    )
    return place


def run(*arguments, **options):
    return CliRunner().invoke(app, ["predict", *(str(argument) for argument in arguments)], **options)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ROWS.to_csv("rows.csv", index=False)
    ROWS.to_csv("rows.tsv", index=False, sep="\t")
    ROWS.to_csv("rows.csv.gz", index=False)
    ROWS.to_json("rows.jsonl", orient="records", lines=True)
    ROWS.to_parquet("rows.parquet", index=False)
    return tmp_path


@pytest.fixture(scope="module")
def expected(saved):
    """The answers that Transformers gives."""
    from transformers import pipeline

    return pipeline("text-classification", str(saved / "model"))(TEXTS)


def read(name):
    if name.endswith(".parquet"):
        return pd.read_parquet(name)
    if ".jsonl" in name:
        return pd.read_json(name, lines=True)
    return pd.read_csv(name, sep="\t" if ".tsv" in name else ",")


@pytest.mark.parametrize("source", ["rows.csv", "rows.tsv", "rows.csv.gz", "rows.jsonl", "rows.parquet"])
@pytest.mark.parametrize("out", ["out.csv", "out.tsv.gz", "out.jsonl", "out.parquet"])
def test_every_format_has_the_columns_and_the_answers(here, saved, expected, source, out):
    result = run(saved / "model", source, "--text", "review", "--out", out)
    assert result.exit_code == 0, result.output
    found = read(out)
    assert list(found.columns) == ["id", "review", "stars", "predicted_label", "probability"]
    assert found["review"].tolist() == TEXTS
    assert found["id"].astype(int).tolist() == [7, 8, 9, 10, 11]
    assert found["predicted_label"].tolist() == [answer["label"] for answer in expected]
    np.testing.assert_allclose(found["probability"], [answer["score"] for answer in expected], atol=1e-4)


def test_a_parquet_file_keeps_its_types(here, saved):
    typed = ROWS.assign(stars=pd.Categorical(["a", "b", "a", "b", "a"]), id=ROWS["id"].astype("int16"))
    typed.to_parquet("typed.parquet", index=False)
    assert run(saved / "model", "typed.parquet", "--text", "review", "--out", "out.parquet").exit_code == 0
    before, after = pq.read_schema("typed.parquet"), pq.read_schema("out.parquet")
    assert [after.field(name).type for name in before.names] == [before.field(name).type for name in before.names]


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.mark.parametrize("piece", [1, 2, 100])
def test_a_parquet_file_holds_the_values_and_columns_of_all_rows(here, saved, monkeypatch, piece):
    monkeypatch.setattr("sensibert.cli.model._PIECE", piece)
    given = {"review": "a", "n": 2, "x": None}, {"review": "b", "n": 2.75}, {"review": "c", "x": "é", "late": True}
    (here / "odd.jsonl").write_text(lines(*given))
    result = run(saved / "model", "odd.jsonl", "--text", "review", "--out", "out.parquet")
    assert result.exit_code == 0, result.output
    found = pq.read_table("out.parquet").to_pylist()
    assert [row["n"] for row in found] == [2, 2.75, None]
    assert [row["x"] for row in found] == [None, None, "é"]
    assert [row["late"] for row in found] == [None, None, True]
    assert all(row["probability"] > 0 for row in found)
    assert sorted(path.name for path in here.iterdir() if "out" in path.name) == ["out.parquet"]


@pytest.mark.parametrize("out", ["out.parquet", "out.csv", "out.jsonl"])
def test_no_rows_have_no_answers(here, saved, out):
    ROWS[:0].to_parquet("none.parquet", index=False)
    result = run(saved / "model", "none.parquet", "--text", "review", "--out", out)
    assert result.exit_code == 0, result.output
    if out == "out.parquet":
        assert pq.read_table(out).column_names == list(ROWS)


def test_a_csv_file_may_have_a_long_cell(here, saved):
    (here / "long.csv").write_text("review,n\n" + "a " * 100_000 + ",1\n")
    assert run(saved / "model", "long.csv", "--text", "review", "--out", "out.csv").exit_code == 0
    assert len(read("out.csv")["review"][0]) == 200_000


@pytest.mark.parametrize(
    ("name", "content", "out", "message"),
    [
        ("x.csv", "review,n,n\na,1,2\n", "out.csv", "x.csv has more than one column 'n'; allowed: names that differ"),
        ("x.jsonl", lines({"review": "\ud800 a"}), "out.jsonl", "x.jsonl, object 1 holds \\ud800, one half of a char"),
        (
            "x.jsonl",
            lines({"review": "a"}, {"review": "b", "n": 1}),
            "out.csv",
            "the field 'n', which no row had before",
        ),
        ("x.jsonl", lines({"review": "a", "n": 1}, {"review": "b", "n": "c"}), "out.parquet", "can hold the rows"),
        ("x.jsonl", lines({"review": "a", "n": 2**63}), "out.parquet", "can hold the column 'n'"),
        ("x.jsonl", lines({"review": "a", "n": {}}), "out.parquet", "can hold the rows"),
        (
            "x.jsonl",
            lines({"review": "a", "n": 2**53 + 1}, {"review": "b", "n": 0.5}),
            "out.parquet",
            "can hold the rows",
        ),
    ],
)
def test_rows_that_the_output_cannot_hold_are_refused(here, saved, monkeypatch, name, content, out, message):
    monkeypatch.setattr("sensibert.cli.model._PIECE", 1)
    (here / name).write_text(content)
    result = run(saved / "model", name, "--text", "review", "--out", out)
    assert result.exit_code == 1
    assert message in result.output
    assert not (here / out).exists()


def test_the_length_of_an_export_is_its_own(saved):
    result = run(saved / "onnx", "-", "--max-length", "8", input="a warm film\n")
    assert result.exit_code == 1
    assert "--max-length 8: the export" in result.output


def test_lines_of_stdin_are_texts_and_the_answers_go_to_stdout(saved, expected):
    result = run(saved / "model", "-", input="a warm film\ndull , dull , dull\n")
    assert result.exit_code == 0, result.output
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["text"] for row in found] == ["a warm film", "dull , dull , dull"]
    assert [row["predicted_label"] for row in found] == [expected[0]["label"], expected[2]["label"]]


def test_stdin_may_be_a_table(here, saved):
    table = (here / "rows.csv").read_text()
    result = run(saved / "model", "-", "--from", "csv", "--text", "review", input=table)
    assert result.exit_code == 0, result.output
    assert pd.read_csv(io.StringIO(result.stdout))["review"].tolist() == TEXTS


def test_pieces_make_no_difference(here, saved, monkeypatch):
    run(saved / "model", "rows.csv", "--text", "review", "--out", "whole.csv", "--batch-size", "1")
    monkeypatch.setattr("sensibert.cli.model._PIECE", 2)
    run(saved / "model", "rows.csv", "--text", "review", "--out", "pieces.csv", "--batch-size", "1")
    assert (here / "pieces.csv").read_bytes() == (here / "whole.csv").read_bytes()


@pytest.mark.parametrize(("more", "tolerance"), [([], 1e-4), (["--int8"], 0.1)])
def test_an_export_answers_too(here, saved, expected, more, tolerance):
    result = run(saved / "onnx", "rows.csv", "--text", "review", "--out", "out.csv", *more)
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(read("out.csv")["probability"], [a["score"] for a in expected], atol=tolerance)


def test_pairs_have_two_columns(here, saved):
    ROWS.assign(other=TEXTS[::-1]).to_csv("pairs.csv", index=False)
    given = ["pairs.csv", "--text", "review", "--text-pair", "other"]
    assert run(saved / "pairs", *given, "--out", "out.csv").exit_code == 0
    assert run(saved / "pairs", *given[:3], "--out", "alone.csv").exit_code == 0
    assert not np.allclose(read("out.csv")["probability"], read("alone.csv")["probability"])


def test_a_regression_gives_a_score(here, saved):
    assert run(saved / "numbers", "rows.csv", "--text", "review", "--out", "out.csv").exit_code == 0
    assert list(read("out.csv").columns)[3:] == ["predicted_score"]


def test_a_row_without_a_text_has_no_answer(here, saved):
    (here / "gaps.csv").write_text("id,review\n1,a warm film\n2,\n3,dull\n")
    result = run(saved / "model", "gaps.csv", "--text", "review", "--out", "out.csv")
    assert result.exit_code == 0, result.output
    assert "1 rows have no text" in result.stderr
    assert read("out.csv")["probability"].notna().tolist() == [True, False, True]


def test_no_rows_are_no_mistake(here, saved):
    (here / "empty.txt").write_text("")
    result = run(saved / "model", "empty.txt")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        ("id,text\n1,a\n", "x.csv", "there is no column 'review'; the columns are 'id', 'text'"),
        ("review,probability\na,1\n", "x.csv", "there is a column 'probability' already"),
        ("review\na,b\n", "x.csv", "x.csv, line 2: the row has another number of cells than the header"),
        ('{"review": "a"}\n{"review": \n', "x.jsonl", "x.jsonl, line 2 is not valid JSON"),
        ('["a"]\n', "x.jsonl", 'x.jsonl, line 1 holds ["a"]; expected an object with the columns'),
        ('{"review": 5}\n', "x.jsonl", "the column 'review' holds 5, which is no text"),
        ("review\na\n", "x.parquet", "x.parquet cannot be read as parquet"),
        ("review\na\n", "x.csv.gz", "x.csv.gz cannot be read as csv"),
        ("review\na\n", "x.doc", "x.doc: unknown format 'doc'; allowed: csv, tsv, jsonl, parquet, txt"),
        (None, "gone.csv", "gone.csv: there is no such file"),
        (None, "gone.parquet", "gone.parquet: there is no such file"),
    ],
)
def test_mistakes_get_a_message_and_leave_nothing(here, saved, content, name, says):
    if content is not None:
        (here / name).write_text(content)
    before = sorted(here.iterdir())
    result = run(saved / "model", name, "--text", "review", "--out", "out.csv")
    assert result.exit_code == 1
    assert says in result.stderr
    assert sorted(here.iterdir()) == before


def test_a_damaged_row_far_down_leaves_nothing(here, saved, monkeypatch):
    monkeypatch.setattr("sensibert.cli.model._PIECE", 2)
    with gzip.open("long.jsonl.gz", "wt") as file:
        file.writelines(['{"review": "a"}\n'] * 5 + ["oops\n"])
    result = run(saved / "model", "long.jsonl.gz", "--text", "review", "--out", "out.csv")
    assert "long.jsonl.gz, line 6 is not valid JSON" in result.stderr
    assert not (here / "out.csv").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--out", "rows.tsv"], "--out rows.tsv is already there; name another file"),
        (["--out", "out.txt"], "such a file has no room for the answers"),
        (["--out", "-", "--to", "parquet"], "name a file"),
        (["--max-length", "100000"], "this model has positions for"),
        (["--int8"], "model.int8.onnx"),
    ],
)
def test_options_that_do_not_fit(here, saved, more, says):
    result = run(saved / "model", "rows.csv", "--text", "review", *more)
    assert result.exit_code == 1
    assert says in result.stderr

"""Score files, masks and data that are something else, damaged, or absurd."""

import json

import pytest
from hostile import COMMANDS

from sensibert.errors import ArtifactError
from sensibert.io import read_json

NOT_ARRAYS = {
    "empty": b"",
    "text": b"hello",
    "zeros": bytes(64),
    "huge header": (2**60).to_bytes(8, "little") + b"{}",
    "no header": (2).to_bytes(8, "little") + b"{}",
    "deep header": (20_000).to_bytes(8, "little") + b"[" * 20_000,
}


@pytest.mark.parametrize("content", NOT_ARRAYS.values(), ids=NOT_ARRAYS)
@pytest.mark.parametrize("option", ["--scores", "--mask"])
def test_a_file_that_holds_no_scores_or_mask(refused, here, option, content):
    (here / "mine").write_bytes(content)
    result = refused(*COMMANDS.compress, option, "mine", "--out", "small", says="mine is damaged or of another kind")
    assert "delete" not in result.stderr, "it is the user's own"


@pytest.mark.parametrize("option", ["--scores", "--mask"])
@pytest.mark.parametrize(
    ("place", "says"),
    [("rows.csv", "rows.csv is damaged or of another"), ("gone", "gone is missing"), ("model", "model")],
)
def test_a_place_that_holds_no_scores_or_mask(refused, option, place, says):
    result = refused(*COMMANDS.compress, option, place, "--out", "small", says=says)
    assert "delete" not in result.stderr


@pytest.mark.parametrize("place", ["rows.csv", "gone", "model", "model/model.safetensors"])
def test_mask_reads_nothing_but_scores(refused, place):
    refused("mask", place, "--out", "mask.safetensors", says=place)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"1" * 5000, b"[" * 100_000, b'{"a":' * 50_000, b'"\\ud800', b"NaN,"],
    ids=["empty", "cut", "no text", "long number", "deep list", "deep object", "cut text", "no value"],
)
def test_json_of_any_kind_is_refused_by_name(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.json is damaged"):
        read_json(path)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (['{"text": "a", "label": ' + "1" * 5000 + "}"], "line 1 is not valid JSON"),
        (['{"text": ' + "[" * 100_000], "line 1 is not valid JSON"),
        (["[1, 2]"], "entry 0 of its list is no object with the columns"),
        (["3"], "expected"),
        (["not json"], "line 1 is not valid JSON"),
    ],
)
def test_json_lines_of_any_kind(refused, here, lines, says):
    (here / "rows.csv").rename(here / "other.csv")
    (here / "rows.jsonl").write_text("\n".join(lines))
    arguments = [word.replace("rows.csv", "rows.jsonl") for word in COMMANDS.compress]
    refused(*arguments, "--out", "small", says=says)


def test_half_a_character_is_no_text(refused, here):
    rows = [{"text": f"good {number}", "label": "ab"[number % 2]} for number in range(20)] + [
        {"text": "\ud800", "label": "a"}
    ]
    (here / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    arguments = [word.replace("rows.csv", "rows.jsonl") for word in COMMANDS.compress]
    refused(*arguments, "--out", "small", says="holds a surrogate")

"""Tables of a user's own that say two things at once, or nothing."""

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import COMMANDS, by_command
from hypothesis import given
from hypothesis import strategies as st

from sensibert.errors import DataError
from sensibert.sources.files import _read

READING = ("compress", "score", "evaluate", "export")
BODY = "\n".join(f"some text {number},other {number},{('bad', 'good')[number % 2]}" for number in range(20))
RECORD = '{"text": "a", "text": "b", "label": "bad"}'


def of(command, name):
    return [word.replace("rows.csv", name) for word in getattr(COMMANDS, command)]


def write(place, content):
    if place.suffix == ".gz":
        place.write_bytes(gzip.compress(content.encode()))
    else:
        place.write_text(content)


TWINS = {
    "csv": ("x.csv", f"text,text,label\n{BODY}", "x.csv has more than one column 'text'"),
    "tsv": ("x.tsv", f"text,text,label\n{BODY}".replace(",", "\t"), "x.tsv has more than one column 'text'"),
    "csv.gz": ("x.csv.gz", f"text,text,label\n{BODY}", "x.csv.gz has more than one column 'text'"),
    "labels": ("x.csv", f"text,label,label\n{BODY}", "x.csv has more than one column 'label'"),
    "of no interest": ("x.csv", "text,label,x,x\na,bad,1,2\n", "x.csv has more than one column 'x'"),
    "with a mark": ("x.csv", f"\ufefftext,text,label\n{BODY}", "x.csv has more than one column 'text'"),
    "after empty lines": ("x.csv", f"\n\ntext,text,label\n{BODY}", "x.csv has more than one column 'text'"),
    "quoted": ("x.csv", f'"text",text,label\n{BODY}', "x.csv has more than one column 'text'"),
    "over lines": ("x.csv", f'"te\nxt","te\nxt",label\n{BODY}', "x.csv has more than one column 'te\\nxt'"),
    "like pandas": ("x.csv", "text,text.1,text,label\na,b,c,bad\n", "x.csv has more than one column 'text'"),
    "jsonl": ("x.jsonl", RECORD, "line 1 is not valid JSON: the key 'text' is there twice"),
    "jsonl later": ("x.jsonl", f'{{"text": "a"}}\n{RECORD}', "line 2 is not valid JSON: the key 'text' is there twice"),
    "jsonl within": ("x.jsonl", '{"text": {"a": 1, "a": 2}}', "the key 'a' is there twice"),
    "json": ("x.json", f"[{RECORD}]", "x.json is not valid JSON: the key 'text' is there twice"),
}


@pytest.mark.parametrize(("case", "command"), by_command(TWINS, READING))
def test_two_columns_of_one_name(refused, here, case, command):
    name, content, says = case
    write(here / name, content)
    refused(*of(command, name), "--out", "result", says=says)


def test_two_columns_of_one_name_in_parquet(refused, here):
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), here / "x.parquet")
    refused(*of("evaluate", "x.parquet"), says="x.parquet has more than one column 'text'")


NO_TABLES = {
    "nothing": ("x.csv", "", "x.csv is empty"),
    "a header": ("x.csv", "text,label\n", "x.csv is empty: it holds no rows"),
    "more cells": ("x.csv", "text,label\na,b,c\n", "its rows have more cells than its first line names columns"),
    "an open quotation": ("x.csv", 'text,label\n"a,b\n', "is opened and never closed"),
    "no such column": ("x.csv", "words,label\na,b\n", "x.csv has no column 'text'; it has 'words', 'label'"),
    "numbers": ("x.csv", "text,label\n1,bad\n2,good\n", "column 'text' holds numbers alone"),
    "no labels": ("x.csv", "text,label\na,\nb,\n", "column 'label' holds no label in any of its 2 rows"),
    "a suffix of no kind": ("x.xlsx", "text,label\na,bad\n", "x.xlsx has an unknown suffix; allowed: .csv, "),
    "no gzip": ("x.csv.gz.csv", "\x1f\x8b", "x.csv.gz.csv"),
    "deep": ("x.json", "[" * 100_000, "x.json is not valid JSON"),
    "a long number": ("x.json", f"[{'1' * 5000}]", "x.json is not valid JSON"),
    "a list of lists": ("x.json", "[[1]]", "entry 0 of its list is no object with the columns"),
    "an object": ("x.json", '{"text": "a"', "x.json, line 1 is not valid JSON"),
    "no parquet": ("x.parquet", "PAR1", "x.parquet is not a readable parquet file"),
    "empty parquet": ("x.parquet", "", "x.parquet is not a readable parquet file"),
}


@pytest.mark.parametrize(("case", "command"), by_command(NO_TABLES, READING))
def test_files_that_are_no_tables(refused, here, case, command):
    name, content, says = case
    (here / name).write_text(content)
    refused(*of(command, name), "--out", "result", says=says)


NO_TEXT = {"latin-1": "texté".encode("latin-1"), "utf-16": "text".encode("utf-16"), "bytes": bytes(range(256))}


@pytest.mark.parametrize("content", NO_TEXT.values(), ids=NO_TEXT)
@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.json", "x.jsonl", "x.csv.gz", "x.parquet"])
def test_files_that_are_no_text(refused, here, name, content):
    (here / name).write_bytes(content)
    refused(*of("evaluate", name), says=name)


cells = st.text(st.characters(codec="utf-8", exclude_characters='\x00\r\n",'), max_size=8)


@given(header=st.lists(cells, min_size=1, max_size=5))
def test_a_header_is_read_as_it_is_or_refused(tmp_path_factory, header):
    place = tmp_path_factory.getbasetemp() / "header.csv"
    place.write_text(",".join(header) + "\n" + ",".join(map(str, range(len(header)))) + "\n", encoding="utf-8")
    try:
        columns = list(_read(str(place))["train"].columns)
    except DataError:
        return
    named = [name.removeprefix("\ufeff") for name in header]
    assert [name for name in named if name] == [
        found for found, name in zip(columns, named, strict=False) if name
    ] or not any(name.strip() for name in named)
    assert len({name for name in named if name}) == len([name for name in named if name])


@given(
    content=st.binary(max_size=300), suffix=st.sampled_from([".csv", ".tsv", ".json", ".jsonl", ".parquet", ".csv.gz"])
)
def test_any_bytes_are_a_table_or_refused(tmp_path_factory, content, suffix):
    place = tmp_path_factory.getbasetemp() / f"bytes{suffix}"
    place.write_bytes(content)
    try:
        assert len(_read(str(place))["train"])
    except DataError as error:
        assert str(place) in str(error)  # noqa: PT017 (either is right)

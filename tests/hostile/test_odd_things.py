"""Pipes in the place of files, options without a name, and numbers that no machine has room for."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hostile import COMMANDS, to, with_model

from sensibert.config.params import load_params, parse_params
from sensibert.errors import DataError, ParamsError
from sensibert.experiment.tracking.view import how_to_open
from sensibert.sources.files import _read

ROOT = Path(__file__).parents[2]
PIPES = {
    "scores": ("mask", "scores.safetensors"),
    "config": ("evaluate", "model/config.json"),
    "weights": ("evaluate", "model/model.safetensors"),
    "tokenizer": ("export", "model/tokenizer.json"),
}


@pytest.mark.parametrize(("command", "file"), PIPES.values(), ids=PIPES)
def test_a_pipe_is_no_file(refused, here, command, file):
    (here / file).unlink()
    os.mkfifo(here / file)
    refused(*with_model(command), *to(command), says=f"{file} is no regular file but a pipe, a socket or a device")


def test_a_pipe_as_mark_is_no_mark(refused, here):
    (here / "result").mkdir()
    os.mkfifo(here / "result" / ".sensibert.json")
    refused(*COMMANDS.evaluate, "--out", "result", "--overwrite", says="this it did not make")


def test_a_pipe_is_no_parameter_file(tmp_path):
    os.mkfifo(tmp_path / "params.yaml")
    with pytest.raises(ParamsError, match=r"params.yaml is no regular file"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("text", ["!!bool x", "!!timestamp x", "!!int x", "!!float x", "010", "0x10", "1:30"])
def test_values_of_yaml_that_nobody_writes(tmp_path, text):
    (tmp_path / "params.yaml").write_text(f"seeds: [{text}, 1]\n")
    with pytest.raises(ParamsError, match=r"params.yaml is not valid YAML"):
        load_params(tmp_path / "params.yaml")


EMPTY = {option: ("compress", option) for option in ("--model", "--train", "--validation", "--scores", "--mask")}
EMPTY["--data"] = ("evaluate", "--data")


@pytest.mark.parametrize(("command", "option"), EMPTY.values(), ids=EMPTY)
def test_an_option_without_a_name(refused, command, option):
    refused(*getattr(COMMANDS, command), option, "", "--out", "small", says=f"'{option}': it is empty")


@pytest.mark.parametrize("command", ["compress", "evaluate", "mask", "bench"])
def test_a_place_whose_name_is_no_text(refused, command):
    refused(*getattr(COMMANDS, command), "--out", os.fsdecode(b"r\xff"), says="the name is not UTF-8")


@pytest.mark.parametrize(("key", "value"), [("profile", "a" * 300), ("model.backbone", "")])
def test_names_of_a_wrong_length(key, value):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    (content["model"] if "." in key else content)[key.rpartition(".")[2]] = value
    with pytest.raises(ParamsError, match=rf"{key}: String should have at (least|most)"):
        parse_params(content)


NUMBERS = {
    "--batch-size": 2**70,
    "--max-length": 10**20,
    "--max-train": 2**70,
    "--round-to": 2**70,
    "--seed": 2**70,
    "--threads": 2**40,
    "--repeats": 10**20,
    "--length": 10**20,
}


@pytest.mark.parametrize("option", NUMBERS)
def test_numbers_that_no_machine_has_room_for(refused, option):
    command = "bench" if option in ("--threads", "--repeats", "--length") else "compress"
    refused(*getattr(COMMANDS, command), option, NUMBERS[option], "--out", "result.json", says=f"'{option}'")


def test_a_store_that_is_none(monkeypatch):
    from sensibert.errors import TrackingError

    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI: 'sqlite' is no store; allowed"):
        how_to_open("sqlite")


def test_large_labels_of_parquet_next_to_a_missing_one(tmp_path):
    pq.write_table(pa.table({"text": ["a", "b", "c"], "label": [2**53, 2**53 + 1, None]}), tmp_path / "x.parquet")
    assert _read(str(tmp_path / "x.parquet"))["train"]["label"].tolist() == [2**53, 2**53 + 1, None]


def invalid_text():
    return pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff"))


DAMAGED = {
    "null": pa.table({"text": ["a"]}).replace_schema_metadata({"huggingface": "null"}),
    "no info": pa.table({"text": ["a"]}).replace_schema_metadata({"huggingface": '{"info": null}'}),
    "no utf-8": pa.table({"text": invalid_text()}),
}


@pytest.mark.parametrize("table", DAMAGED.values(), ids=DAMAGED)
def test_parquet_that_is_damaged_inside(tmp_path, table):
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x.parquet is not a readable parquet file"):
        _read(str(tmp_path / "x.parquet"))

"""The commands that hostile input is given to."""

import json
import os
from itertools import cycle, product
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from sensibert.cli import app

LONG = os.environ.get("SENSIBERT_HOSTILE") == "long"
"""Whether every case meets every command and hypothesis draws many examples: `make hostile`."""


def run(*arguments, stdin=""):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def files_below(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


DATA = ("--text", "text", "--label", "label")
QUICK = ("--epochs", "1", "--max-length", "32", "--learning-rate", "1e-3")
"""Of a compression: without the trials that find a rate."""
COMMANDS = SimpleNamespace(
    compress=("compress", "--model", "tiny-bert", "--train", "rows.csv", *DATA, *QUICK),
    score=("score", "--model", "tiny-bert", "--train", "rows.csv", *DATA, "--max-length", "32"),
    mask=("mask", "scores.safetensors"),
    evaluate=("evaluate", "model", "--data", "rows.csv", *DATA, "--max-length", "32"),
    bench=("bench", "model", "--batch-size", "1", "--length", "8", "--repeats", "1"),
    export=("export", "model", "--data", "rows.csv", *DATA, "--max-length", "32"),
)


def with_model(command):
    """The command, given the folder of the test instead of a backbone of ours."""
    return tuple("model" if word == "tiny-bert" else word for word in getattr(COMMANDS, command))


def to(command):
    """Where the command writes in a test."""
    return ("--out", {"bench": "result.json", "score": "result.safetensors"}.get(command, "result"))


def by_command(cases, commands):
    """Parameters: each case with one command, the next with the next one; with every command in the long form."""
    pairs = product(cases, commands) if LONG else zip(cases, cycle(commands), strict=False)
    return [pytest.param(cases[name], command, id=f"{name}-{command}") for name, command in pairs]


def change_json(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))

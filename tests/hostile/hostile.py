"""The commands that hostile input is given to."""

from types import SimpleNamespace

from typer.testing import CliRunner

from sensibert.cli import app


def run(*arguments, stdin=""):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def files_below(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


DATA = ("--text", "text", "--label", "label")
COMMANDS = SimpleNamespace(
    compress=("compress", "--model", "tiny-bert", "--train", "rows.csv", *DATA, "--epochs", "1", "--max-length", "32"),
    score=("score", "--model", "tiny-bert", "--train", "rows.csv", *DATA, "--max-length", "32"),
    mask=("mask", "scores.safetensors"),
    evaluate=("evaluate", "model", "--data", "rows.csv", *DATA, "--max-length", "32"),
    bench=("bench", "model", "--batch-size", "1", "--length", "8", "--repeats", "1"),
    export=("export", "model", "--data", "rows.csv", *DATA, "--max-length", "32"),
)

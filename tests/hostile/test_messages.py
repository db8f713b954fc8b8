"""What the commands say about mistakes: early, in one line, and of the thing that is wrong."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import COMMANDS, by_command, run, to

MODELS = ("evaluate", "compress", "bench", "score", "export")


def given(command, name):
    return tuple(name if word in ("model", "tiny-bert") else word for word in getattr(COMMANDS, command))


NAMES = {
    "nowhere": ("./nowhere", "nowhere"),
    "a file": ("rows.csv", "rows.csv"),
    "nothing": ("", ""),
    "long": ("x" * 5000, "x"),
    "a null": ("a\0b", ""),
    "a line end": ("a\nb", ""),
    "a scheme": ("https://example.invalid/model", "https://example.invalid/model"),
    "an option": ("-x", ""),
    "a path of the system": ("/dev/null", "/dev/null"),
    "a folder above": ("..", ""),
    "no model": ("empty", "empty"),
}


@pytest.mark.parametrize(("case", "command"), by_command(NAMES, MODELS))
def test_names_of_models_that_are_none(refused, here, case, command):
    name, says = case
    if says and command in ("evaluate", "bench", "export"):  # these take a folder, and a path has no double slash
        says = str(Path(says))
    (here / "empty").mkdir()
    result = refused(*given(command, name), *to(command), says=says)
    assert ".. " not in result.stderr.replace("'..'", "")


@pytest.mark.parametrize("kind", ["params", "macs", "size"])
@pytest.mark.parametrize("budget", ["0.0001", "1e-9"])
def test_a_budget_that_is_too_small_is_refused_before_the_pass(refused, kind, budget):
    result = refused(
        *COMMANDS.compress, "--budget", budget, "--budget-kind", kind, "--out", "small", says="is too small"
    )
    assert "score: one pass" not in result.output


@pytest.mark.parametrize("budget", ["0", "-1", "1.1", "nan", "inf", "-inf"])
@pytest.mark.parametrize("command", ["compress", "mask"])
def test_a_budget_that_is_none(refused, command, budget):
    refused(*getattr(COMMANDS, command), "--budget", budget, "--out", "result", says="budget")


@pytest.mark.parametrize("arguments", [[], ["sst2"], ["../x"], ["--force", "sst2"]], ids=" ".join)
def test_profiles_outside_a_repository(refused, arguments):
    refused("profile", *arguments, says="there is no folder profiles/ here; run from the repository root")


def test_evaluate_says_on_how_many_rows(here):
    result = run(*COMMANDS.evaluate)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].split() == ["rows", "80"]


UNUSABLE = "a text,\nanother,\n,good\n"
SAID_OF_THEM = "data: 1 rows left out: missing text\ndata: 2 rows left out: missing label\n"


def test_rows_that_cannot_be_used_are_counted(here):
    with (here / "rows.csv").open("a") as file:
        file.write(UNUSABLE)
    result = run(*COMMANDS.evaluate, "--out", "result")
    assert result.exit_code == 0, result.output
    assert SAID_OF_THEM in result.stdout
    assert json.loads((here / "result" / "metrics.json").read_text())["rows"] == 80


@pytest.fixture(scope="module")
def exported(originals, tmp_path_factory):
    """The folder of an export that was checked on rows of which some cannot be used, and what the command said."""
    folder = tmp_path_factory.mktemp("exported")
    rows = folder / "rows.csv"
    rows.write_text((originals / "rows.csv").read_text() + UNUSABLE)
    data = ["--data", rows, "--text", "text", "--label", "label", "--max-length", "32"]
    result = run("export", originals / "model", *data, "--out", folder / "onnx")
    assert result.exit_code == 0, result.output
    return folder / "onnx", result.stdout


def test_rows_that_cannot_be_used_are_counted_by_an_export(exported):
    _, said = exported
    assert SAID_OF_THEM in said


@pytest.fixture
def onnx(here, exported):
    folder, _ = exported
    return shutil.copytree(folder, here / "onnx")


@pytest.mark.parametrize("command", ["evaluate", "compress", "score", "export"])
def test_an_export_is_no_model_for_pytorch(refused, onnx, command):
    refused(*given(command, "onnx"), *to(command), says="onnx is an ONNX export, which holds no model for PyTorch")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 100], ids=["empty", "text", "zeros"])
def test_a_damaged_export_has_no_speed(refused, onnx, content):
    (onnx / "model.onnx").write_bytes(content)
    refused(*given("bench", "onnx"), *to("bench"), says="onnx/model.onnx is damaged or of another kind")


def predict(folder, *arguments):
    done = subprocess.run(
        [sys.executable, folder / "predict.py", *arguments], capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr
    return done


def test_an_export_answers(onnx):
    for texts in (["a text"], ["a text", "another"], [""], ["😀"]):
        assert json.loads(predict(onnx, *texts).stdout)["label"] in ("bad", "good")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give a text or two, or --csv FILE"),
        (["a", "--csv", "rows.csv"], "give a text or two, or --csv FILE"),
        (["--csv", "gone.csv"], "No such file or directory: 'gone.csv'"),
        (["--csv", "rows.csv", "--text", "txt"], "no column 'txt' in rows.csv; the columns are ['text', 'label']"),
        (["--csv", "rows.csv", "--batch-size", "0"], "--batch-size: must be at least 1"),
        (["a", "b", "c"], "3 texts; allowed: one, or the two of a pair"),
        (["a", "--model", "gone.onnx"], "error: cannot answer with"),
        (["a", "--model", "config.json"], "error: cannot answer with"),
        (["a", "--model", "."], "error: cannot answer with"),
        (["a", "--evil"], "unrecognized arguments: --evil"),
    ],
)
def test_wrong_arguments_of_an_export(onnx, arguments, says):
    done = predict(onnx, *arguments)
    assert done.returncode != 0
    assert says in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b"{}", b"\xff"], ids=["gone", "empty", "list", "object", "bytes"]
)
@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.onnx"])
def test_damaged_files_of_an_export(onnx, file, content):
    (onnx / file).unlink()
    if content is not None:
        (onnx / file).write_bytes(content)
    done = predict(onnx, "a text")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot answer with")
    assert len(done.stderr.splitlines()) == 1

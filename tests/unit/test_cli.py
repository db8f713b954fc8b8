import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sensibert import __version__
from sensibert.cli import app
from sensibert.config.params import load_params
from sensibert.config.paths import Paths
from sensibert.io import write_json

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    shutil.copyfile(tmp_path / "profiles" / "pydocs.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_version():
    assert run("--version").output == f"{__version__}\n"


@pytest.mark.parametrize(
    "command",
    ["compress", "score", "mask", "evaluate", "predict", "bench", "export", "profile", "grid", "track", "show"],
)
def test_every_command_has_help(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_profile_lists_all_and_marks_the_active_one(workspace):
    lines = run("profile").output.splitlines()
    assert [line.split()[0] for line in lines] == [
        "bert-tiny-imdb",
        "glue-small",
        "methods",
        "methods-small",
        "paper",
        "*",
        "sst2",
        "tiny",
    ]
    assert lines[5].startswith("* pydocs")


def test_profile_activates_one(workspace):
    result = run("profile", "tiny")
    assert result.exit_code == 0
    assert load_params(workspace / "params.yaml").profile == "tiny"
    assert "* tiny" in run("profile").output


def test_a_mistake_is_a_message_without_a_traceback(workspace):
    result = run("profile", "huge")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: unknown profile 'huge'; allowed: ")
    assert result.stdout == ""


def test_edits_are_kept_unless_forced(workspace):
    params = workspace / "params.yaml"
    params.write_text(params.read_text() + "# an edit\n")
    assert run("profile", "tiny").exit_code == 1
    assert "derived from: pydocs" in run("profile").output
    assert run("profile", "tiny", "--force").exit_code == 0


def test_a_bug_of_ours_keeps_its_traceback(workspace, monkeypatch):
    def broken(path="params.yaml"):
        raise ZeroDivisionError

    monkeypatch.setattr("sensibert.config.params.load_params", broken)
    assert isinstance(run("show").exception, ZeroDivisionError)


def test_show_says_what_is_there(workspace):
    assert f"0 of {len(load_params().cells())} cells" in run("show").output
    paths = Paths("pydocs")
    cell = load_params().cells()[0]
    write_json(paths.metrics(cell), {})
    paths.reports.mkdir(parents=True)
    for name in ("report.html", "table.md", "budget.svg"):
        (paths.reports / name).write_text("x")
    output = run("show").output
    assert f"1 of {len(load_params().cells())} cells" in output
    assert "page     reports/pydocs/report.html" in output
    assert "reports/pydocs/table.md" in output
    assert "reports/pydocs/budget.svg" in output
    assert "make ui" in output


def test_show_without_params_names_the_file(workspace):
    (workspace / "params.yaml").unlink()
    result = run("show")
    assert result.exit_code == 1
    assert "params.yaml does not exist" in result.stderr

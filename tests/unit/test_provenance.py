import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy
import pytest

from sensibert import __version__
from sensibert.experiment import provenance
from sensibert.experiment.provenance import Timer, collect, git_state, params_hash


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    git(tmp_path, "init", "--quiet")
    for name in ("code.py", "dvc.lock", "params.yaml"):
        (tmp_path / name).write_text("first\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "First")
    return tmp_path


@pytest.fixture
def timer():
    with Timer() as timer:
        sum(range(1000))
    return timer


def test_the_timer_measures_the_block(timer):
    assert timer.seconds > 0
    assert timer.started <= timer.finished
    assert timer.started.utcoffset() == timedelta(0)


def test_the_timer_also_ends_when_the_work_fails():
    timer = Timer()
    with pytest.raises(ZeroDivisionError), timer:
        1 / 0  # noqa: B018
    assert timer.seconds >= 0


def test_collect_is_json_with_the_seconds_at_the_top(timer, repository):
    content = collect(timer, {"epochs": 3}, data_hash="abc", precision="fp32", root=repository)
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["seconds"] == pytest.approx(timer.seconds, abs=1e-3)
    assert datetime.fromisoformat(content["finished"]) >= datetime.fromisoformat(content["started"])
    assert content["params_hash"] == params_hash({"epochs": 3})
    assert (content["data_hash"], content["precision"]) == ("abc", "fp32")
    assert content["git"] == {"revision": git(repository, "rev-parse", "HEAD"), "dirty": False}
    assert content["packages"]["sensibert"] == __version__
    assert content["packages"]["numpy"] == numpy.__version__
    assert content["python"] == sys.version.split()[0]
    assert content["hardware"]["cores"] >= 1
    assert content["hardware"]["memory"] > 2**28
    assert content["hardware"]["cpu"]


def test_params_hash_ignores_the_order_of_keys_and_nothing_else():
    assert params_hash({"a": 1, "b": [1, 2]}) == params_hash({"b": [1, 2], "a": 1})
    assert params_hash({"a": 1, "b": [1, 2]}) != params_hash({"a": 1, "b": [2, 1]})


def test_changed_code_is_dirty_but_the_parameters_and_what_the_pipeline_writes_are_not(repository):
    (repository / "dvc.lock").write_text("second\n")
    (repository / "params.yaml").write_text("second\n")
    (repository / "untracked.txt").write_text("x\n")
    assert git_state(repository)["dirty"] is False
    (repository / "code.py").write_text("second\n")
    assert git_state(repository)["dirty"] is True
    (repository / "reports").mkdir()
    assert git_state(repository / "reports")["dirty"] is True


def test_git_is_null_outside_a_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) == {"revision": None, "dirty": None}


def test_git_is_null_where_git_is_not_installed(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_state(repository) == {"revision": None, "dirty": None}


def test_a_package_that_is_not_installed_is_null(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("no-such-distribution",))
    assert provenance.package_versions() == {"no-such-distribution": None}

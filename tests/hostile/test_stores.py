"""The MLflow store: built whole or not at all, healed where it was left half made, left alone where it is not ours."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from hostile import files_below, run

from sensibert.errors import TrackingError
from sensibert.experiment.tracking.store import build_store, is_half_made, lock

ROOT = Path(__file__).parents[2]
TABLES = ("experiments", "runs", "metrics", "params", "tags", "alembic_version", "_alembic_tmp_metrics")


def make(path, *statements):
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("count", range(len(TABLES) + 1))
def test_a_store_that_was_left_half_made_is_built_again(tmp_path, count):
    path = tmp_path / "mlflow.db"
    make(path, *(f"CREATE TABLE {name} (x)" for name in TABLES[:count]))
    assert is_half_made(path)


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE customers (x)"],
        ["CREATE TABLE runs (x)", "CREATE TABLE customers (x)"],
        ["CREATE TABLE experiments (x)", "INSERT INTO experiments VALUES (1)"],
    ],
)
def test_a_database_with_something_in_it_is_not(tmp_path, statements):
    path = tmp_path / "mlflow.db"
    make(path, *statements)
    before = path.read_bytes()
    assert not is_half_made(path)
    build_store(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"hello", bytes(5000), b"SQLite format 3\x00" + bytes(100)])
def test_a_file_that_is_no_database_is_left_alone(tmp_path, content):
    path = tmp_path / "mlflow.db"
    path.write_bytes(content)
    assert not is_half_made(path)


def test_a_folder_that_is_not_there_is_named_and_not_made(tmp_path):
    uri = f"sqlite:///{tmp_path}/misspelt/mlflow.db"
    with pytest.raises(TrackingError, match="there is no folder"), lock(uri, tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_killed_first_sync_leaves_no_store_or_a_whole_one(tmp_path):
    """Killed a moment after the file appears; `make chaos` kills syncs at random ones."""
    code = (
        "from pathlib import Path; from sensibert.experiment.tracking.store import build_store;"
        f"import mlflow; print('go', flush=True); build_store(Path({str(tmp_path / 'mlflow.db')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.readline()
    time.sleep(0.6)
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = tmp_path / "mlflow.db"
    build_store(store)
    assert store.is_file()
    assert not is_half_made(store)
    assert not list(tmp_path.glob("*sensibert-*"))


def test_track_outside_an_experiment_makes_no_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("track")
    assert result.exit_code == 1
    assert "params.yaml does not exist" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """A working folder with the parameters of an experiment of which nothing is computed."""
    shutil.copyfile(ROOT / "profiles" / "pydocs.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


STORES = {
    "memory": ("sqlite://", "it is in memory alone"),
    "memory by slashes": ("sqlite:///", "it is in memory alone"),
    "memory by name": ("sqlite:///:memory:", "it is in memory alone"),
    "a folder without locks": ("sqlite:////proc/mlflow.db", "no file can be written and locked in /proc"),
    "a folder of the system": ("sqlite:////sys/mlflow.db", "no file can be written and locked in /sys"),
    "a pipe": ("sqlite:///pipe", "pipe is no file"),
    "a file of the system": ("sqlite:////proc/version", "/proc/version is no SQLite database"),
    "a folder": ("sqlite:///folder", "folder is no file"),
    "a text": ("sqlite:///params.yaml", "params.yaml is no SQLite database"),
    "a misspelt folder": ("sqlite:///misspelt/mlflow.db", "there is no folder misspelt"),
    "a name below a file": ("sqlite:///params.yaml/mlflow.db", "there is no folder params.yaml"),
    "a driver that is not there": ("sqlite+evil:///mlflow.db", "cannot use the MLflow store sqlite+evil:///mlflow.db"),
    "no such scheme": ("evil://x", "cannot use the MLflow store evil://x"),
}


@pytest.mark.parametrize(("uri", "says"), STORES.values(), ids=STORES)
def test_a_store_that_is_none_is_refused_at_once(experiment, monkeypatch, uri, says):
    (experiment / "folder").mkdir()
    os.mkfifo("pipe")
    before = files_below(experiment)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    start = time.monotonic()
    result = run("track")
    assert time.monotonic() - start < 20
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert says in result.stderr
    assert {name: content for name, content in files_below(experiment).items() if name.suffix != ".lock"} == before
    assert (experiment / "pipe").is_fifo(), "a store is moved to its place: it must not replace a device"

"""The folders that commands are tried in: made once, copied for every trial."""

import fnmatch
import hashlib
import os
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from tiny_glue import write_tiny_glue
from work_tree import ROOT, WorkTree, make_origin

ROWS = ("--text", "text", "--label", "label", "--max-length", "32")
COMPRESS = ("sensibert", "compress", "--model", "tiny-bert", "--train", "rows.csv", *ROWS, "--epochs", "1", "--out")
_NOT_LOOKED_AT = {".git", ".dvc", ".tmp", "src", "tests", "__pycache__"}
ID = re.compile(r"\b[0-9a-f]{32}\b")


def sources_of(place: Path) -> Path:
    """The code that commands in a folder run: that of its work tree, or of this one."""
    own = place / "src"
    return own if own.is_dir() else ROOT / "src"


def environment(place: Path, **more: str) -> dict[str, str]:
    """What a command in a folder is started with."""
    temporary = place / ".tmp"  # a full disk is full for temporary files, too
    temporary.mkdir(exist_ok=True)
    inside = Path(__file__).parent / "inside"
    path = f"{inside}{os.pathsep}{sources_of(place)}"
    own = {"PYTHONPATH": path, "TMPDIR": str(temporary), "CHAOS_PLACE": str(place)}
    return {**WorkTree(place).environment, **own, **more}


def make_desk(place: Path) -> None:
    """A folder with labelled rows in a file, as a user has it."""
    place.mkdir(parents=True)
    write_tiny_glue(place / ".tmp" / "glue")
    rows = pd.read_parquet(place / ".tmp" / "glue" / "sst2" / "train.parquet")
    frame = pd.DataFrame({"text": rows["sentence"], "label": rows["label"].map({0: "bad", 1: "good"})})
    frame.to_csv(place / "rows.csv", index=False)


def make_furnished_desk(desk: Path, place: Path) -> None:
    """The same folder with a model, scores, and an earlier result of each command that may be replaced."""
    shutil.copytree(desk, place)
    tree = WorkTree(place)
    tree.environment = environment(place)
    tree.run(*COMPRESS, "model", "--baseline", "none")
    tree.run("sensibert", "export", "model", "--data", "rows.csv", *ROWS, "--out", "exported")
    shutil.copytree(place / "model", place / "earlier")
    shutil.copyfile(place / "model" / "evidence" / "scores.safetensors", place / "scores.safetensors")


def make_experiment(place: Path) -> None:
    """A work tree on the profile `tiny` in which nothing has run yet, with pruning in rounds, too."""
    place.mkdir(parents=True)
    make_origin(place)
    tree = WorkTree(place)
    params = yaml.safe_load((place / "params.yaml").read_text(encoding="utf-8"))
    methods, training = params["methods"], params["training"]
    methods["iterative_magnitude"] = {"learning_rate": 1e-3, "rounds": 2}
    training["checkpoint_steps"] = 2  # of ten
    tree.set_params(methods=methods, training=training, pruning=["kwon", "iterative_magnitude"])
    tree.commit()


def make_half_tracked(finished: Path, place: Path) -> None:
    """A finished experiment whose MLflow store lacks a cell, so that a sync has something to add."""
    shutil.copytree(finished, place, symlinks=True)
    forget_runs(place)
    tree = WorkTree(place)
    cell, aside = place / "data" / "tiny" / "results" / "sst2-full-0", place / "aside"
    cell.rename(aside)
    tree.run("sensibert", "track")
    aside.rename(cell)


def forget_runs(place: Path) -> None:
    """Remove the MLflow store."""
    for path in place.glob("mlflow.db*"):
        path.unlink()
    shutil.rmtree(place / "mlartifacts", ignore_errors=True)


@dataclass(frozen=True)
class Stage:
    """A stage as dvc.lock has it."""

    name: str
    command: tuple[str, ...]
    outs: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The family of the stage; each pruning procedure is one of its own."""
        return self.name.partition("-0.")[0] if self.name.startswith("prune") else self.name.partition("@")[0]


def stages_of(finished: Path) -> list[Stage]:
    """The stages of a finished experiment, one of each kind: those of other cells do the same."""
    lock = yaml.safe_load((finished / "dvc.lock").read_text(encoding="utf-8"))
    stages = [
        Stage(name, tuple(found["cmd"].split()), tuple(out["path"] for out in found.get("outs", [])))
        for name, found in lock["stages"].items()
    ]
    return list({stage.kind: stage for stage in stages}.values())


def snapshot(place: Path, volatile: tuple[str, ...] = ()) -> dict[str, str]:
    """Every file in a folder and the hash of its content; of files that match `volatile`, the name alone."""
    found = {}
    for folder, folders, files in os.walk(place):
        folders[:] = [name for name in folders if name not in _NOT_LOOKED_AT]
        for file in files:
            path = Path(folder, file)
            name = ID.sub("ID", path.relative_to(place).as_posix())
            found[name] = "" if any(fnmatch.fnmatch(name, pattern) for pattern in volatile) else _content(path)
    return found


def _content(path: Path) -> str:
    if path.name == "mlflow.db":
        return _hash("\n".join(sorted(runs_of(path).values())).encode())
    if path.name == "dvc.lock":
        return _hash("\n".join(_reproducible_outs(path)).encode())
    return _hash(path.read_bytes())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _reproducible_outs(lock: Path) -> list[str]:
    """The outputs in a dvc.lock with their hashes, without those that hold times."""
    stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"].values()
    outs = [out for stage in stages for out in stage.get("outs", [])]
    return sorted(f"{out['path']} {out['md5']}" for out in outs if out["path"].startswith("data/") and not _timed(out))


def _timed(out: dict[str, str]) -> bool:
    return "/provenance/" in out["path"] or out["path"].endswith("bench.json")


def runs_of(store: Path) -> dict[str, str]:
    """A line for each run of an MLflow store that is not deleted, by its id; equal lines for equal results."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        runs = connection.execute("SELECT run_uuid, status FROM runs WHERE lifecycle_stage = 'active'").fetchall()
        return {run: _line(connection, run, status, {run for run, _ in runs}) for run, status in runs}


def _line(connection: sqlite3.Connection, run: str, status: str, active: set[str]) -> str:
    tags = dict(connection.execute("SELECT key, value FROM tags WHERE run_uuid = ?", [run]).fetchall())
    parent = tags.get("mlflow.parentRunId")
    about = [tags.get(f"sensibert.{name}", "-") for name in ("cell", "artifact_hash", "current", "params_hash")]
    counts = [
        connection.execute(f"SELECT count(*) FROM {table} WHERE run_uuid = ?", [run]).fetchone()[0]
        for table in ("metrics", "params")
    ]
    below = "a parent" if parent is None else "below one" if parent in active else "below none"
    return " ".join(map(str, [status, *about, *counts, below]))

"""What is tried: every stage of an experiment, `dvc repro`, and every command that writes."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from chaos.worlds import (
    COMPRESS,
    ROWS,
    forget_runs,
    make_desk,
    make_experiment,
    make_furnished_desk,
    make_half_tracked,
    stages_of,
)

EVIDENCE = ("*/evidence/report.json", "*/README.md")  # with latencies and times
TIMED = (
    "data/*/provenance/*",
    "data/*/bench.json",
    "*reports/*provenance.json",
    "*reports/*table.*",
)  # MLflow has copies of the reports
LOGGED = ("*/MLmodel",)  # with the id of the model
THERE = "is already there"
"""What a command says to a user who would replace a whole result."""


@dataclass(frozen=True)
class Subject:
    """A command and the folder that it is started in."""

    name: str
    command: tuple[str, ...]
    world: Path
    """Copied for each trial."""
    outs: tuple[str, ...] = ()
    """Removed from the copy: what the command makes."""
    volatile: tuple[str, ...] = ()
    """Patterns of files that differ from run to run."""
    refusal: str | None = None
    """What a repeat may say, and fail, when the whole result is there already."""
    counted: bool = True
    """Whether the command is one process, whose changes of files can be counted."""

    def lay_out(self, place: Path) -> None:
        """Copy the world."""
        shutil.copytree(self.world, place, symlinks=True, dirs_exist_ok=True)
        for out in self.outs:
            _remove(place / out)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def compress(desk: Path) -> Subject:
    """`sensibert compress` with everything that it can do."""
    command = (*COMPRESS, "small", "--baseline", "tune", "--trim-vocabulary")
    return Subject("compress", command, desk, volatile=EVIDENCE)


def commands(base: Path) -> list[Subject]:
    """The commands for a user's own model and data."""
    desk, furnished = base / "desk", base / "furnished"
    make_desk(desk)
    make_furnished_desk(desk, furnished)
    data = ("--data", "rows.csv", *ROWS)
    again = (*COMPRESS, "earlier", "--baseline", "none", "--budget", "0.6", "--overwrite")
    score = ("sensibert", "score", "--model", "tiny-bert", "--train", "rows.csv", *ROWS, "--out", "new.safetensors")
    mask = ("sensibert", "mask", "scores.safetensors", "--out", "mask.safetensors")
    evaluate = ("sensibert", "evaluate", "model", *data, "--out", "metrics")
    export = ("sensibert", "export", "model", *data, "--int8", "--out")
    return [
        compress(desk),
        Subject("compress --overwrite", again, furnished, volatile=EVIDENCE),
        Subject("score", score, desk, refusal=THERE),
        Subject("mask", mask, furnished, refusal=THERE),
        Subject("evaluate", evaluate, furnished, volatile=EVIDENCE, refusal=THERE),
        Subject("export", (*export, "onnx"), furnished, volatile=EVIDENCE, refusal=THERE),
        Subject("export --overwrite", (*export, "exported", "--overwrite"), furnished, volatile=EVIDENCE),
    ]


def experiments(base: Path, finished: Path) -> list[Subject]:
    """The stages of a finished experiment, one by one, and its projection into MLflow."""
    untracked, half = base / "untracked", base / "half-tracked"
    shutil.copytree(finished, untracked, symlinks=True)
    forget_runs(untracked)
    make_half_tracked(finished, half)
    rest = finished / "reports" / "sst2" / "dvc.lock"
    rest.parent.mkdir()
    rest.write_text("schema: '2.0'\nstages: {}\n")
    stages = [
        Subject(f"stage {stage.name}", stage.command, finished, stage.outs, TIMED)
        for stage in stages_of(finished)
        if stage.name != "track" and not stage.kind.startswith(("evaluate_", "transfer_", "download_", "export_"))
    ]
    track = ("sensibert", "track")
    return [
        *stages,
        Subject("track, first sync", track, untracked, volatile=LOGGED),
        Subject("track, new results", track, half, volatile=LOGGED),
        Subject("track, nothing new", track, finished, volatile=LOGGED),
        Subject("profile", ("sensibert", "profile", "--force", "sst2"), finished),
    ]


def repro(base: Path) -> Subject:
    """The whole experiment from nothing."""
    fresh = base / "experiment"
    make_experiment(fresh)
    return Subject("dvc repro", ("dvc", "repro"), fresh, volatile=(*TIMED, *LOGGED), counted=False)

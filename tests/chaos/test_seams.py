"""Killed at every single change of a file, a few functions are repeated and end as if nothing had happened."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.worlds import environment, snapshot
from work_tree import ROOT

REPLACE = """
from pathlib import Path
from sensibert.io import replacing
with replacing(Path("result")) as beside:
    beside.mkdir()
    (beside / "a").write_text("new")
    (beside / "c").write_text("new")
"""
RESUME = """
from pathlib import Path
from sensibert.io import claim_scratch, release_scratch
scratch = Path("scratch")
claim_scratch(scratch, "this run")
done = {path.name for path in scratch.glob("step-*")}
assert len(done) in (0, 9), f"resumes from a part: {done}"
release_scratch(scratch)
Path("result").write_text("whole")
"""
ACTIVATE = "from sensibert.config.profiles import activate; activate('tiny')"


def run(code: str, place: Path, at: int = 0) -> int:
    killed = {"CHAOS_AT": str(at), "CHAOS_SIGNAL": str(int(signal.SIGKILL))}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=place, env=environment(place, **killed), start_new_session=True).returncode


def make_result(place: Path) -> None:
    (place / "result").mkdir(parents=True)
    for name in ("a", "b"):
        (place / "result" / name).write_text("earlier")


def make_scratch(place: Path) -> None:
    (place / "scratch").mkdir(parents=True)
    (place / "scratch" / "run.json").write_text('"this run"\n')
    for number in range(9):
        (place / "scratch" / f"step-{number}").touch()


def make_profiles(place: Path) -> None:
    shutil.copytree(ROOT / "profiles", place / "profiles")
    shutil.copyfile(place / "profiles" / "pydocs.yaml", place / "params.yaml")
    for name in ("pydocs", "tiny"):
        lock = place / "dvc.lock" if name == "pydocs" else place / "reports" / name / "dvc.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.write_text(f"stages: {{{name}: {{outs: [{{path: data/{name}, md5: {name}}}]}}}}\n")


@pytest.mark.parametrize(("code", "make"), [(REPLACE, make_result), (RESUME, make_scratch), (ACTIVATE, make_profiles)])
def test_a_repeat_ends_as_if_nothing_had_happened(tmp_path, code, make):
    make(tmp_path / "undisturbed")
    assert run(code, tmp_path / "undisturbed") == 0
    expected = snapshot(tmp_path / "undisturbed")
    for at in range(1, 100, 2 if code == ACTIVATE else 1):  # of many changes every second one
        place = tmp_path / str(at)
        make(place)
        end = run(code, place, at)
        if code == REPLACE and (place / "result").exists():
            names = {path.name for path in (place / "result").iterdir()}
            assert names in ({"a", "b"}, {"a", "c"}), "never a half"
        assert run(code, place) == 0
        assert snapshot(place) == expected, f"killed at change {at}"
        if end == 0:
            break
        assert end == -signal.SIGKILL
    assert at > 4

"""`python -m pipeline.warm COMMAND`: its stages are forks of one process, and nobody can tell but by the time."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from work_tree import ROOT

STAGE = """
import json, os, signal, sys, time
from pathlib import Path

def main(do):
    if do == "tell":
        about = {"is_warm": os.getppid() != int(os.environ["SHELL_ID"]), "arguments": sys.argv[1:]}
        about |= {"folder": os.getcwd(), "name": __name__, "own": os.environ.get("OWN"), "first": sys.path[0]}
        print(json.dumps(about | {"inner": "SENSIBERT_WARM" in os.environ}))
    elif do == "fail":
        raise ValueError("a fault")
    elif do == "refuse":
        sys.exit("error: a mistake")
    elif do == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif do == "sleep":
        Path("sleeper").write_text(str(os.getpid()))
        time.sleep(600)
    else:
        sys.exit(int(do))

main(sys.argv[1])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the package `pipeline` and a stage that does as it is told."""
    place = tmp_path_factory.mktemp("toy")
    (place / "pipeline").mkdir()
    for name in ("__init__.py", "warm.py"):
        shutil.copy(ROOT / "pipeline" / name, place / "pipeline")
    (place / "pipeline" / "stage.py").write_text(STAGE)
    return place


@pytest.fixture(scope="module")
def answers(folder):
    """What a shell below `pipeline.warm` gets from some stages: exit status, stdout and stderr of each."""
    temporary = folder / "temporary"
    temporary.mkdir()
    script = "export SHELL_ID=$$ OWN=mine\n"
    calls = {"tell": "tell a 'b c'", "fail": "fail", "refuse": "refuse", "die": "die", "three": "3", "none": "0"}
    for name, call in calls.items():
        script += f"{sys.executable} -m pipeline.stage {call} > {name}.out 2> {name}.err; echo $? > {name}.status\n"
    script += (
        f"OMP_NUM_THREADS=2 {sys.executable} -m pipeline.stage tell > other.out 2> other.err; echo $? > other.status\n"
    )
    script += f"{sys.executable} -m pipeline.stage sleep & sleeper=$!\n"
    script += "while [ ! -s sleeper ]; do sleep 0.05; done; kill -KILL $sleeper; wait $sleeper; exit 7\n"
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pipeline.warm", "sh", "-c", script]
    ended = subprocess.run(command, cwd=folder, env=environment, timeout=300, check=False)
    assert ended.returncode == 7, "the status of the command"
    assert not list(temporary.glob("sensibert-warm-*"))
    return {
        name: tuple((folder / f"{name}.{kind}").read_text() for kind in ("status", "out", "err"))
        for name in (*calls, "other")
    }


def test_a_stage_finds_what_it_would_have_found(answers, folder):
    status, out, err = answers["tell"]
    assert (status.strip(), err) == ("0", "")
    assert '"is_warm": true' in out
    assert '"arguments": ["tell", "a", "b c"]' in out
    assert f'"folder": "{folder}", "name": "__main__", "own": "mine", "first": "{folder}", "inner": false' in out


@pytest.mark.parametrize(("name", "status", "said"), [
    ("none", 0, ""), ("three", 3, ""), ("refuse", 1, "error: a mistake\n"), ("fail", 1, "ValueError: a fault\n"),
    ("die", 128 + signal.SIGKILL, ""),
])  # fmt: skip
def test_its_end_is_that_of_the_process_that_asked(answers, name, status, said):
    found, out, err = answers[name]
    assert (int(found), out) == (status, "")
    assert err.endswith(said)


def test_where_libraries_would_have_read_another_environment_it_runs_alone(answers):
    status, out, _ = answers["other"]
    assert status.strip() == "0"
    assert '"is_warm": false' in out


def test_it_ends_with_the_process_that_asked(answers, folder):
    process, until = Path("/proc", (folder / "sleeper").read_text()), time.monotonic() + 30
    while process.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not process.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_command_is_told_to_end_and_nothing_stays_behind(folder, tmp_path, number):
    """As `dvc`, the command ends its own work first; Ctrl-C reaches the whole group."""
    script = "trap 'sleep 0.5; echo done; exit 5' TERM INT; echo begun; while :; do sleep 0.1; done"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "pipeline.warm", "sh", "-c", script]
    as_in_a_terminal = {"start_new_session": True, "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, **as_in_a_terminal
    ) as process:
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.3)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait()
            os.killpg(process.pid, signal.SIGTERM)  # the command, which lives on as below `make`; the server is gone
        assert process.stdout.read() == "done\n"
    assert process.returncode == (-number if number == signal.SIGKILL else 5)
    if number != signal.SIGKILL:
        assert not list(tmp_path.iterdir())


def test_a_folder_with_a_long_name_does_no_harm(folder, tmp_path):
    place = tmp_path / ("long" * 25)
    place.mkdir()
    script = f"{sys.executable} -m pipeline.stage tell"
    environment = {**os.environ, "TMPDIR": str(place), "SHELL_ID": "0"}
    command = [sys.executable, "-m", "pipeline.warm", "sh", "-c", script]
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert '"arguments": ["tell"]' in found.stdout


def test_without_its_process_a_stage_runs_alone(folder):
    environment = {**os.environ, "SENSIBERT_WARM": str(folder / "nobody"), "SHELL_ID": str(os.getpid())}
    command = [sys.executable, "-m", "pipeline.stage", "tell"]
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert '"is_warm": false' in found.stdout

"""The MLflow server goes while `sensibert track` talks to it, and comes back at once or when the command has ended."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers import await_answer, free_port

from chaos.trials import PATIENCE, Command, Outcome, Run, judge_end, log_of
from chaos.worlds import ID, environment, forget_runs, runs_of

SUBJECT = "track on a server"
HOWS = ("goes and comes back at once", "goes and stays away", "stops answering")
_PLAIN = "error: cannot use the MLflow store http://127.0.0.1:"
_LONGEST = 300.0


@dataclass(frozen=True)
class Synced:
    """What a server knows after a sync that nobody disturbed."""

    seconds: float
    runs: list[str]
    files: list[str]


class Server:
    """An MLflow server on loopback, with a store and artifacts of its own in a folder."""

    def __init__(self, folder: Path) -> None:
        self.store, self.artifacts, self.log = folder / "server.db", folder / "artifacts", folder / "server.log"
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [f"--backend-store-uri=sqlite:///{self.store}", f"--artifacts-destination={self.artifacts}"]
        command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={self.port}", "--workers=1"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen([*command, *options], stdout=log, stderr=log, start_new_session=True)
        await_answer(f"{self.uri}/health", self.process, self.log)

    def send(self, number: int) -> None:
        """Signal it and its workers."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        self.send(signal.SIGKILL)
        self.process.wait()

    def knows(self, seconds: float) -> Synced:
        """Its active runs, and the files of their artifacts."""
        runs = runs_of(self.store)
        files = [file.relative_to(self.artifacts) for file in self.artifacts.rglob("*") if file.is_file()]
        of_runs = sorted(ID.sub("ID", file.as_posix()) for file in files if runs.keys() & set(file.parts))
        return Synced(seconds, sorted(runs.values()), of_runs)


@contextmanager
def _server(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        yield server
    finally:
        server.kill()


def lay_out(finished: Path, place: Path) -> None:
    """Copy a finished experiment that no store knows."""
    shutil.copytree(finished, place / "experiment", symlinks=True)
    forget_runs(place / "experiment")


def rehearse(finished: Path, place: Path) -> Synced:
    """What an undisturbed sync leaves."""
    lay_out(finished, place)
    with _server(place) as server:
        start = time.monotonic()
        end = _track(server, place).end(_LONGEST)
        assert end.code == 0, end.output
        return server.knows(time.monotonic() - start)


def lose(finished: Path, expected: Synced, place: Path, draw: random.Random) -> Outcome:
    """Let the server go in the middle of a sync, repeat the sync until it succeeds, and compare what it knows then."""
    lay_out(finished, place)
    how, moment = draw.choice(HOWS), draw.uniform(0, expected.seconds)
    with _server(place) as server:
        running = _track(server, place)
        outcome = Outcome(SUBJECT, "server", f"{how} after {moment:.1f} of {expected.seconds:.1f} s")
        outcome.hit = not running.is_done_after(moment)
        if how == "stops answering":
            server.send(signal.SIGSTOP)
        else:
            server.kill()
        if how == "goes and comes back at once":
            server.start()
        end = _judged(outcome, running)
        if how == "stops answering":
            server.send(signal.SIGCONT)
        if how == "goes and stays away":
            server.start()
        while end.code != 0 and outcome.repeats < PATIENCE:
            outcome.repeats += 1
            end = _judged(outcome, _track(server, place))
        if end.code != 0:
            outcome.defects["stuck"] = f"exit {end.code}: {end.output[-2000:]}"
        found = server.knows(expected.seconds)
    if found.runs != expected.runs:
        outcome.defects["unequal"] = f"runs: {sorted(set(found.runs) ^ set(expected.runs))}"
    if len(found.runs) > len(expected.runs):
        outcome.defects["twice"] = f"{len(found.runs)} runs instead of {len(expected.runs)}"
    if found.files != expected.files:
        outcome.defects["unequal"] = f"artifacts: {sorted(set(found.files) ^ set(expected.files))}"
    return outcome


def _track(server: Server, place: Path) -> Command:
    own = environment(place / "experiment", MLFLOW_TRACKING_URI=server.uri)
    return Command(("sensibert", "track"), place / "experiment", log_of(place), own)


def _judged(outcome: Outcome, command: Command) -> Run:
    end = command.end(_LONGEST)
    judge_end(outcome, end)
    if end.code != 0 and _PLAIN not in end.output:
        outcome.defects["no plain error"] = f"exit {end.code}: {end.output[-2000:]}"
    return end

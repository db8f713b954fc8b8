"""Faults of many hosts: what becomes of `sensibert grid` when a part of its cluster is lost in the middle.

Stand-in cells on a Ray cluster of two nodes; DVC, the clones, the caches and Ray are real.
"""

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

import stand_ins
from chaos.trials import PATIENCE, Command, Outcome, Run, judge_end, log_of

SUBJECT = "grid on two nodes"
FAULTS = ("a worker", "a node", "a node more", "Ray's head", "the command", "Ctrl-C", "the remote")
"""What is lost, or joins, while cells are at work."""
_SECONDS = 5
"""That a cell sleeps."""
_MOMENTS = (4.0, 20.0)
"""Seconds between which the fault comes: Ray and DVC take the first ones."""
_SAVED_WITHIN = 5.0
"""Seconds in which DVC saves what a cell made."""
_LONGEST = 300.0
_PLAIN = ("error: ", "interrupted; ", "Failed to connect to GCS")
"""What the command may say as it ends: ours, and what Ray says when its head is gone and ends the process itself."""


@dataclass(frozen=True)
class Grid:
    """A repository of stand-ins in which nothing has run, and what a serial run leaves of it."""

    world: Path
    lock: dict
    table: str


def make_grid(base: Path) -> Grid:
    """Make it, and run a copy of it in turn."""
    world, serial = base / "grid", base / "grid-serial"
    stand_ins.make(world, budgets=[0.5, 0.25, 0.125], seeds=[0, 1])
    shutil.copytree(world, serial)
    stand_ins.run(serial, "dvc", "repro", "--quiet")
    return Grid(world, stand_ins.lock(serial), (serial / "reports/tiny/table.md").read_text())


@dataclass
class Cluster:
    """Two nodes in a process of their own."""

    process: subprocess.Popen[str]
    address: str

    def parts(self, name: str) -> list[psutil.Process]:
        """Its processes whose names begin like that, the oldest first."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process.name().startswith(name):
                    found.append(process)
        return sorted(found, key=psutil.Process.create_time)

    def add_node(self) -> None:
        """Add one."""
        assert self.process.stdin is not None
        self.process.stdin.write("another\n")
        self.process.stdin.flush()


@contextmanager
def cluster(place: Path, **environment: str) -> Iterator[Cluster]:
    """Within the block the nodes are there, with the environment that their cells get."""
    with stand_ins.two_nodes(place, **environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        found = Cluster(process, process.stdout.readline().strip())
        parts = psutil.Process(process.pid).children(recursive=True)
        try:
            yield found
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            for part in [*parts, process]:  # where the head is dead, nobody ends the rest
                with suppress(psutil.NoSuchProcess):
                    part.kill()


def lose(fault: str, grid: Grid, place: Path, draw: random.Random) -> Outcome:
    """Let a fault come in the middle of a grid, repeat the command until it succeeds, and look at what is there."""
    place.mkdir()
    head = place / "head"
    shutil.copytree(grid.world, head)
    stand_ins.run(head, "dvc", "remote", "add", "--quiet", "store", str(place / "store"))
    stand_ins.run(head, "git", "commit", "--quiet", "--all", "--message", "A remote")
    moment = draw.uniform(*_MOMENTS)
    outcome = Outcome(SUBJECT, "host", f"{fault} after {moment:.1f} s")
    command = ("sensibert", "grid", "--scratch", str(place / "scratch"))
    if fault == "the remote":
        command += ("--remote", "store")
    own = {**stand_ins.on_loopback(), "STAND_IN_DONE": str(place / "done")}
    own["STAND_IN_SECONDS"] = str(_SECONDS)
    with cluster(place, **own) as nodes:
        running = _start(command, nodes, head, own, "")
        outcome.hit = not running.is_done_after(moment)
        struck = time.time()
        _strike(fault, nodes, running, place)
        end = running.end(_LONGEST)
        _judge(outcome, end)
        if fault == "the remote":
            _mount_again(place)
        if fault != "Ray's head":
            end = _repeat(outcome, command, nodes, head, own, end)
    if end.code != 0:
        with cluster(place, **own) as nodes:
            end = _repeat(outcome, command, nodes, head, own, end)
    if end.code != 0:
        outcome.defects["stuck"] = f"exit {end.code}: {end.output[-2000:]}"
    else:
        _compare(outcome, grid, head, place, struck)
    return outcome


def _start(command: tuple[str, ...], nodes: Cluster, head: Path, own: dict[str, str], log: str) -> Command:
    environment = stand_ins.environment(head, **own)
    return Command((*command, "--address", nodes.address), head, log_of(head, log), environment)


def _strike(fault: str, nodes: Cluster, running: Command, place: Path) -> None:
    match fault:
        case "a worker":
            for worker in nodes.parts("ray::_compute")[:1]:
                worker.kill()
        case "a node":
            nodes.parts("raylet")[-1].kill()
        case "a node more":
            nodes.add_node()
        case "Ray's head":
            nodes.parts("gcs_server")[0].kill()
        case "the command":
            running.send(signal.SIGKILL)
        case "Ctrl-C":
            running.send(signal.SIGINT)
        case "the remote":
            (place / "store").mkdir(exist_ok=True)
            (place / "store").rename(place / "away")
            (place / "store").touch()  # nothing can be read from it or written to it


def _mount_again(place: Path) -> None:
    (place / "store").unlink()
    (place / "away").rename(place / "store")


def _judge(outcome: Outcome, end: Run) -> None:
    judge_end(outcome, end)
    if end.code > 0 and not any(saying in end.output for saying in _PLAIN):
        outcome.defects["no plain error"] = f"exit {end.code}: {end.output[-2000:]}"


def _repeat(
    outcome: Outcome, command: tuple[str, ...], nodes: Cluster, head: Path, own: dict[str, str], end: Run
) -> Run:
    """Give the command again until it succeeds."""
    while end.code != 0 and outcome.repeats < PATIENCE:
        outcome.repeats += 1
        end = _start(command, nodes, head, own, f"-{outcome.repeats}").end(_LONGEST)
        _judge(outcome, end)
    return end


def _compare(outcome: Outcome, grid: Grid, head: Path, place: Path, struck: float) -> None:
    if stand_ins.lock(head) != grid.lock or (head / "reports/tiny/table.md").read_text() != grid.table:
        outcome.defects["unequal"] = "dvc.lock or the table"
    done: dict[str, list[float]] = {}
    for line in (place / "done").read_text().splitlines():
        cell, at = line.split()
        done.setdefault(cell, []).append(float(at))
    # What was computed a moment before was not yet in the cache, and has to be computed again.
    if twice := sorted(cell for cell, (first, *more) in done.items() if more and first < struck - _SAVED_WITHIN):
        outcome.defects["twice"] = ", ".join(twice)
    if left := sorted(path.name for path in (head / ".dvc" / "cache").glob(".sensibert-*")):
        outcome.defects["left behind"] = ", ".join(left)

"""One trial each: a command is killed, meets a full disk, or meets itself; then it is repeated and looked at."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from chaos.subjects import THERE, Subject
from chaos.worlds import environment, snapshot

PATIENCE = 3
"""Repeats after which a command is stuck."""
_PAGE = 4096
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
"""Drawn from: most are kills that nothing can catch."""
IN_USE = ("is being made by", THERE, "Unable to acquire lock", "is busy, it is being blocked by")
"""What the second of two commands may say: ours, and DVC, which has locks of its own."""


@dataclass(frozen=True)
class Rehearsal:
    """What a subject does when nobody disturbs it."""

    seconds: float
    changes: int
    """Times that it changes a file, and its end."""
    growth: int
    """Bytes on the disk."""
    files: dict[str, str]
    """`snapshot` of the folder that it leaves."""


@dataclass
class Outcome:
    """What came of a trial."""

    subject: str
    kind: str
    """`kill`, `full disk`, `two at once`, `host` or `damage`."""
    how: str
    hit: bool = True
    """Whether the command was disturbed before it was done."""
    repeats: int = 0
    refused: bool = False
    """Whether the repeat said that the whole result is there already."""
    defects: dict[str, str] = field(default_factory=dict)
    """Kind of defect -> what was seen."""


@dataclass(frozen=True)
class Run:
    """A command that ended."""

    code: int
    output: str
    hung: bool = False

    @property
    def traceback(self) -> bool:
        """Whether it printed one, apart from what Python prints at Ctrl-C."""
        return "Traceback (most" in self.output and "KeyboardInterrupt" not in self.output


class Command:
    """A command that runs in a process group of its own."""

    def __init__(
        self, command: tuple[str, ...], place: Path, log: Path, surroundings: dict[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                command,
                cwd=place,
                env=surroundings or environment(place),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_done_after(self, seconds: float) -> bool:
        """Wait, but no longer than that."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def send(self, number: int) -> None:
        """Signal the whole group."""
        with suppress(ProcessLookupError):  # it has just ended
            os.killpg(self.process.pid, number)

    def end(self, seconds: float) -> Run:
        """Wait for the end; what does not end in time is killed."""
        done = self.is_done_after(seconds)
        self.send(signal.SIGKILL)  # also what the command started and left behind
        self.process.wait()
        return Run(self.process.returncode, self.log.read_text(encoding="utf-8", errors="replace"), hung=not done)


def run(subject: Subject, place: Path, seconds: float, **more: str) -> Run:
    """Start a subject and wait for its end."""
    return Command(subject.command, place, log_of(place), environment(place, **more)).end(seconds)


def log_of(place: Path, name: str = "") -> Path:
    """Where the output of a command in a folder goes."""
    return place.with_name(f"{place.name}{name}.log")


def rehearse(subject: Subject, place: Path) -> Rehearsal:
    """Run a subject undisturbed."""
    subject.lay_out(place)
    before, counts, start = _bytes_in(place), place.with_name(f"{place.name}.count"), time.monotonic()
    done = run(subject, place, 3600, CHAOS_COUNT=str(counts))
    seconds = time.monotonic() - start
    assert done.code == 0, f"{subject.name} fails undisturbed\n{done.output}"
    changes = max(map(int, counts.read_text().split())) if subject.counted else 0
    growth = max(_PAGE, _bytes_in(place) - before)
    return Rehearsal(seconds, changes, growth, snapshot(place, subject.volatile))


def _bytes_in(place: Path) -> int:
    sizes = (path.lstat().st_size for path in place.rglob("*") if path.is_file())
    return sum(-(-size // _PAGE) * _PAGE for size in sizes)


def kill(subject: Subject, expected: Rehearsal, place: Path, draw: random.Random) -> Outcome:
    """Kill a subject at a random moment or at a random change of a file, and repeat it."""
    number = draw.choice(SIGNALS)
    if expected.changes and draw.random() < 0.5:
        return kill_at_change(subject, expected, place, number, draw.randint(1, expected.changes))
    return kill_after(subject, expected, place, number, draw.uniform(0, expected.seconds))


def kill_at_change(subject: Subject, expected: Rehearsal, place: Path, number: signal.Signals, change: int) -> Outcome:
    """Kill a subject when it is about to change a file for the so-many-th time; the last change is its exit."""
    subject.lay_out(place)
    end = run(subject, place, _patience(expected), CHAOS_AT=str(change), CHAOS_SIGNAL=str(int(number)))
    how = f"{number.name} at change {change} of {expected.changes}"
    outcome = Outcome(subject.name, "kill", how, hit=end.code != 0)
    judge_end(outcome, end)
    _repeat(outcome, subject, expected, place)
    return outcome


def kill_after(subject: Subject, expected: Rehearsal, place: Path, number: signal.Signals, seconds: float) -> Outcome:
    """Kill a subject after some time."""
    subject.lay_out(place)
    command = Command(subject.command, place, log_of(place))
    hit = not command.is_done_after(seconds)
    command.send(number)
    how = f"{number.name} after {seconds:.2f} of {expected.seconds:.2f} s"
    outcome = Outcome(subject.name, "kill", how, hit)
    judge_end(outcome, command.end(_patience(expected)))
    _repeat(outcome, subject, expected, place)
    return outcome


def fill_disk(subject: Subject, expected: Rehearsal, place: Path, draw: random.Random) -> Outcome:
    """Run a subject on a disk with too little room, or just enough."""
    return leave_room(draw.randrange(0, expected.growth // _PAGE + 1) * _PAGE, subject, expected, place)


def leave_room(room: int, subject: Subject, expected: Rehearsal, place: Path) -> Outcome:
    """Run a subject on a disk with so many bytes left, then with enough."""
    place.mkdir()
    with small_disk(place):
        subject.lay_out(place)
        (place / ".tmp").mkdir(exist_ok=True)
        _leave(room, place)
        first = run(subject, place, _patience(expected))
        outcome = Outcome(
            subject.name, "full disk", f"{room // 1024} KiB of {expected.growth // 1024}", first.code != 0
        )
        judge_end(outcome, first)
        if outcome.hit and "error: " not in first.output.lower():
            outcome.defects["no plain error"] = f"exit {first.code}: {first.output[-2000:]}"
        (place / ".tmp" / "ballast").unlink()
        _repeat(outcome, subject, expected, place)
    return outcome


def _leave(room: int, place: Path) -> None:
    disk = os.statvfs(place)
    ballast = disk.f_bavail * disk.f_frsize - room
    with (place / ".tmp" / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, ballast))


@contextmanager
def small_disk(place: Path, mebibytes: int = 64) -> Iterator[None]:
    """A file system of its own in an empty folder."""
    options = ["-t", "tmpfs", "-o", f"size={mebibytes}m", "sensibert-chaos"]
    subprocess.run(["mount", *options, str(place)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def can_mount(place: Path) -> bool:
    """Whether this user may mount a file system here."""
    place.mkdir(parents=True)
    try:
        with small_disk(place):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def run_two(subject: Subject, expected: Rehearsal, place: Path, draw: random.Random) -> Outcome:
    """Run a subject twice at once; one may be refused, but both end plainly, and once more gives what it should."""
    subject.lay_out(place)
    delay = draw.choice([0.0, draw.uniform(0, expected.seconds / 2)])
    first = Command(subject.command, place, log_of(place))
    first.is_done_after(delay)
    second = Command(subject.command, place, log_of(place, "-second"))
    ends = [command.end(2 * _patience(expected)) for command in (first, second)]
    outcome = Outcome(subject.name, "two at once", f"{delay:.2f} s apart")
    for end in ends:
        judge_end(outcome, end)
        if end.code != 0 and not any(saying in end.output for saying in IN_USE):
            outcome.defects["no plain error"] = f"exit {end.code}: {end.output[-2000:]}"
    if all(end.code != 0 for end in ends):
        outcome.defects["both failed"] = ends[0].output[-2000:]
    _repeat(outcome, subject, expected, place)
    return outcome


def run_two_apart(subject: Subject, expected: Rehearsal, place: Path, _: random.Random) -> Outcome:
    """Run a subject that makes `small`, and at once another one that makes the same in `other`."""
    subject.lay_out(place)
    other = tuple("other" if word == "small" else word for word in subject.command)
    commands = [Command(subject.command, place, log_of(place)), Command(other, place, log_of(place, "-second"))]
    outcome = Outcome(subject.name, "two at once", "with two results")
    for end in [command.end(2 * _patience(expected)) for command in commands]:
        judge_end(outcome, end)
        if end.code != 0:
            outcome.defects["no plain error"] = f"exit {end.code}: {end.output[-2000:]}"
    found = snapshot(place, subject.volatile)
    twin = {name.replace("other/", "small/"): content for name, content in found.items() if "small/" not in name}
    compare(outcome, {name: content for name, content in found.items() if "other/" not in name}, expected.files)
    compare(outcome, twin, expected.files)
    return outcome


def _patience(expected: Rehearsal) -> float:
    return 60 + 10 * expected.seconds


def judge_end(outcome: Outcome, end: Run) -> None:
    """Note a hang and a traceback."""
    if end.hung:
        outcome.defects["hang"] = end.output[-2000:]
    if end.traceback:
        outcome.defects["traceback"] = end.output[-4000:]


def _repeat(outcome: Outcome, subject: Subject, expected: Rehearsal, place: Path) -> None:
    """Give the same command again until it succeeds, as a user would, and compare what is there then."""
    for _ in range(PATIENCE):
        end = run(subject, place, _patience(expected))
        outcome.repeats += 1
        judge_end(outcome, end)
        outcome.refused = bool(subject.refusal) and subject.refusal in end.output
        if end.code == 0 or outcome.refused:
            break
    else:
        outcome.defects["stuck"] = f"exit {end.code}: {end.output[-2000:]}"
    compare(outcome, snapshot(place, subject.volatile), expected.files)


def compare(outcome: Outcome, found: dict[str, str], expected: dict[str, str]) -> None:
    """Note files that should not be there, and those that are missing or differ."""
    if left := sorted(found.keys() - expected.keys()):
        outcome.defects["left behind"] = ", ".join(left)
    if unequal := sorted(name for name in expected if found.get(name) != expected[name]):
        outcome.defects["unequal"] = ", ".join(unequal)


def clear(place: Path) -> None:
    """Remove the folder of a trial and its logs."""
    shutil.rmtree(place, ignore_errors=True)
    for log in place.parent.glob(f"{place.name}*.log"):
        log.unlink()

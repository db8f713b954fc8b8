"""What kills, full disks, a second command, lost hosts, a lost server and damaged files do to whatever writes.

    make chaos                              # or, with tests/ on PYTHONPATH: python -m chaos --kills 100 --seed 0

Every trial has a folder of its own, where a command is disturbed and then repeated until it succeeds. What it leaves
must be what the undisturbed command leaves, byte for byte: nothing unequal, nothing left behind, no traceback, no hang.
Exits with 1 if a trial found a defect; its folder stays, and its name is printed.
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from itertools import count, cycle, islice
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from chaos import hosts, server
from chaos.damage import damage
from chaos.subjects import Subject, commands, experiments, repro
from chaos.trials import Outcome, Rehearsal, can_mount, clear, fill_disk, kill, rehearse, run_two, run_two_apart

DEFECTS = (
    *("unequal", "left behind", "traceback", "no plain error", "stuck", "both failed", "hang"),
    *("twice", "not named"),
)
Trial = Callable[[Path, random.Random], Outcome]


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="kills that hit a running command")
    parser.add_argument("--hosts", type=int, default=21, help="faults of a cluster in the middle of a grid")
    parser.add_argument("--damage", type=int, default=20, help="files that are damaged")
    parser.add_argument("--servers", type=int, default=12, help="faults of an MLflow server in the middle of a sync")
    parser.add_argument("--seed", type=int, default=0, help="of the moments, the signals and the room on the disk")
    parser.add_argument("--jobs", type=int, default=2, help="trials at once")
    parser.add_argument("--only", default="", help="subjects with this in their name")
    parser.add_argument("--no-repro", action="store_true", help="leave out `dvc repro` and the stages")
    return parser


class Chaos:
    """The subjects, how they end undisturbed, and the trials so far."""

    def __init__(self, chosen: argparse.Namespace, base: Path) -> None:
        self.chosen, self.base = chosen, base
        self.expected: dict[str, Rehearsal] = {}
        self.outcomes: list[Outcome] = []
        self._numbers = count(1)

    def subjects(self) -> list[Subject]:
        """All that were chosen, rehearsed."""
        found = commands(self.base)
        if not self.chosen.no_repro:
            whole = repro(self.base)
            self._rehearse([whole])  # what it leaves is the world of the stages
            found += [*experiments(self.base, self.base / "rehearsals" / whole.name), whole]
        found = [subject for subject in found if self.chosen.only in subject.name]
        self._rehearse(subject for subject in found if subject.name not in self.expected)
        return found

    def _rehearse(self, subjects: Iterable[Subject]) -> None:
        (self.base / "rehearsals").mkdir(exist_ok=True)

        def one(subject: Subject) -> None:
            self.expected[subject.name] = rehearse(subject, self.base / "rehearsals" / subject.name)
            tqdm.write(f"undisturbed: {subject.name}, {self.expected[subject.name].seconds:.1f} s")

        with ThreadPoolExecutor(self.chosen.jobs) as pool:
            list(pool.map(one, subjects))

    def kill(self, subjects: list[Subject]) -> None:
        """Each subject in turn, until enough kills have hit."""
        turns, hits = cycle(subjects), 0
        while hits < self.chosen.kills:
            wave = list(islice(turns, self.chosen.kills - hits))
            hits += sum(outcome.hit for outcome in self._run(self._trials(kill, wave)))

    def fill_disks(self, subjects: list[Subject]) -> None:
        """Each subject that is one process once, on a disk of its own."""
        if can_mount(self.base / "mount"):
            self._run(self._trials(fill_disk, [subject for subject in subjects if subject.counted]))
        else:
            print("full disks: left out, this user may not mount a tmpfs")

    def pair(self, subjects: list[Subject]) -> None:
        """Each command with itself, and two results in one folder; of two stages, DVC is in charge."""
        subjects = [subject for subject in subjects if not subject.name.startswith("stage ")]
        making_small = [subject for subject in subjects if "small" in subject.command]
        self._run(self._trials(run_two, subjects) + self._trials(run_two_apart, making_small))

    def lose_hosts(self) -> None:
        """Each fault of a cluster in turn."""
        if not self.chosen.hosts or self.chosen.only not in hosts.SUBJECT:
            return
        if find_spec("ray") is None:
            print("lost hosts: left out, Ray is missing")
            return
        grid, faults = hosts.make_grid(self.base), list(islice(cycle(hosts.FAULTS), self.chosen.hosts))
        self._run([partial(hosts.lose, fault, grid) for fault in faults])

    def damage(self) -> None:
        """Outputs of a finished experiment, drawn at random."""
        finished = self.base / "rehearsals" / "dvc repro"
        if not self.chosen.no_repro and self.chosen.damage:
            self._run([partial(damage, finished, self.expected["dvc repro"])] * self.chosen.damage)

    def lose_server(self) -> None:
        """The MLflow server of a sync."""
        if self.chosen.no_repro or not self.chosen.servers or self.chosen.only not in server.SUBJECT:
            return
        finished = self.base / "rehearsals" / "dvc repro"
        expected = server.rehearse(finished, self.base / "rehearsals" / server.SUBJECT)
        self._run([partial(server.lose, finished, expected)] * self.chosen.servers)

    def _trials(self, disturb: Callable[..., Outcome], subjects: list[Subject]) -> list[Trial]:
        def trial(subject: Subject) -> Trial:
            return lambda place, draw: disturb(subject, self.expected[subject.name], place, draw)

        return [trial(subject) for subject in subjects]

    def _run(self, trials: list[Trial]) -> list[Outcome]:
        with ThreadPoolExecutor(self.chosen.jobs) as pool:
            found = list(tqdm(pool.map(self._one, trials), total=len(trials), unit="trial"))
        self.outcomes += found
        return found

    def _one(self, trial: Trial) -> Outcome:
        number = next(self._numbers)
        place = self.base / f"trial-{number}"
        outcome = trial(place, random.Random(f"{self.chosen.seed} {number}"))
        signs = "; ".join(f"{kind}: {seen}" for kind, seen in outcome.defects.items())
        seen = f"DEFECT in {place}: {signs}" if signs else "good"
        tqdm.write(f"{outcome.subject}: {outcome.kind}, {outcome.how}; {seen}")
        if not outcome.defects:
            clear(place)
        return outcome


def table(outcomes: list[Outcome]) -> str:
    """One row for each subject and kind of trial, and their sums."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.kind, outcome.subject), []).append(outcome)
    rows = [[*key, *_row(group)] for key, group in groups.items()]
    rows += [[kind, "all", *_row([o for o in outcomes if o.kind == kind])] for kind in {k for k, _ in groups}]
    headers = ["trial", "subject", "tries", "hits", "KILL/INT/TERM", "most repeats", "whole result there", *DEFECTS]
    return tabulate(rows, headers)


def _row(group: list[Outcome]) -> list[object]:
    signals = Counter(outcome.how.split()[0] for outcome in group)
    mix = "/".join(str(signals[f"SIG{name}"]) for name in ("KILL", "INT", "TERM"))
    return [
        len(group),
        sum(outcome.hit for outcome in group),
        mix if group[0].kind == "kill" else "",
        max(outcome.repeats for outcome in group),
        sum(outcome.refused for outcome in group),
        *(sum(kind in outcome.defects for outcome in group) for kind in DEFECTS),
    ]


def main() -> int:
    """Run all trials; 1 if one of them found a defect."""
    chosen = options().parse_args()
    base = Path(tempfile.mkdtemp(prefix="sensibert-chaos-"))
    chaos = Chaos(chosen, base)
    subjects = chaos.subjects()
    chaos.kill(subjects)
    chaos.fill_disks(subjects)
    chaos.pair(subjects)
    chaos.damage()
    chaos.lose_server()
    chaos.lose_hosts()
    print(f"\n{table(chaos.outcomes)}")
    found = [outcome for outcome in chaos.outcomes if outcome.defects]
    if not found:
        clear(base)
    print(f"\n{len(chaos.outcomes)} trials, {len(found)} with a defect" + (f"; see {base}" if found else ""))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""Damage that no program did: a bit flips, or a file is cut, and neither its mode nor its time tells."""

import fnmatch
import json
import random
import shutil
from pathlib import Path

import yaml
from damaged import cut, flip_a_bit

from chaos.subjects import LOGGED, TIMED
from chaos.trials import Command, Outcome, Rehearsal, Run, compare, judge_end, log_of
from chaos.worlds import snapshot

HOWS = (
    "a bit flips",
    "cut short",
    "a bit flips in the cache, and the file is lost",
    "cut short in the cache, and lost",
)
VOLATILE = (*TIMED, *LOGGED, "mlflow.db", "*report.html")  # a cell that is computed again is another run
_LONGEST = 600.0


def damage(finished: Path, expected: Rehearsal, place: Path, draw: random.Random) -> Outcome:
    """Damage a random output of a finished experiment; it must be named, and come back with the same bytes."""
    shutil.copytree(finished, place, symlinks=True)
    path, cached = draw.choice(_files(place))
    how = draw.choice(HOWS)
    victim = cached if "cache" in how else path
    somewhere = draw.randrange(victim.stat().st_size)
    if "flips" in how:
        flip_a_bit(victim, somewhere, draw.randrange(8))
    else:
        cut(victim, somewhere)
    named = ""
    if victim is cached:
        path.unlink()
        named = _run(place, "dvc", "checkout", "--force").output  # it may notice a wrong size
    outcome = Outcome("an output of dvc repro", "damage", f"{how}: {path.relative_to(place)}")
    verified = _run(place, "sensibert", "verify", "--remove")
    again = _run(place, "dvc", "repro")
    outcome.repeats = 1
    for end in (verified, again):
        judge_end(outcome, end)
        if end.code != 0:
            outcome.defects["stuck"] = f"exit {end.code}: {end.output[-2000:]}"
    if victim.name not in named + verified.output:
        outcome.defects["not named"] = named + verified.output[-2000:]
    compare(outcome, snapshot(place, VOLATILE), expected.files)
    return outcome


def _files(place: Path) -> list[tuple[Path, Path]]:
    """The outputs with a copy in the cache that every run makes the same, and that copy."""
    cache = place / ".dvc" / "cache" / "files" / "md5"

    def in_cache(md5: str) -> Path:
        return cache / md5[:2] / md5[2:]

    stages = yaml.safe_load((place / "dvc.lock").read_text(encoding="utf-8"))["stages"].values()
    found = {}
    for out in (out for stage in stages for out in stage.get("outs", ())):
        files = [("", out["md5"])]
        if out["md5"].endswith(".dir"):
            files = [(file["relpath"], file["md5"]) for file in json.loads(in_cache(out["md5"]).read_bytes())]
        found |= {f"{out['path']}/{name}".rstrip("/"): in_cache(md5) for name, md5 in files}
    timed = {name for name in found for pattern in VOLATILE if fnmatch.fnmatch(name, pattern)}
    return [(place / name, cached) for name, cached in sorted(found.items()) if name not in timed and cached.is_file()]


def _run(place: Path, *command: str) -> Run:
    return Command(command, place, log_of(place, f"-{command[1]}")).end(_LONGEST)

"""A worker's clone of the repository: one cell in it at a time, and the cache shared with everybody else."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sensibert.grid.lock import Entry
from sensibert.grid.pinned import Pinned, check_out, has_commit, unpack
from sensibert.grid.reaper import reap, watch

_TAIL = 20
"""Lines of a failed command's output that are shown."""
_reapers: dict[Path, subprocess.Popen[bytes]] = {}
"""Of this process, by clone; they end with it."""


@dataclass(frozen=True)
class Cache:
    """Where the files are that hosts exchange."""

    folder: str
    """The head's cache; every host sees it under this name unless there is a remote."""
    token: str
    """A file in it by which a host knows that it is the same folder."""
    types: tuple[str, ...]
    """How files get from there into a clone, such as `("reflink", "copy")`; empty for DVC's default."""
    remote: str | None
    """The DVC remote to exchange through, where hosts share no folder."""


@dataclass(frozen=True)
class Order:
    """One cell to be computed."""

    stage: str
    needs: tuple[str, ...]
    """The stages whose outputs it reads."""
    lock: dict[str, Any]
    """dvc.lock of these stages, as the head has it."""


@dataclass(frozen=True)
class Report:
    """What came of an order."""

    stage: str
    host: str
    seconds: float
    entry: Entry | None
    """What dvc.lock says of it now; None if it failed."""
    ran: bool
    """Whether its command ran: otherwise the cache had the results already."""
    problem: str | None
    """Why it failed, with the end of its output."""


def compute(
    order: Order, pinned: Pinned, cache: Cache, scratch: Path, threads: int, pack: Callable[[], bytes]
) -> Report:
    """Compute one cell in a clone on this host, or restore it from the cache.

    Args:
        order: The cell.
        pinned: What the clone is brought to.
        cache: Where inputs come from and outputs go to.
        scratch: The folder of this host's clones; they are kept for the next cells.
        threads: Of the cell's command (`OMP_NUM_THREADS`).
        pack: Gives `pinned.snapshot`; only asked by a clone that has not got the commit yet.

    Returns:
        A report; a command that fails is in it, and raises nothing.
    """
    started = time.monotonic()
    host = socket.gethostname()
    if cache.remote is None and not (Path(cache.folder) / cache.token).is_file():
        unseen = (
            f"{host} does not see the cache {cache.folder} of the head: move it to a disk that all hosts have "
            "(dvc cache dir --local DIR), or exchange files through a DVC remote (--remote NAME)"
        )
        return Report(order.stage, host, 0.0, None, False, unseen)
    with _free_clone(scratch) as clone:
        log = clone.with_name(f"{clone.name}.log")
        log.unlink(missing_ok=True)
        entry: Entry | None = None
        problem: str | None = None
        said: list[str] = []
        try:
            if not has_commit(clone, pinned.commit):
                unpack(clone, pinned.commit, pack())
            check_out(clone, pinned)
            with _output_to(log), _environment(clone, threads), _hearing(said):
                entry = _reproduce(order, clone, _config(clone, cache), cache.remote)
        except Exception as error:  # DVC's errors, those of a remote, a full disk: the head tells the user
            problem = f"{error.__cause__ or error}\n{_tail(log)}".rstrip()
        ran = any(message.startswith(f"Running stage '{order.stage}'") for message in said)
    return Report(order.stage, host, time.monotonic() - started, entry, ran, problem)


def place_of(root: Path, scratch: Path | None) -> Path:
    """The folder of the clones of a repository, below the scratch folder of the host."""
    base = scratch or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sensibert" / "grid"
    return base / f"{root.name}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:10]}"


@contextmanager
def _free_clone(scratch: Path) -> Iterator[Path]:
    """A clone that no other worker of this host is in; a new one if there is none."""
    folder = scratch / socket.gethostname()  # hosts may have the scratch folder in common
    folder.mkdir(parents=True, exist_ok=True)
    for number in count():
        clone = folder / str(number)
        try:
            with FileLock(clone.with_suffix(".lock"), timeout=0):
                reap(clone)  # of a worker that was killed a moment ago
                (clone / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)  # it may have been writing this, too
                if clone not in _reapers:
                    _reapers[clone] = watch(clone)
                yield clone
                return
        except Timeout:
            continue


def _config(clone: Path, cache: Cache) -> dict[str, Any]:
    """What DVC is told in a clone beyond .dvc/config; its own notes stay in the clone."""
    folder = str(clone.parent / "cache") if cache.remote else cache.folder
    of_cache: dict[str, Any] = {"dir": folder, **({"type": list(cache.types)} if cache.types else {})}
    return {"cache": of_cache, "core": {"site_cache_dir": str(clone / ".dvc" / "tmp" / "site"), "analytics": False}}


def _reproduce(order: Order, clone: Path, config: dict[str, Any], remote: str | None) -> Entry:
    from dvc.repo import Repo
    from dvc.utils.serialize import dump_yaml, load_yaml

    lock = clone / "dvc.lock"
    dump_yaml(str(lock), order.lock)
    with Repo(str(clone), config=config) as repo:
        if remote:
            repo.pull(targets=list(order.needs), remote=remote, force=True)
            repo.stage_cache.pull(remote)
        else:
            repo.checkout(targets=list(order.needs), force=True)
        repo.reproduce(order.stage, single_item=True)
        if remote:
            repo.push(targets=[order.stage], remote=remote, run_cache=True)
    return load_yaml(str(lock))["stages"][order.stage]


@contextmanager
def _environment(clone: Path, threads: int) -> Iterator[None]:
    """What a cell's command finds: the clone as its folder, this Python, the clone's code, its threads."""
    before, folder = dict(os.environ), Path.cwd()
    paths = [str(clone / "src"), *filter(None, [before.get("PYTHONPATH")])]
    for name in ("DVC_ROOT", "DVC_STAGE"):  # of a stage that this one was started from
        os.environ.pop(name, None)
    os.environ.update(
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{before.get('PATH', os.defpath)}",
        PYTHONPATH=os.pathsep.join(paths),
        OMP_NUM_THREADS=str(threads),
    )
    os.chdir(clone)  # DVC takes some paths from here
    try:
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Within the block this process and what it starts print to a file."""
    kept = [os.dup(1), os.dup(2)]
    with log.open("w", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        try:
            yield
        finally:
            for stream, original in zip((1, 2), kept, strict=True):
                os.dup2(original, stream)
                os.close(original)


@contextmanager
def _hearing(said: list[str]) -> Iterator[None]:
    """Collect what DVC says within the block: whether it ran a command is known from nothing else."""
    logger = logging.getLogger("dvc")
    handler, level = logging.Handler(), logger.level
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _tail(log: Path) -> str:
    """The end of what a command printed, without what a progress bar wrote over."""
    if not log.is_file():
        return ""
    lines = [re.split(r"\r", line)[-1] for line in log.read_text(errors="replace").splitlines()]
    return "\n".join([line for line in lines if line.strip()][-_TAIL:])

"""The head's work tree: what DVC finds outdated in it, and how the workers' results come into it."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sensibert.errors import GridError, ParamsError
from sensibert.grid.clones import Cache
from sensibert.grid.lock import Entry, adopted, differing, restricted, same_inputs
from sensibert.grid.plan import Stage
from sensibert.io import replacing

LOCK = "dvc.lock"


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Within the block no other `sensibert grid` runs in this work tree.

    Raises:
        GridError: one does.
    """
    if not (root / "dvc.yaml").is_file() or not (root / ".dvc").is_dir():
        raise GridError("there is no dvc.yaml here; run from the repository root")
    place = root / ".dvc" / "tmp" / "grid.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place, timeout=0):
            yield
    except Timeout:
        raise GridError("another sensibert grid is at work in this repository; wait for it or end it") from None


@contextmanager
def opened(root: Path) -> Iterator[Any]:
    """DVC's view of the work tree as it is now, locked; DVC takes names of stages as from the current folder.

    Raises:
        GridError: DVC cannot read it, or another command of DVC is at work.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo, lock_repo

    try:
        with Repo(str(root)) as repo, lock_repo(repo):
            yield repo
    except DvcException as error:
        raise GridError(f"DVC: {error}") from error


def read_stages(root: Path) -> tuple[dict[str, Stage], frozenset[str]]:
    """Every stage of dvc.yaml, by name; and what they read that no stage makes, as paths relative to the root."""
    with opened(root) as repo:
        graph = repo.index.graph
        stages = {stage.addressing: _as_planned(stage, list(graph.successors(stage))) for stage in graph}
        made = {out.fs_path for stage in graph for out in stage.outs}
        given = {dep.fs_path for stage in graph for dep in stage.deps} - made
    inside = {os.path.relpath(path, root) for path in given}
    return stages, frozenset(path for path in inside if not path.startswith(os.pardir))


def _as_planned(stage: Any, upstream: Sequence[Any]) -> Stage:
    return Stage(stage.addressing, frozenset(each.addressing for each in upstream), _travels(stage, upstream))


def _travels(stage: Any, upstream: Sequence[Any]) -> bool:
    """Whether another host can compute a stage: it reads the outputs of others, whole, and leaves all it makes in the
    cache.

    The root of the graph reads from outside: a folder beside the repository, the network. And what depends on a folder
    that several stages write to reads all that is there, which a clone has not got.
    """
    made = {out.fs_path for each in upstream for out in each.outs}
    gathers = any(
        dep.fs_path not in made and any(path.startswith(dep.fs_path + os.sep) for path in made) for dep in stage.deps
    )
    cached = bool(stage.outs) and all(out.use_cache and not out.persist for out in stage.outs)
    return bool(upstream) and cached and not gathers


def outdated(root: Path, names: Sequence[str]) -> list[str]:
    """The stages that DVC finds changed now; those that need them are not looked at."""
    with opened(root) as repo:
        stages = _by_name(repo)
        return [name for name in names if _changed(stages[name])]


def _changed(stage: Any, **how: bool) -> bool:
    """Whether DVC finds a stage changed; what it keeps in memory of the folders that it hashed is dropped.

    It looks through the listings of all of them for each further one: for 15,000 stages that is most of the time.
    """
    from dvc.fs import MemoryFileSystem

    try:
        return bool(stage.changed(**how))
    finally:
        MemoryFileSystem().fs.store.clear()


def fetch_back(root: Path, names: Sequence[str]) -> list[str]:
    """Bring files back from the cache that are only missing; gives the outdated stages that are left.

    Args:
        root: The repository root.
        names: Outdated stages, everything that they need being up to date.
    """
    with opened(root) as repo:
        stages = _by_name(repo)
        lost = [name for name in names if _is_only_lost(stages[name])]
        if lost:
            repo.checkout(targets=lost, force=True, allow_missing=True)
            stages = _by_name(repo)
        back = {name for name in lost if not _changed(stages[name])}
    return [name for name in names if name not in back]


def _by_name(repo: Any) -> dict[str, Any]:
    """DVC's stages, read anew."""
    repo._reset()
    return {stage.addressing: stage for stage in repo.index.stages}


def _is_only_lost(stage: Any) -> bool:
    """Whether the lock has what a stage makes of these very inputs, and the files alone are missing here."""
    return all(out.use_cache for out in stage.outs) and not _changed(stage, allow_missing=True)


def run_here(root: Path, name: str) -> None:
    """Compute a stage in the head's work tree.

    Raises:
        GridError: it failed; its output has said why.
    """
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", name]
    finished = subprocess.run(command, cwd=root, env=environment, check=False)
    if finished.returncode:
        raise GridError(f"{name} failed on the head (exit {finished.returncode})")


def lock_for(root: Path, names: set[str]) -> dict[str, Any]:
    """dvc.lock with some of the stages alone."""
    return restricted(_read_lock(root), names)


def adopt(root: Path, entries: Mapping[str, Entry], remote: str | None) -> dict[str, str]:
    """Take results of workers into the work tree: their entries into dvc.lock, their files from the cache.

    The head takes exactly what a worker reported, where a cache may hold several results, and runs nothing.

    Returns:
        Remarks, by stage: other bytes are known for the same inputs, or the head has other inputs by now.
    """
    from dvc.utils.serialize import dump_yaml

    before = _read_lock(root).get("stages", {})
    with opened(root) as repo:
        with replacing(root / LOCK) as beside:
            dump_yaml(str(beside), adopted(_read_lock(root), entries))
        stages = _by_name(repo)
        if remote:
            repo.pull(targets=list(entries), remote=remote, force=True, run_cache=True)
        else:
            repo.checkout(targets=list(entries), force=True)
        remarks = {}
        for name, entry in entries.items():
            others = [other for other in (before.get(name), *_known_results(repo, stages[name])) if other]
            alike = (other for other in others if same_inputs(entry, other))
            others_differ = sorted({path for other in alike for path in differing(entry, other)})
            if _changed(stages[name]):
                remarks[name] = "the head has other inputs by now (an edit during the run?); dvc status says which"
            elif others_differ:
                remarks[name] = f"other bytes are known for the same inputs: {', '.join(others_differ)}"
    return remarks


def _known_results(repo: Any, stage: Any) -> list[Entry]:
    """What the run cache has for the inputs of a stage; one entry per result, of whichever host."""
    from dvc.stage.cache import _get_stage_hash
    from dvc.utils.serialize import load_yaml

    folder = Path(repo.stage_cache._get_cache_dir(_get_stage_hash(stage)))
    return [load_yaml(str(path)) for path in sorted(folder.glob("[0-9a-f]*"))] if folder.is_dir() else []


def push(root: Path, names: Sequence[str], remote: str) -> None:
    """Put what some stages made where the workers get it."""
    with opened(root) as repo:
        repo.push(targets=list(names), remote=remote)


@contextmanager
def shared_cache(root: Path, remote: str | None) -> Iterator[Cache]:
    """The cache of the work tree, with a token in it while the block runs.

    Raises:
        ParamsError: DVC knows no such remote.
    """
    with opened(root) as repo:
        known = list(repo.config["remote"])
        if remote is not None and remote not in known:
            raise ParamsError(f"--remote {remote} is no remote of DVC; there is {', '.join(known) or 'none'}")
        if remote is not None and _is_relative(place := repo.config["remote"][remote]["url"]):
            raise ParamsError(
                f"--remote {remote} is a folder by its relative path, which is another one for each clone; give the "
                f"whole path, and commit it: dvc remote modify {remote} url {place}"
            )
        folder = Path(repo.cache.legacy.path).resolve()
        types = tuple(repo.config["cache"].get("type") or ())
    folder.mkdir(parents=True, exist_ok=True)
    ours = f".sensibert-grid-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:10]}-"
    for left in folder.glob(f"{ours}*"):  # by a run that was killed; work trees may share a cache
        left.unlink()
    token = folder / f"{ours}{secrets.token_hex(8)}"
    token.touch()
    try:
        yield Cache(str(folder), token.name, types, remote)
    finally:
        token.unlink(missing_ok=True)


def _is_relative(place: str) -> bool:
    """Whether DVC's config gives a place relative to itself; DVC marks what it has made absolute."""
    from dvc.config_schema import RelPath

    return isinstance(place, RelPath)


def _read_lock(root: Path) -> dict[str, Any]:
    from dvc.utils.serialize import load_yaml

    return load_yaml(str(root / LOCK)) if (root / LOCK).exists() else {}

"""Where a command may write: never over what it did not make itself, and one command at a time."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from sensibert.errors import ArtifactError, PlaceError
from sensibert.io import MADE_BY, MARK, beside_it, files_below, is_beside, read_arrays, read_json, write_json

_LONGEST_NAME = 230
"""Bytes of a name: file systems allow 255, and work folders beside a result have a longer one."""


def mark_of(folder: Path, command: str) -> dict[str, object] | None:
    """What `io.mark` wrote into a folder; None if this command did not make what is there."""
    content = _own_mark(folder / MARK)
    return content if content and content[MADE_BY] == f"sensibert {command}" else None


def check_output(out: Path, *, overwrite: bool, inputs: Iterable[Path | str] = (), command: str | None = None) -> None:
    """Refuse a place that a result must not or cannot be written to.

    Args:
        out: The file or folder to be made.
        overwrite: Whether an earlier result there may be replaced.
        inputs: What the command reads; names of data sets and backbones on the hub do not count.
        command: The one that writes: it replaces no folder that another one made, or that somebody has put files into.
            None where nothing will be replaced after all.

    Raises:
        PlaceError: the place is in use, is not this program's to replace, holds an input, or cannot be written.
    """
    _check_place(out, inputs)
    _check_free(out, overwrite=overwrite, command=command)


@contextmanager
def making(
    out: Path, *, overwrite: bool, inputs: Iterable[Path | str] = (), command: str | None = None
) -> Iterator[None]:
    """Within the block, which may write to a place as `check_output` says, no other command of this machine does.

    Raises:
        PlaceError: as for `check_output` and `holding`.
    """
    _check_place(out, inputs)
    with holding(out):  # before it is looked at, for another command may be about to put something there
        _check_free(out, overwrite=overwrite, command=command)
        yield


def _check_place(out: Path, inputs: Iterable[Path | str]) -> None:
    place = _resolved(out)
    for whose, folder in (("your home", Path.home()), ("the folder you work in", Path.cwd())):
        if place == folder.resolve() or place in folder.resolve().parents:
            raise PlaceError(f"--out {out}: this is {whose} or a folder above it; name a new one")
    for given in map(Path, inputs):
        if given.exists():
            _refuse_input(out, place, given)
        if is_beside(given):
            raise PlaceError(f"{given} is where sensibert keeps what is unfinished; copy it to another place first")
    _refuse_unwritable(out, place)


def _check_free(out: Path, *, overwrite: bool, command: str | None) -> None:
    place = _resolved(out)
    if place.exists() or out.is_symlink():
        if not overwrite:
            raise PlaceError(f"--out {out} is already there; --overwrite replaces it if a command of sensibert made it")
        if not _is_ours(place):
            raise PlaceError(f"--out {out}: --overwrite replaces only what sensibert made, and this it did not make")
        if command is not None and place.is_dir():
            _refuse_other_contents(out, place, command)


@contextmanager
def holding(out: Path) -> Iterator[None]:
    """Within the block no other command of this machine makes the same result.

    Raises:
        PlaceError: another one is at it; the message names it.
    """
    lock, holder = beside_it(out, "lock"), beside_it(out, "holder")
    new_folders = [folder for folder in out.parents if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            since = datetime.now(UTC).isoformat(timespec="seconds")
            try:
                write_json(holder, {"process": os.getpid(), "host": socket.gethostname(), "since": since})
                yield
            finally:
                holder.unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
    except Timeout:
        raise PlaceError(f"--out {out} is being made by {_named(holder)}; wait for it, or name another place") from None
    finally:
        for folder in new_folders:
            with suppress(OSError):  # the result is in it
                folder.rmdir()


def _named(holder: Path) -> str:
    try:
        found = read_json(holder)
        return f"process {found['process']} on {found['host']}, since {found['since']}"
    except (ArtifactError, KeyError, TypeError):
        return "another command"


def _resolved(out: Path) -> Path:
    if not str(out) or out == Path():
        raise PlaceError(f"--out {str(out)!r}: name a file or folder to be made, such as --out small")
    try:
        return out.resolve()
    except (OSError, RuntimeError) as error:
        raise PlaceError(f"--out {out} is no usable place ({error})") from None


def _refuse_input(out: Path, place: Path, given: Path) -> None:
    read = given.resolve()
    if place == read:
        raise PlaceError(f"--out {out} is what the command reads ({given}); name a new place")
    if place in read.parents:
        raise PlaceError(f"--out {out} holds what the command reads ({given}); name a new place")
    if read in place.parents:
        raise PlaceError(f"--out {out} is inside what the command reads ({given}); name a place outside it")


def _is_ours(place: Path) -> bool:
    """Whether a command of this program made what is at a place."""
    if place.is_dir():
        return not any(place.iterdir()) or _own_mark(place / MARK) is not None
    return _own_mark(place) is not None or _holds_own_arrays(place)


def _holds_own_arrays(file: Path) -> bool:
    try:
        read_arrays(file)
    except Exception:  # whatever is wrong with it, it is not ours
        return False
    return True


def _refuse_other_contents(out: Path, place: Path, command: str) -> None:
    """Refuse a result of another command, and one that somebody has put files into."""
    found = _own_mark(place / MARK)
    if found is None:  # it is empty
        return
    if found[MADE_BY] != f"sensibert {command}":
        made_by = f"`{found[MADE_BY]}`, not of `sensibert {command}`"
        raise PlaceError(f"--out {out} is a result of {made_by}; name a new place")
    listed = found.get("files")
    others = [name for name in files_below(place) if not isinstance(listed, list) or name not in listed]
    if others:
        raise PlaceError(f"--out {out} holds {others[0]}, which sensibert did not put there; move it away first")


def _own_mark(file: Path) -> dict[str, object] | None:
    """The content of a JSON file that says that a command of this program made it; None of any other file."""
    try:
        content = read_json(file)
    except ArtifactError:
        return None
    return content if isinstance(content, dict) and str(content.get(MADE_BY, "")).startswith("sensibert ") else None


def _refuse_unwritable(out: Path, place: Path) -> None:
    """Find out before hours of work, by writing a file that has no name, whether there is a way to write there."""
    if len(os.fsencode(place.name)) > _LONGEST_NAME:
        raise PlaceError(f"--out {out}: the name is too long; allowed: {_LONGEST_NAME} bytes")
    try:
        above = next(folder for folder in place.parents if folder.exists())
        if not above.is_dir():
            raise PlaceError(f"--out {out}: {above} is a file, not a folder")
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise PlaceError(f"--out {out} cannot be written ({error.strerror or error})") from None

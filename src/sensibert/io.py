"""Files that appear whole or not at all, and JSON that gives equal bytes for equal content."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from sensibert.errors import ArtifactError

if TYPE_CHECKING:
    import numpy as np

_R = TypeVar("_R")

MARK = ".sensibert.json"
"""File in every folder that a command leaves: it says that the folder may be replaced (`places.check_output`)."""

MADE_BY = "made_by"
"""Its key, also in JSON files: the command."""


def beside_it(path: Path, purpose: str) -> Path:
    """A hidden place beside a result, for this program alone: its name says so, and no command reads from there."""
    return path.with_name(f".{path.name}{_BESIDE}{purpose}")


def is_beside(path: Path) -> bool:
    """Whether a place, or a folder above it, is one that `beside_it` names."""
    return any(part.startswith(".") and _BESIDE in part for part in path.parts)


_BESIDE = ".sensibert-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a place next to `path` to write to, and move it there only if the block succeeds.

    Works for a file and for a folder. After an exception nothing is left over and an earlier
    `path` is still whole. What a kill leaves over is removed by the next call. The umask says who may read the
    files: safetensors would make its own for the owner alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside, earlier = beside_it(path, "part"), beside_it(path, "old")
    remove(beside)
    _settle(earlier, path)
    try:
        yield beside
        _open_to_the_umask(beside)
        if beside.is_dir() and os.path.lexists(path):
            path.replace(earlier)  # in one step: a kill while it was removed would leave half of it in its place
        beside.replace(path)
    finally:
        remove(beside)
        _settle(earlier, path)


def _settle(earlier: Path, path: Path) -> None:
    """Remove what was moved aside for a new `path`, or move it back if no new one came."""
    if os.path.lexists(path):
        remove(earlier)
    elif os.path.lexists(earlier):
        earlier.replace(path)


def _open_to_the_umask(path: Path) -> None:
    """Give a file, or all files of a folder, the permissions that a file gets by default."""
    umask = os.umask(0o077)  # there is no other way to read it
    os.umask(umask)
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and not file.is_symlink():
            file.chmod(file.stat().st_mode | (0o666 & ~umask))


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """The hash of a file's content, hexadecimal; read in parts, so that a large file takes no memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def mark(folder: Path, command: str, **more: str) -> None:
    """Write into a finished folder which command made it, its files, and what else identifies the result."""
    write_json(folder / MARK, marked({**more, "files": files_below(folder)}, command))


def files_below(folder: Path) -> list[str]:
    """The files of a folder and of those below it, but for the mark, as sorted relative names."""
    paths = (path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    return sorted(path.relative_to(folder).as_posix() for path in paths if path != folder / MARK)


def marked(content: Mapping[str, object], command: str) -> dict[str, object]:
    """The content of a JSON file, with the command that made it."""
    return {MADE_BY: f"sensibert {command}", **content}


_OWNER = "run.json"
"""File in a scratch folder that says which run it belongs to."""


def claim_scratch(folder: Path, run: str, *, resume: bool = True) -> None:
    """Give a scratch folder to a run; removes what another run left there, or this one if it must not resume.

    Args:
        folder: Created if it is missing.
        run: Identity of the run, such as a hash of everything that shapes it.
        resume: Whether the run resumes from what it left.
    """
    owner = folder / _OWNER
    if resume and _claimed_by(owner) == run:
        return
    release_scratch(folder)
    write_json(owner, run)


def _claimed_by(owner: Path) -> Any:
    try:
        return read_json(owner)
    except ArtifactError:  # none, or a file that a power cut left empty
        return None


def release_scratch(folder: Path) -> None:
    """Remove a scratch folder; the claim goes first, so that no run resumes from what a kill leaves of the rest."""
    (folder / _OWNER).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def how_to_mend(path: Path, *, missing: bool = False) -> str:
    """What to do about a file of an experiment, as the end of a message; nothing for a file of the user's own."""
    if not is_output(path):
        return ""
    return "; run `dvc repro` to make it" if missing else "; delete it and run `dvc repro`"


def is_output(path: Path) -> bool:
    """Whether a file is where the stages of an experiment write: below data/ or reports/, beside a dvc.yaml."""
    place = path.absolute()
    return any(
        place.is_relative_to(root / folder)
        for root in place.parents
        if (root / "dvc.yaml").is_file()
        for folder in ("data", "reports")
    )


def write_json(path: Path, content: Any) -> None:
    """Write JSON with sorted keys, so that equal content gives equal bytes."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def refuse_special(path: Path) -> None:
    """Refuse a pipe, a socket or a device before it is opened: a pipe without a writer would never answer.

    Raises:
        ArtifactError: the path is such a thing.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ArtifactError(f"{path} is no regular file but a pipe, a socket or a device")


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    refuse_special(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing{how_to_mend(path, missing=True)}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or JSON of absurd size
        raise ArtifactError(f"{path} is damaged ({error}){how_to_mend(path)}") from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror or error})") from None


def write_record(path: Path, record: Any) -> None:
    """Write a dataclass as JSON."""
    write_json(path, asdict(record))


def read_record(path: Path, kind: type[_R]) -> _R:
    """Read what `write_record` wrote, or a list of it.

    Args:
        path: A JSON file.
        kind: The dataclass, or `list[...]` of it.

    Raises:
        ArtifactError: the file is missing, damaged, or holds something else.
    """
    content = read_json(path)
    try:
        return parse_record(content, kind)
    except ValueError as error:
        name = str(kind) if get_args(kind) else kind.__name__
        raise ArtifactError(f"{path} is no record of the kind {name} ({error}){how_to_mend(path)}") from None


def parse_record(content: Any, kind: type[_R]) -> _R:
    """A record, or a list of it, from what `dataclasses.asdict` gave.

    Raises:
        ValueError: the content is something else; the message says in one line what.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(content, extra="forbid")
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the whole content"
        raise ValueError(f"{where}: {problem['msg']}") from None


_METADATA = "sensibert"
"""Entry of a safetensors header that holds everything but the arrays."""


def write_arrays(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    """Write named arrays and JSON-ready metadata as one safetensors file; equal content gives equal bytes."""
    from safetensors.numpy import save_file

    # A single entry: safetensors writes several in a random order.
    header = {_METADATA: json.dumps(metadata, sort_keys=True)}
    with replacing(path) as beside:
        save_file(dict(sorted(arrays.items())), beside, metadata=header)


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write_arrays` wrote; call it within `array_file`."""
    from safetensors import safe_open

    refuse_special(path)
    with safe_open(path, framework="numpy") as file:
        metadata = json.loads((file.metadata() or {})[_METADATA])
        arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    return arrays, metadata


@contextmanager
def array_file(path: Path) -> Iterator[None]:
    """Turn whatever reading a file with the wrong content raises into one `ArtifactError`."""
    from safetensors import SafetensorError

    try:
        yield
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing{how_to_mend(path, missing=True)}") from None
    except OSError as error:  # a folder, no permission; safetensors gives some without an errno
        raise ArtifactError(f"{path} cannot be read ({error.strerror or error})") from None
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:  # JSON's are ValueErrors
        raise ArtifactError(f"{path} is damaged or of another kind ({error}){how_to_mend(path)}") from None

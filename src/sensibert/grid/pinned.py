"""What every clone is made from: one commit, whole, with the parameters as they are now."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from sensibert.errors import GridError

PARAMS = "params.yaml"

_WRITTEN_BY_RUNS = ("dvc.lock", PARAMS, "reports")
"""Tracked files that the pipeline or `sensibert profile` writes; the clones get the first two as they are."""
_SHOWN = 8


@dataclass(frozen=True)
class Pinned:
    """A commit, and the one file that may differ from it."""

    commit: str
    params: bytes


def pin(root: Path, watched: frozenset[str]) -> Pinned:
    """The commit of a work tree that has no other code than this commit.

    Args:
        root: The repository root.
        watched: What the stages depend on in it, as relative paths: an untracked file there counts as an edit.

    Raises:
        GridError: no git repository, no commit, or edits that the workers would not have.
    """
    commit = git(root, "rev-parse", "--verify", "HEAD").decode().strip()
    excluded = [f":(exclude,top){path}" for path in _WRITTEN_BY_RUNS]
    options = ("--porcelain", "--no-renames", "--untracked-files=all", "-z")
    status = git(root, "status", *options, "--", ":(top)", *excluded).decode(errors="replace")
    edits = [line for line in status.split("\0") if line and (line[:2] != "??" or _lies_below(line[3:], watched))]
    if edits:
        more = f"\n  and {len(edits) - _SHOWN} more" if len(edits) > _SHOWN else ""
        raise GridError(
            f"the workers compute commit {commit[:12]}, and the work tree differs from it; commit or stash these:\n  "
            + "\n  ".join(edits[:_SHOWN])
            + more
        )
    return Pinned(commit, (root / PARAMS).read_bytes())


def snapshot(root: Path, commit: str) -> bytes:
    """A git pack of one commit and its files, without its history; see `unpack`."""
    objects = git(root, "rev-list", "--objects", "--no-walk", commit)
    return git(root, "pack-objects", "--stdout", "-q", content=objects)


def unpack(folder: Path, commit: str, pack: bytes) -> None:
    """Put a snapshot into a clone, which is made if it is not there."""
    if not (folder / ".git" / "HEAD").exists():
        folder.mkdir(parents=True, exist_ok=True)
        git(folder, "init", "--quiet")
    git(folder, "unpack-objects", "-q", content=pack)
    shallow = folder / ".git" / "shallow"  # it says that the parents of this commit are not here
    known = shallow.read_text().split() if shallow.exists() else []
    shallow.write_text("".join(f"{each}\n" for each in sorted({*known, commit})))


def has_commit(folder: Path, commit: str) -> bool:
    """Whether a clone is there and has a commit, whole."""
    shallow = folder / ".git" / "shallow"  # written after the objects
    return shallow.exists() and commit in shallow.read_text().split()


def check_out(folder: Path, pinned: Pinned) -> None:
    """Bring the tracked files of a clone to the pinned state; what git ignores, such as data, stays."""
    git(folder, "checkout", "--quiet", "--force", "--detach", pinned.commit)
    git(folder, "clean", "-d", "--force", "--quiet")
    (folder / PARAMS).write_bytes(pinned.params)


def git(folder: Path, *arguments: str, content: bytes | None = None) -> bytes:
    """What a git command prints.

    Raises:
        GridError: it fails, or there is no git.
    """
    # A repository may name a program to be run for the file system monitor.
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        return subprocess.run(command, cwd=folder, input=content, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise GridError("git is not installed, or there is no folder " + str(folder)) from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise GridError(f"git {arguments[0]} failed in {folder}: {said}") from None


def _lies_below(file: str, watched: frozenset[str]) -> bool:
    return any(file == path or file.startswith(f"{path}/") for path in watched)

"""Whether the files of an experiment still are what dvc.lock says: bits that flipped, files that were cut.

DVC does not look: it trusts a file of its cache that nobody may write to, and one of the work tree whose size and time
are as before, and restores damaged bytes without a word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from sensibert.errors import ArtifactError, ParamsError
from sensibert.io import hash_file, remove

LOCK = Path("dvc.lock")
_FOLDER = ".dir"
"""How the hash of a folder ends; what it names in the cache is the list of its files."""


@dataclass(frozen=True)
class Recorded:
    """A file as dvc.lock has it."""

    path: Path
    """In the work tree, relative to its root."""
    md5: str
    """With `.dir` at the end for the list of the files of a folder, which is in the cache alone."""
    stage: str

    @property
    def is_list(self) -> bool:
        """Whether it is the list of the files of a folder."""
        return self.md5.endswith(_FOLDER)


@dataclass(frozen=True)
class Damage:
    """A file whose content is another one."""

    path: Path
    """The file: in the work tree or in the cache."""
    of: Recorded

    def __str__(self) -> str:
        """What a user reads: where it is, and what it belongs to."""
        output = "" if self.path == self.of.path else f"{self.of.path}, "
        return f"{self.path} ({output}made by {self.of.stage})"


def find_damage() -> list[Damage]:
    """Read every output that dvc.lock names, in the work tree and in the cache; one that is missing is no damage.

    Raises:
        ParamsError: this is not the root of a repository in which DVC computed something.
        ArtifactError: dvc.lock cannot be read.
    """
    stages, cache = _stages(), _cache()
    recorded = {(each.path, each.md5): each for each in _recorded(stages, cache)}
    damaged = []
    for _, each in tqdm(sorted(recorded.items()), desc="verifying", unit="file", mininterval=1):
        places = [_in_cache(cache, each.md5)] + ([] if each.is_list else [each.path])
        damaged += [Damage(place, each) for place in places if place.is_file() and not _holds(place, each.md5)]
    return damaged


def mend(damaged: list[Damage]) -> None:
    """Remove damaged files: DVC misses them, and restores what is whole in the cache or computes it again."""
    for damage in damaged:
        remove(damage.path)


def _stages() -> dict[str, Any]:
    try:
        content = yaml.safe_load(LOCK.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError("there is no dvc.lock here; run from the repository root, after `dvc repro`") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ArtifactError(f"cannot read dvc.lock: {error}") from None
    return (content or {}).get("stages", {})


def _cache() -> Path:
    """The folder of the files of DVC's cache."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            return Path(repo.cache.local.path)
    except NotDvcRepoError as error:
        raise ParamsError(f"DVC: {error}") from None


def _recorded(stages: dict[str, Any], cache: Path) -> Iterator[Recorded]:
    """Every output of every stage, file by file; what is in a folder is unknown where its list is damaged."""
    for name, stage in stages.items():
        for out in stage.get("outs", ()):
            path, md5 = Path(out["path"]), out["md5"]
            whole = Recorded(path, md5, name)
            yield whole
            listing = _in_cache(cache, md5)
            if whole.is_list and listing.is_file() and _holds(listing, md5):
                for file in json.loads(listing.read_bytes()):
                    yield Recorded(path / file["relpath"], file["md5"], name)


def _in_cache(cache: Path, md5: str) -> Path:
    return cache / md5[:2] / md5[2:]


def _holds(path: Path, md5: str) -> bool:
    """Whether a file has the content that a hash says."""
    return hash_file(path, "md5") == md5.removesuffix(_FOLDER)

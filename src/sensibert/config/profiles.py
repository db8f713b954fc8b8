"""Profiles: parameter files for whole experiments, one of which is active as params.yaml.

Every profile has its own dvc.lock. The active one is in the repository root; the others stay at
reports/PROFILE/dvc.lock until their profile is activated again.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import yaml
from filelock import FileLock

from sensibert.config.params import PROFILE_NAME, load_params
from sensibert.config.paths import Paths
from sensibert.errors import ParamsError
from sensibert.io import replacing


def available(root: Path = Path()) -> dict[str, Path]:
    """Every profile and its file, sorted by name.

    Raises:
        ParamsError: there is no folder of profiles.
    """
    if not (root / "profiles").is_dir():
        raise ParamsError("there is no folder profiles/ here; run from the repository root")
    found = sorted(
        (root / "profiles").glob("[!.]*.yaml"), key=lambda path: path.stem
    )  # editors keep hidden files there
    return {path.stem: path for path in found if path.is_file()}


def active(root: Path = Path()) -> str | None:
    """The profile that params.yaml equals byte for byte; None if it is missing or has edits."""
    params = root / "params.yaml"
    if not params.exists():
        return None
    content = params.read_bytes()
    return next((name for name, path in available(root).items() if path.read_bytes() == content), None)


def derived_from(root: Path = Path()) -> str | None:
    """The profile that params.yaml names, with or without edits; None if it names none."""
    try:
        content = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    name = content.get("profile") if isinstance(content, dict) else None
    return name if isinstance(name, str) and re.fullmatch(PROFILE_NAME, name) else None


def summary(path: Path) -> str:
    """The first comment line of a profile."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        return f"not UTF-8 text ({error})"
    return next((line.lstrip("# ") for line in lines if line.startswith("#")), "")


def activate(name: str, root: Path = Path(), force: bool = False) -> None:
    """Make profiles/NAME.yaml the active params.yaml, and its dvc.lock the active one.

    Args:
        name: the profile.
        root: the repository root.
        force: throw away edits of params.yaml.

    Raises:
        ParamsError: no such profile, a profile with a wrong value, or edits that would be lost.
    """
    profile = _checked(name, root)
    alone = root / ".params.yaml.lock"
    with FileLock(alone):  # of two swaps at once, the second would store the lock of the first under a wrong name
        try:
            _swap(name, profile, root, force)
        finally:
            alone.unlink(missing_ok=True)


def _swap(name: str, profile: Path, root: Path, force: bool) -> None:
    current = active(root)
    if current is None and (root / "params.yaml").exists() and not force:
        raise ParamsError(_about_edits(root))
    lock = root / "dvc.lock"
    if current != name:
        # Wherever this is killed, every lock is stored somewhere, and none is active beside another's params.yaml.
        _copy(lock, _resting_lock(_owner(lock) or current or derived_from(root) or "unknown", root))
        lock.unlink(missing_ok=True)
        _copy(profile, root / "params.yaml")
    if not lock.exists():
        _copy(_resting_lock(name, root), lock)


def _checked(name: str, root: Path) -> Path:
    profiles = available(root)
    if name not in profiles:
        raise ParamsError(f"unknown profile {name!r}; allowed: {', '.join(profiles) or 'none, profiles/ is empty'}")
    stated = load_params(profiles[name]).profile
    if stated != name:
        raise ParamsError(f"{profiles[name]}: profile: must be {name}, the name of its file (found {stated!r})")
    return profiles[name]


def _about_edits(root: Path) -> str:
    origin = derived_from(root)
    whose = f"edits of the profile {origin}" if origin else "the values of no profile"
    return (
        f"params.yaml holds {whose}, and they would be lost; keep them as a profile of their own "
        "(copy params.yaml to profiles/NEW.yaml and set profile: NEW in it), or throw them away with --force"
    )


def _owner(lock: Path) -> str | None:
    """The profile whose files a dvc.lock is about; params.yaml may have been written by hand since."""
    if not lock.exists():
        return None
    named = re.findall(r"^\s*(?:- )?path: data/([^/\s]+)/", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return Counter(named).most_common(1)[0][0] if named else None


def _resting_lock(name: str, root: Path) -> Path:
    return Paths(name, root).reports / "dvc.lock"


def _copy(source: Path, target: Path) -> None:
    """Copy a file in one step; a missing `source` leaves `target` alone."""
    if source.exists():
        with replacing(target) as beside:
            shutil.copyfile(source, beside)

"""What dvc.lock says about a stage: its command, and the hashes of what it read and made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

Entry = dict[str, Any]
"""A stage in dvc.lock: `cmd`, `deps`, `params`, `outs`."""

_MEASURED = "provenance"
"""A folder of the outputs that differ from run to run: times, memory and hosts."""


def is_measured(path: str) -> bool:
    """Whether an output holds measurements, which no two runs have in common."""
    parts = PurePosixPath(path).parts
    return _MEASURED in parts or parts[-1] == "bench.json"


def same_inputs(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two entries are about the same command, parameters and bytes read."""
    return all(one.get(key) == other.get(key) for key in ("cmd", "deps", "params"))


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The outputs that hold other bytes in one entry than in the other, apart from measurements."""
    before = {out["path"]: out["md5"] for out in other.get("outs", [])}
    after = {out["path"]: out["md5"] for out in one.get("outs", [])}
    return [path for path, md5 in after.items() if not is_measured(path) and before.get(path, md5) != md5]


def restricted(lock: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """A lock with some of the stages alone: a clone needs no more, and writes it faster."""
    return {"schema": "2.0", "stages": {name: lock["stages"][name] for name in lock.get("stages", {}) if name in names}}


def adopted(lock: Mapping[str, Any], entries: Mapping[str, Entry]) -> dict[str, Any]:
    """A lock with some entries replaced or added."""
    return {**lock, "schema": "2.0", "stages": {**lock.get("stages", {}), **entries}}

"""How the pages write figures."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from sensibert.report.labels import MINUS, NOTHING, metric_label, metric_title, short_name
from sensibert.report.markdown import visible

INTERVAL = "95\N{NO-BREAK SPACE}% interval"


def printable(words: str) -> str:
    """Words in which nothing is hidden: control characters, and those that turn the direction, are replaced."""
    if words.isprintable():
        return words
    return "".join(character if character.isspace() else visible(character) for character in words)


def count(number: float) -> str:
    """A number of parameters or operations."""
    if number >= 1e9:
        return f"{number / 1e9:.2f} G"
    return f"{number / 1e6:.2f} M" if number >= 1e6 else f"{number:,.0f}"


def counted(how_many: int, what: str) -> str:
    """A number of things."""
    return f"{how_many:,} {what}{'' if how_many == 1 else 's'}"


def megabytes(size: float) -> str:
    """The size of a file."""
    return f"{size / 1e6:.1f} MB"


def milliseconds(seconds: float) -> str:
    """A latency."""
    return f"{1e3 * seconds:.1f} ms" if seconds >= 0.01 else f"{1e3 * seconds:.2f} ms"


def signed(value: float) -> str:
    """A difference in points."""
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", MINUS)  # the sum turns a rounded -0.0 into 0.0


def plain(value: float) -> str:
    """A number with a decimal, below zero with a real minus sign."""
    return f"{round(value, 1) + 0.0:.1f}".replace("-", MINUS)


def duration(seconds: float) -> str:
    """How long something took."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def metric_name(metric: str) -> str:
    """A metric without its unit, within a sentence."""
    name = metric_title(metric)
    is_name_of_someone = name.endswith("correlation")
    return name if is_name_of_someone or not name[:2].isalpha() else name[0].lower() + name[1:]


def unit_of(metric: str) -> str:
    """What stands behind its value: a percent sign, or nothing for a correlation."""
    return "\N{NO-BREAK SPACE}%" if metric_label(metric).endswith("(%)") else ""


def public(value: Any) -> str:
    """A setting as a page shows it; of a path of one machine only the last part."""
    if value is None or value == {} or value == []:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(public, value))
    text = str(value)
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(text).is_absolute() and kind(text).name:
            return kind(text).name
    return short_name(text) if isinstance(value, str) else text


def flat(settings: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Settings within settings as one list, with names such as `training.epochs`."""
    found: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            found += flat(value, f"{above}{name}.")
        else:
            found.append((f"{above}{name}", public(value)))
    return found


def code_version(git: dict[str, Any] | None) -> str:
    """The revision of the code that made something."""
    if not git or not git["revision"]:
        return "not from a git checkout"
    return git["revision"][:12] + (" with uncommitted changes" if git["dirty"] else "")


def machine(hardware: dict[str, Any]) -> str:
    """A machine in one line."""
    parts = [
        hardware["gpu"],
        hardware["cpu"],
        f"{hardware['cores']} cores",
        f"{hardware['memory'] / 1e9:.0f} GB memory",
    ]
    return ", ".join(part for part in parts if part)

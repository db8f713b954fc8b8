"""Names from elsewhere within Markdown: whatever they hold, they stay names."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 80
"""Characters of a name that are shown."""

_JOINS_EMOJI = "\u200d"


def code(name: str) -> str:
    """A name as a code span, in which neither HTML nor markup means anything.

    It is fenced by more backticks than it holds in a row, and a very long name is cut.
    """
    shown = visible(name)
    if len(shown) > LONGEST:
        shown = f"{shown[: LONGEST - 1]}…"
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    padding = " " if not shown or "`" in (shown[0], shown[-1]) else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def visible(name: str) -> str:
    """A name in one line that hides nothing: control characters, and those that turn the direction, are replaced."""
    return " ".join("".join(map(_visible, name)).split())


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    is_hidden = unicodedata.category(character).startswith("C") and character != _JOINS_EMOJI
    return "\N{REPLACEMENT CHARACTER}" if is_hidden else character

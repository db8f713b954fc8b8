"""One file of HTML from a page: style and script are within, and nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sensibert.report.formats import write_text
from sensibert.report.markdown import LONGEST, visible
from sensibert.report.page.blocks import Page
from sensibert.report.page.words import printable


def write_page(page: Page, path: Path) -> None:
    """Write a page, whole or not at all."""
    write_text(rendered(page), path)


def rendered(page: Page) -> str:
    """The HTML of a page; equal pages give equal bytes."""
    script = asset("script.js")
    template = _environment().get_template("page.html")
    return template.render(page=page, style=asset("style.css"), script=script, script_hash=_hash(script)) + "\n"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sensibert.report.page"),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    return environment


def _printable(value: object) -> object:
    """What goes into a page: texts without anything hidden in them, such as bytes that are no UTF-8."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def shown(name: str) -> str:
    """A name from elsewhere in one line: nothing hidden in it, and not too long."""
    clean = visible(name)
    return clean if len(clean) <= LONGEST else f"{clean[: LONGEST - 1]}…"


@cache
def asset(name: str) -> Markup:
    """A file of this package that goes into the page as it is."""
    return Markup((files(__package__) / "templates" / name).read_text(encoding="utf-8"))


def _hash(script: str) -> str:
    """What a browser must find of the only script that it may run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

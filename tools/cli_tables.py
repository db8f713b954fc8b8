"""Write the option tables of docs/cli.md anew, from the commands themselves: `python tools/cli_tables.py`.

A line of the page says which options the table below it lists; a test says when one is stale or an option is in none:

    <!-- options of compress: --budget --method -->    of one command
    <!-- shared options: --train --text -->            of all commands that do not list them in a table of their own
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer

from sensibert.cli import app

PAGE = Path("docs/cli.md")

_TABLE = re.compile(r"<!-- (?:options of (?P<command>\w+)|shared options): (?P<names>.*) -->\n(?:\|.*\n)*")
_TYPE = re.compile(r"<(.+)>")


class Option(NamedTuple):
    """An option of a command, as `--help` tells it."""

    flags: str
    """Its name, or its names, with what follows it: `--budget PART...`."""
    help: str
    default: str
    """`required`, or what is taken without it; empty if that is nothing."""

    @property
    def name(self) -> str:
        """Its first name alone."""
        return self.flags.split()[0]


def options() -> dict[str, list[Option]]:
    """The options of each command, `--help` left out."""
    group: Any = typer.main.get_command(app)
    return {name: list(_options(command)) for name, command in group.commands.items()}


def _options(command: Any) -> Iterator[Option]:
    context = typer.Context(command)
    for parameter in command.params:
        if parameter.param_type_name == "option" and parameter.name != "help":
            flags, said = parameter.get_help_record(context)
            text, _, more = said.partition("  [")
            default = re.search(r"^required|(?<=default: )[^;\]]+", more)
            yield Option(_TYPE.sub(_placeholder, flags), text, default[0] if default else "")


def _placeholder(found: re.Match[str]) -> str:
    """What stands for a value that has no name of its own."""
    return "N" if "int" in found[1] else "NUMBER" if "float" in found[1] else "NAME"


def filled(page: str) -> str:
    """The page with the tables that its lines ask for."""
    known, own = options(), _listed(page)

    def table(found: re.Match[str]) -> str:
        names = found["names"].split()
        if command := found["command"]:
            head = ["option", "what it does", "without it"]
            rows = [_cells(option) for name in names for option in known[command] if option.name == name]
        else:
            head = ["option", "what it does", "without it", "of"]
            shared = (form for name in names for form in _shared(name, known, own).items())
            rows = [[*_cells(option), ", ".join(commands)] for option, commands in shared]
        mark, _, _ = found[0].partition("\n")
        return "\n".join([mark, *map(_line, [head, ["---"] * len(head), *rows]), ""])

    return _TABLE.sub(table, page)


def unlisted(page: str) -> set[tuple[str, str]]:
    """The commands and options that no table lists."""
    shared = {name for mark in _TABLE.finditer(page) if not mark["command"] for name in mark["names"].split()}
    there = {(command, option.name) for command, found in options().items() for option in found}
    return {(command, name) for command, name in there - _listed(page) if name not in shared}


def _listed(page: str) -> set[tuple[str, str]]:
    """The commands and options that have a place in a command's own table."""
    own = [mark for mark in _TABLE.finditer(page) if mark["command"]]
    return {(mark["command"], name) for mark in own for name in mark["names"].split()}


def _shared(name: str, known: dict[str, list[Option]], own: set[tuple[str, str]]) -> dict[Option, list[str]]:
    """The forms of an option, each with the commands that have it so."""
    forms: dict[Option, list[str]] = {}
    for command, found in known.items():
        for option in found:
            if option.name == name and (command, name) not in own:
                forms.setdefault(option, []).append(command)
    return forms


def _cells(option: Option) -> list[str]:
    default = option.default if option.default in ("", "required") else f"`{option.default}`"
    return [f"`{option.flags}`", option.help, default]


def _line(cells: list[str]) -> str:
    escaped = [cell.replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

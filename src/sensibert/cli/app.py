"""The application that the command files add to, and the one place where a user's mistake becomes a message."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from sensibert import __version__
from sensibert.errors import explain


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if (message := explain(error)) is None:
                raise
            typer.echo(f"error: {message}", err=True)
            raise typer.Exit(1) from None


class SeveralValues(TyperCommand):
    """A command whose `--budget` takes several values at once, as in `--budget 0.6 0.4 0.2`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give each value an option of its own, which is what click reads."""
        spelled: list[str] = []
        for word in args:
            is_another = len(spelled) > 1 and spelled[-2] == "--budget" and _is_number(word)
            spelled += ["--budget", word] if is_another else [word]
        return super().parse_args(ctx, spelled)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Score, slim and fine-tune Transformer encoders, with the evidence.

    \b
    Your own model and data, anywhere:
    sensibert compress       make a model smaller, in one command
    sensibert score, mask    its first steps alone: one scoring, a mask for any budget
    sensibert evaluate       metrics of a model on labelled data
    sensibert predict        answers of a model or an export to a file of texts
    sensibert bench          how fast models answer, compared in one run
    sensibert export         ONNX and INT8, checked

    \b
    Experiments, in the repository root (DVC computes, these choose and show):
    sensibert profile sst2   choose the experiment
    sensibert check          check params.yaml after an edit
    dvc repro                compute what is missing of it
    sensibert grid           the same on many machines, with Ray
    sensibert track          bring its runs into MLflow
    sensibert show           see where the results are
    sensibert verify         read all of them: is a file damaged?
    """  # noqa: D301 (a real backspace: it keeps the lines of a list apart)

"""The command line. Commands import what they need, so that `--help` stays quick."""

from sensibert.cli import experiment, grid, model  # noqa: F401 (importing them adds their commands)
from sensibert.cli.app import app

__all__ = ["app"]

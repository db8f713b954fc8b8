"""What every stage script shares: its arguments, and a plain message for a user's mistake."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sensibert.config.grid import DENSE_BUDGET, Cell
from sensibert.config.params import Params, load_params
from sensibert.config.paths import Paths
from sensibert.config.simple_models import SIMPLE_MODELS
from sensibert.data.tasks import TASKS
from sensibert.errors import ParamsError, explain
from sensibert.models.fit import check_backbone

_PROCESSES = "SENSIBERT_PROCESSES"

_ARGUMENTS: dict[str, dict[str, object]] = {
    "task": {"choices": list(TASKS), "metavar": "TASK", "help": "a task of the grid"},
    "to": {"choices": list(TASKS), "metavar": "TASK", "help": "a task with the same labels, to be evaluated on"},
    "transferred": {
        "action": argparse.BooleanOptionalAction,
        "default": False,
        "help": "get the task for models of another task to be evaluated on",
    },
    "repeated": {
        "action": argparse.BooleanOptionalAction,
        "default": False,
        "help": "for the stability report: more epochs, and the scores after each of them",
    },
    "method": {"help": "a method of the grid: a criterion, a pruning procedure or a tuning method"},
    "simple": {"choices": list(SIMPLE_MODELS), "metavar": "NAME", "help": "a simple model"},
    "budget": {"type": float, "default": DENSE_BUDGET, "help": "fraction that is kept, or that trains"},
    "resume": {"action": argparse.BooleanOptionalAction, "default": True, "help": "resume at the last checkpoint"},
    "distributed": {
        "action": argparse.BooleanOptionalAction,
        "default": False,
        "help": f"this is one of the processes that torchrun or Accelerate launched, which train one model together; "
        f"without them {_PROCESSES} in the environment says how many processes the stage starts on this machine",
    },
    "seed": {"type": int, "help": "seed of the classifier, the data order and dropout"},
}


Stage = Callable[[argparse.Namespace, Params, Paths], None]


def run(stage: Stage, *arguments: str) -> None:
    """Parse the command line, read params.yaml and run the stage; exit with 1 on a user's mistake."""
    gc.freeze()  # imported modules are not garbage: the collector need not look at them again
    gc.enable()
    parser = argparse.ArgumentParser(description=sys.modules[stage.__module__].__doc__)
    for name in arguments:
        parser.add_argument(f"--{name}", required="default" not in _ARGUMENTS[name], **_ARGUMENTS[name])  # type: ignore[arg-type]
    chosen = parser.parse_args()
    with _explained():
        wanted = _wanted_processes() if "distributed" in arguments else 1
        if wanted > 1 or getattr(chosen, "distributed", False):
            _run_on_processes(stage, chosen, wanted)
        else:
            _run(stage, chosen)


def _run(stage: Stage, chosen: argparse.Namespace) -> None:
    params = check_backbone(load_params())
    stage(chosen, params, Paths(params.profile))


def _run_on_processes(stage: Stage, chosen: argparse.Namespace, wanted: int) -> None:
    from sensibert.compute import processes  # it loads PyTorch, which a mistake in params.yaml does not need

    if chosen.distributed:
        with processes.joined_as_launched():
            _run(stage, chosen)
    else:
        processes.spawn(_run_explained, wanted, stage, chosen)


def _run_explained(stage: Stage, chosen: argparse.Namespace) -> None:
    with _explained():
        _run(stage, chosen)


def _wanted_processes() -> int:
    wanted = os.environ.get(_PROCESSES, "1")
    if not (wanted.isdecimal() and int(wanted)):
        raise ParamsError(f"{_PROCESSES} is {wanted!r} in the environment; allowed: 1 and more processes")
    return int(wanted)


@contextmanager
def _explained() -> Iterator[None]:
    """End with a plain message on a user's mistake."""
    try:
        yield
    except Exception as error:
        if (message := explain(error)) is None:
            raise
        sys.exit(f"error: {message}")


def cell_of(arguments: argparse.Namespace, params: Params) -> Cell:
    """The cell that the arguments name.

    Raises:
        ParamsError: the grid has no such cell.
    """
    cell = Cell(arguments.task, arguments.method, arguments.budget, arguments.seed)
    if cell not in (cells := params.cells()):
        raise ParamsError(
            f"{cell.name} is not in the grid of params.yaml, which has {', '.join(c.name for c in cells)}"
        )
    return cell

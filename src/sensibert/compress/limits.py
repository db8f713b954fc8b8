"""What a small model may lose and cost at most, and the budget that keeps within it."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, ByteSize, Field, PlainValidator

from sensibert.config.section import Section
from sensibert.errors import SensibertError

BUDGETS = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05)
"""The budgets that are walked if none are named, from the dense model on."""

_SECONDS = {"ms": 1e-3, "s": 1.0}


class LimitsError(SensibertError):
    """No budget keeps within the limits."""


def _seconds(text: object) -> float:
    found = re.fullmatch(r"\s*([0-9.]+(?:e-?\d+)?)\s*(ms|s)\s*", str(text))
    if not found or not float(found[1]) > 0:
        raise ValueError("must be a time with its unit, such as 5ms or 0.01s")
    return float(found[1]) * _SECONDS[found[2]]


def _with_unit(text: object) -> object:
    if not re.fullmatch(r"\s*\d+(\.\d+)?\s*[kMGKmg]i?[bB]\s*", str(text)):
        raise ValueError("must be a size with its unit, such as 20MB (or kB, GB, KiB, MiB, GiB)")
    return text


class Limits(Section):
    """What the deployed model may lose and cost at most; each may be left out."""

    max_drop: Annotated[float, Field(ge=0, le=100)] | None = None
    """Points of the primary metric below the dense model: the one-sided 95 % bound of a paired bootstrap over training
    rows that are held back (`dev`), which holds for all budgets that are tried together, shall not exceed it."""
    max_latency: Annotated[float, PlainValidator(_seconds)] | None = None
    """Seconds for one text of mean length on one thread."""
    max_size: Annotated[ByteSize, BeforeValidator(_with_unit)] | None = None
    """Bytes of the file that is deployed."""
    deploy_as: Literal["onnx-int8", "onnx", "torch"] = "onnx-int8"
    """The file that all this is measured on."""

    @property
    def are_there(self) -> bool:
        """Whether there is a limit at all."""
        return any(limit is not None for limit in (self.max_drop, self.max_latency, self.max_size))


def most_trials(budgets: int) -> int:
    """How many of so many budgets `choose_budget` may judge."""
    return budgets.bit_length()


def choose_budget(
    budgets: Sequence[float],
    is_small_enough: Callable[[float], bool],
    is_good_enough: Callable[[float], bool] | None,
) -> float | None:
    """The smallest budget that is good enough, of those that are small enough.

    A smaller budget makes a smaller, faster and worse model, up to noise; so both ends are found by bisection, and a
    budget is trained only if it can still be the answer.

    Args:
        budgets: From the largest to the smallest.
        is_small_enough: Whether the model of a budget is as small and fast as it must be; needs no training.
        is_good_enough: Whether it loses as little as it must; None if that does not matter: then the largest of the
            budgets that are small enough is the answer, since it is the best.

    Returns:
        None if no budget is both.
    """
    first = bisect_left(range(len(budgets)), True, key=lambda place: is_small_enough(budgets[place]))
    if first == len(budgets):
        return None
    if is_good_enough is None:
        return budgets[first]
    rest = budgets[first:]
    found = bisect_left(range(len(rest)), True, key=lambda place: not is_good_enough(rest[place]))
    return rest[found - 1] if found else None

"""Sections of typed settings, and the message for a value that does not fit.

Nothing in this package imports torch: reading the parameters must stay instant.
"""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from sensibert.errors import ParamsError


class Section(BaseModel):
    """A group of settings: unknown keys are refused, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


_S = TypeVar("_S", bound=Section)


def one_of(kind: str, allowed: Any) -> AfterValidator:
    """Refuse a name that is not among those allowed."""

    def check(name: str) -> str:
        if name not in allowed:
            raise ValueError(f"unknown {kind} {name!r}; allowed: {', '.join(allowed)}")
        return name

    return AfterValidator(check)


def _without_repeats(values: list[Any]) -> list[Any]:
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"{repeated} stands in the list more than once")
    return values


Unique = AfterValidator(_without_repeats)


def validate(section: type[_S], content: dict[str, Any], name: str) -> _S:
    """Check the content of a section; the error message uses `name`.

    Raises:
        ParamsError: a key is unknown or missing, or a value is wrong; the message names all of them.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        lines = [_describe(problem, section) for problem in error.errors()]
        raise ParamsError("\n".join(f"{name}: {line}" for line in lines)) from None


def _describe(problem: Any, root: type[Section]) -> str:
    key = ".".join(str(part) for part in problem["loc"] if part != "[key]")
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; allowed: {', '.join(_siblings(problem['loc'], root))}"
    if problem["type"] == "missing":
        return f"{key}: this key is required"
    if problem["type"] == "model_type":
        return f"{key}: must be a mapping of keys to values (found {problem['input']!r})"
    if isinstance(problem["input"], dict):
        return f"{key}: {message}" if key else message
    return f"{key}: {message} (found {problem['input']!r})"


def _siblings(location: tuple[Any, ...], root: type[Section]) -> list[str]:
    """The keys that are allowed where an unknown one was found."""
    section: type[BaseModel] = root
    for part in location[:-1]:
        annotation = section.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        section = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(section.model_fields)

"""The errors that a user can cause; every other exception is a bug in this package.

The command line and the pipeline scripts print such an error as one message without a traceback
and exit with a code other than 0.
"""

from __future__ import annotations

import errno
import os
import re

_NO_PLACE = {errno.ENOTDIR, errno.EISDIR, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SQLITE_FULL = "database or disk is full"


class SensibertError(Exception):
    """Something that the user controls is wrong; the message names it and says what is allowed."""


class ParamsError(SensibertError):
    """A value in params.yaml is unknown, missing or out of range."""


class DataError(SensibertError):
    """A data set is missing, unreadable or not of the expected shape."""


class BackboneError(SensibertError):
    """A backbone cannot be found, verified or pruned."""


class MaskError(SensibertError):
    """A mask cannot be made under the budget, or does not fit the model."""


class TuningError(SensibertError):
    """A tuning method does not fit the model or its budget."""


class ArtifactError(SensibertError):
    """A file that another stage should have written is missing or damaged."""


class PlaceError(SensibertError):
    """A result must not, or cannot, be written where it was asked for."""


class DivergedError(SensibertError):
    """A training left numbers that are not finite."""


class ExportError(SensibertError):
    """A model cannot be exported, or its export does not give the model's answers."""


class TrackingError(SensibertError):
    """The MLflow store cannot be reached or written."""


class GridError(SensibertError):
    """A grid cannot be computed on many machines as it was asked for."""


def explain(error: BaseException) -> str | None:
    """The message for an error that a user can fix; None for a bug, which needs its traceback."""
    if isinstance(error, SensibertError):
        return str(error)
    if is_no_room(error):
        place = getattr(error, "filename", None) or "a result"
        reason = _SQLITE_FULL if _SQLITE_FULL in str(error) else error  # SQLAlchemy adds the statement, and more
        return (
            f"cannot write {place}: the disk is full, or a quota or the largest file size is reached ({reason}); "
            "nothing was left half-written: make room and run it again"
        )
    if isinstance(error, PermissionError):
        return f"no permission for {error.filename}"
    if isinstance(error, OSError) and error.errno in _NO_PLACE and error.filename is not None:
        return f"cannot use {os.fsdecode(error.filename)}: {error.strerror}"
    return None


def is_no_room(error: BaseException) -> bool:
    """Whether the disk is full, or a quota or the largest file size is reached."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    text = str(error)
    if number := re.search(r"\(os error (\d+)\)", text):  # the writers in Rust: safetensors, tokenizers
        return int(number[1]) in _NO_ROOM
    if _SQLITE_FULL in text:
        return True
    return "inline_container" in text and "unexpected pos" in text  # torch.save, which does not say why

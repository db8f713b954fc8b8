"""Inside a command that is being tried: counts what it does to files of its folder, and kills it at a chosen point.

Python imports this module by itself when its folder is on PYTHONPATH. A clock mostly hits the imports, which take most
of the time; the seams between two files are hit only by counting. What libraries in C and Rust do is not seen here.
"""

import atexit
import os
import sys

_PLACE, _AT, _SIGNAL, _COUNT = (os.environ.get(f"CHAOS_{name}", "") for name in ("PLACE", "AT", "SIGNAL", "COUNT"))
_CHANGING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_done = 0


def _watch(event: str, arguments: tuple) -> None:
    if (event in _CHANGING or (event == "open" and (arguments[2] or 0) & _WRITING)) and _is_inside(arguments[0]):
        _count()


def _is_inside(path: object) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    place = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 (pathlib is not imported yet)
    return place.startswith(_PLACE + os.sep) and "__pycache__" not in place


def _count() -> None:
    global _done
    _done += 1
    if str(_done) == _AT:
        os.killpg(os.getpgrp(), int(_SIGNAL))


def _at_exit() -> None:
    _count()  # the last point: all is written, the exit code is not given yet
    if _COUNT:
        with open(_COUNT, "a") as file:  # noqa: PTH123
            file.write(f"{_done}\n")


if _PLACE:
    atexit.register(_at_exit)  # the first to be registered runs last
    sys.addaudithook(_watch)

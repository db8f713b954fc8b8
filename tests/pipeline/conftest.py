"""Work trees of this repository in temporary folders, to run the real pipeline in."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from work_tree import WorkTree, make_origin


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with the tracked files of this one as they are now, on the profile `tiny`."""
    folder = tmp_path_factory.mktemp("origin")
    make_origin(folder)
    return folder


@pytest.fixture(scope="session")
def new_warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """Makes a folder with a `python` that need not import torch and the like: `warm_python.py`, with its arguments."""
    script = Path(__file__).with_name("warm_python.py")
    with ExitStack() as servers:

        def serve(*arguments: str) -> Path:
            folder = tmp_path_factory.mktemp("warm")
            command = [sys.executable, str(script), str(folder / "socket"), str(folder), *arguments]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            server = servers.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, env=environment))
            servers.callback(server.kill)
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            return folder

        yield serve


@pytest.fixture(scope="session")
def warm_python(new_warm_python: Callable[..., Path]) -> Path:
    """One of these for all the tests of a worker."""
    return new_warm_python()


@pytest.fixture(scope="session")
def new_work_tree(tmp_path_factory: pytest.TempPathFactory, origin: Path) -> Callable[[], WorkTree]:
    """Makes a fresh clone in which nothing has run yet."""

    def clone() -> WorkTree:
        tree = WorkTree(tmp_path_factory.mktemp("work-tree"))
        tree.run("git", "clone", "--quiet", str(origin), ".")
        return tree

    return clone

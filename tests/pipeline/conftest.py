"""Work trees of this repository in temporary folders, to run the real pipeline in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
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
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a `python` that need not import torch and the like: `warm_python.py`."""
    folder = tmp_path_factory.mktemp("warm")
    script = Path(__file__).with_name("warm_python.py")
    command = [sys.executable, str(script), str(folder / "socket"), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield folder
        server.kill()


@pytest.fixture(scope="session")
def new_work_tree(tmp_path_factory: pytest.TempPathFactory, origin: Path, glue_data: Path) -> Callable[[], WorkTree]:
    """Makes a fresh clone with the data of the profile, in which nothing has run yet."""

    def clone() -> WorkTree:
        tree = WorkTree(tmp_path_factory.mktemp("work-tree"))
        tree.run("git", "clone", "--quiet", str(origin), ".")
        shutil.copytree(glue_data, tree.root / "data" / "tiny-glue")
        return tree

    return clone

"""Work trees of this repository in temporary folders, to run the real pipeline in."""

import shutil
from collections.abc import Callable
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
def new_work_tree(tmp_path_factory: pytest.TempPathFactory, origin: Path, glue_data: Path) -> Callable[[], WorkTree]:
    """Makes a fresh clone with the data of the profile, in which nothing has run yet."""

    def clone() -> WorkTree:
        tree = WorkTree(tmp_path_factory.mktemp("work-tree"))
        tree.run("git", "clone", "--quiet", str(origin), ".")
        shutil.copytree(glue_data, tree.root / "data" / "tiny-glue")
        return tree

    return clone

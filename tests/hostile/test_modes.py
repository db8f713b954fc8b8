"""Results belong to whom the umask says: safetensors would make its files for the owner alone."""

import os
import stat

import pytest
from hostile import COMMANDS, LONG, run, to


@pytest.fixture(params=[0o022, 0o077, 0o002] if LONG else [0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("command", ["compress", "score", "mask", "evaluate", "bench"])
def test_all_files_of_a_result_have_the_mode_of_the_umask(here, umask, command):
    _, name = to(command)
    result = run(*getattr(COMMANDS, command), *to(command))
    assert result.exit_code == 0, result.output
    place = here / name
    files = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
    assert files
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in files} == {
        path.name: oct(0o666 & ~umask) for path in files
    }
    assert stat.S_IMODE(place.stat().st_mode) == (0o777 if place.is_dir() else 0o666) & ~umask

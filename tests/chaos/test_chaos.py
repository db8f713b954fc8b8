"""`make chaos` in short: a few of its trials, on its smallest subjects."""

import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from chaos.subjects import EVIDENCE, THERE, Subject
from chaos.trials import Command, can_mount, leave_room, log_of, rehearse
from chaos.worlds import COMPRESS, make_desk


@pytest.fixture(scope="module")
def compress(tmp_path_factory):
    """A compression, what it leaves and where, and how a second one ended that wanted the same place."""
    base = tmp_path_factory.mktemp("compress")
    make_desk(base / "desk")
    command = (*COMPRESS, "small", "--baseline", "none", "--learning-rate", "1e-3")
    subject = Subject("compress", command, base / "desk", volatile=EVIDENCE)
    place = base / "undisturbed"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(rehearse, subject, place)
        while not (place / ".small.sensibert-holder").exists():
            assert not first.done(), first.result()
            time.sleep(0.01)
        second = Command(subject.command, place, log_of(place, "-second")).end(60)
        return subject, first.result(), place, second


def test_one_of_two_compressions_is_refused(compress):
    *_, second = compress
    assert second.code == 1
    assert re.fullmatch(r"error: --out small is being made by process \d+ on .+, since .+", second.output.strip())


def test_a_full_disk_leaves_no_half(compress, tmp_path):
    if not can_mount(tmp_path / "mount"):
        pytest.skip("this user may not mount a tmpfs")
    _, _, undisturbed, _ = compress
    (tmp_path / "world").mkdir()
    scores = undisturbed / "small" / "evidence" / "scores.safetensors"
    shutil.copyfile(scores, tmp_path / "world" / "scores.safetensors")
    command = ("sensibert", "mask", "scores.safetensors", "--out", "mask.safetensors")
    subject = Subject("mask", command, tmp_path / "world", refusal=THERE)
    expected = rehearse(subject, tmp_path / "undisturbed")
    outcome = leave_room(0, subject, expected, tmp_path / "trial")
    assert outcome.hit
    assert not outcome.defects

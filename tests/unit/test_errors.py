import errno

import pytest

from sensibert import errors
from sensibert.errors import SensibertError, explain

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SensibertError)]


def test_a_user_s_mistake_is_its_message():
    assert len(KINDS) > 5
    for kind in KINDS:
        assert explain(kind("budgets: 0.4 stands there twice")) == "budgets: 0.4 stands there twice"


def test_a_full_disk_is_explained():
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        message = explain(OSError(number, "no room", "data/model.safetensors"))
        assert "cannot write data/model.safetensors: the disk is full" in message
        assert "nothing was left half-written" in message
        assert "cannot write a result" in explain(OSError(number, "no room"))


def test_a_full_disk_met_by_a_writer_in_another_language_is_explained():
    from safetensors import SafetensorError

    assert "the disk is full" in explain(SafetensorError("I/O error: No space left on device (os error 28)"))
    assert explain(SafetensorError("header too large (os error 5)")) is None


def test_a_full_disk_met_by_torch_is_explained():
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.save(torch.zeros(1000), "/dev/full")
    assert "the disk is full" in explain(caught.value)


def test_a_full_disk_met_by_the_store_of_a_search_is_explained():
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import OperationalError

    with create_engine("sqlite://").connect() as connection:
        connection.execute(text("PRAGMA max_page_count = 2"))
        connection.execute(text("CREATE TABLE trials (number)"))
        with pytest.raises(OperationalError) as caught:
            connection.execute(text("INSERT INTO trials VALUES (zeroblob(9000))"))
    message = explain(caught.value)
    assert "the disk is full" in message
    assert "\n" not in message


def test_a_missing_permission_is_explained():
    assert explain(PermissionError(errno.EACCES, "denied", "data/raw")) == "no permission for data/raw"


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyError("x"), FileNotFoundError(2, "gone", "x"), OSError("?")])
def test_a_bug_is_not_explained(error):
    assert explain(error) is None

"""Where a result may go: nothing is erased that sensibert did not make, and nothing half-made is left."""

import os
import threading
from pathlib import Path

import pytest
from hostile import COMMANDS, run

from sensibert.errors import PlaceError
from sensibert.io import MARK, mark
from sensibert.places import check_output, holding

WRITING = ("compress", "score", "mask", "evaluate", "bench", "export")


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize(
    ("place", "says"),
    [
        (".", "name a file or folder to be made"),
        ("", "name a file or folder to be made"),
        ("..", "the folder you work in or a folder above it"),
        ("/", "a folder above it"),
        ("notes.txt/small", "notes.txt is a file, not a folder"),
        ("x" * 250, "the name is too long"),
    ],
)
def test_no_command_takes_a_place_that_cannot_be_a_result(refused, command, place, says, overwrite):
    if command == "bench" and place in ("", "."):
        says = "name a file or folder to be made"
    refused(*getattr(COMMANDS, command), "--out", place, *overwrite, says=says)


@pytest.mark.parametrize("command", ["compress", "score", "evaluate"])
@pytest.mark.parametrize("place", ["rows.csv", "./rows.csv", "model/../rows.csv"])
def test_the_data_that_are_read_are_never_replaced(refused, command, place):
    refused(*getattr(COMMANDS, command), "--out", place, "--overwrite", says="is what the command reads")


@pytest.mark.parametrize("command", ["evaluate", "bench", "export"])
@pytest.mark.parametrize(
    ("place", "says"), [("model", "is what the command reads"), ("model/result", "is inside what the command reads")]
)
def test_the_model_that_is_read_is_never_replaced(refused, command, place, says):
    refused(*getattr(COMMANDS, command), "--out", place, "--overwrite", says=says)


@pytest.mark.parametrize("command", ["compress", "evaluate", "export"])
def test_a_folder_of_the_users_own_is_never_replaced(refused, here, command):
    (here / "mine").mkdir()
    (here / "mine" / "thesis.tex").write_text("years of work")
    refused(*getattr(COMMANDS, command), "--out", "mine", "--overwrite", says="this it did not make")


@pytest.mark.parametrize("command", ["score", "mask", "bench"])
def test_a_file_of_the_users_own_is_never_replaced(refused, here, command):
    (here / "mine.json").write_text('{"years": "of work"}')
    refused(*getattr(COMMANDS, command), "--out", "mine.json", "--overwrite", says="this it did not make")
    (here / "mine.safetensors").write_bytes((here / "model" / "model.safetensors").read_bytes())
    refused(*getattr(COMMANDS, command), "--out", "mine.safetensors", "--overwrite", says="this it did not make")


@pytest.mark.parametrize(("command", "place"), [("mask", "mask.safetensors"), ("bench", "x.json"), ("evaluate", "x")])
def test_a_result_is_replaced_when_asked_and_only_then(here, command, place):
    arguments = (*getattr(COMMANDS, command), "--out", place)
    assert run(*arguments).exit_code == 0
    again = run(*arguments)
    assert again.exit_code == 1
    assert "is already there; --overwrite replaces it" in again.stderr
    assert run(*arguments, "--overwrite").exit_code == 0


@pytest.mark.parametrize("command", ["compress", "score"])
def test_a_command_that_fails_leaves_no_new_folder(refused, here, command):
    arguments = [word if word != "tiny-bert" else "nowhere/else" for word in getattr(COMMANDS, command)]
    refused(*arguments, "--out", "new/folder/result", says="nowhere/else")
    assert not (here / "new").exists()


@pytest.mark.parametrize(
    "content", ["", "[]", "null", '{"made_by": 1}', '{"made_by": "somebody"}', "\ud800", "[" * 10000]
)
def test_only_a_mark_of_ours_counts(tmp_path, content):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / MARK).write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(PlaceError, match="did not make"):
        check_output(tmp_path / "folder", overwrite=True)
    mark(tmp_path / "folder", "compress")
    check_output(tmp_path / "folder", overwrite=True)


def test_links_are_followed_to_what_they_name(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text("text,label")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with pytest.raises(PlaceError, match="holds what the command reads"):
        check_output(tmp_path / "link", overwrite=True, inputs=[tmp_path / "data" / "rows.csv"])
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(PlaceError):
        check_output(tmp_path / "circle", overwrite=True)


def test_home_is_never_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for place in (tmp_path / "home", tmp_path):
        with pytest.raises(PlaceError, match="your home or a folder above it"):
            check_output(place, overwrite=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_without_permission(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(PlaceError, match="cannot be written"):
        check_output(tmp_path / "locked" / "small", overwrite=False)


def test_a_read_only_file_system():
    with pytest.raises(PlaceError, match="cannot be written"):
        check_output(Path("/proc/small"), overwrite=False)


def test_two_commands_do_not_make_the_same_result(tmp_path):
    out, inside, done = tmp_path / "small", threading.Event(), threading.Event()

    def work():
        with holding(out):
            inside.set()
            done.wait(30)

    first = threading.Thread(target=work)
    first.start()
    inside.wait(30)
    with pytest.raises(PlaceError, match=rf"small is being made by process {os.getpid()} on .+, since "), holding(out):
        pass
    done.set()
    first.join()
    with holding(out):
        pass
    assert not list(tmp_path.iterdir()), "no lock stays behind"

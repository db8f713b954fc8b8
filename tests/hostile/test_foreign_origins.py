"""Scores and masks that fit by their shapes but were made for another model, task or set of labels."""

from dataclasses import replace

import pytest
from hostile import COMMANDS, run

from sensibert.models.mask import read_mask, write_mask
from sensibert.scoring.files import read_scores, write_scores

OTHERS = {
    "weights": ({"backbone": "elsewhere", "weights": "0a"}, "made for the backbone 'elsewhere', whose weights are not"),
    "task": ({"task": "reviews"}, "made for the task 'reviews', not 'rows'"),
    "labels": ({"labels": ["no", "yes"]}, "made for the labels no, yes, not bad, good"),
    "nothing said": ({"backbone": "", "weights": "", "task": "", "labels": []}, "made for the backbone ''"),
}


@pytest.fixture(params=["--scores", "--mask"])
def option(request, here):
    assert run(*COMMANDS.mask, "--out", "mask.safetensors").exit_code == 0
    return request.param


def change(here, option, **changes):
    """Scores or a mask that say they were made for something else; the file's name."""
    name, read, write = {
        "--scores": ("scores.safetensors", read_scores, write_scores),
        "--mask": ("mask.safetensors", read_mask, write_mask),
    }[option]
    content = read(here / name)
    made_for = replace(content.origin.made_for, **changes)
    write(here / name, replace(content, origin=replace(content.origin, made_for=made_for)))
    return name


@pytest.mark.parametrize(("changes", "says"), OTHERS.values(), ids=OTHERS)
def test_what_was_made_for_something_else_is_refused(refused, here, option, changes, says):
    name = change(here, option, **changes)
    result = refused(*COMMANDS.compress, option, name, "--out", "small", says=f"{option}: {says}")
    assert "--any-origin" in result.stderr


def test_it_is_taken_where_the_user_wants_it(here, option):
    name = change(here, option, task="reviews")
    result = run(*COMMANDS.compress, option, name, "--any-origin", "--baseline", "none", "--out", "small")
    assert result.exit_code == 0, result.output


def test_a_name_of_the_backbone_alone_makes_no_difference(here, option):
    name = change(here, option, backbone="../moved")
    result = run(*COMMANDS.compress, option, name, "--baseline", "none", "--out", "small")
    assert result.exit_code == 0, result.output

"""Masks: what they keep, what that costs, and their files."""

from dataclasses import replace

import numpy as np
import pytest

from sensibert.errors import ArtifactError, MaskError
from sensibert.io import read_arrays, write_arrays
from sensibert.models.mask import (
    MadeFor,
    Mask,
    MaskOrigin,
    ModuleKey,
    Shape,
    UnitCosts,
    by_module,
    named,
    read_mask,
    shapes_of,
    write_mask,
)

ATTENTION, FEED_FORWARD, LATER = ModuleKey(0, "attention"), ModuleKey(0, "feed_forward"), ModuleKey(10, "attention")
COSTS = {ATTENTION: 99, FEED_FORWARD: 49, LATER: 99}
ORIGIN = MaskOrigin(
    made_for=MadeFor("minilm-l6", "0a", "sst2", ["bad", "good"]),
    method="fisher",
    budget=0.4,
    seed=3,
    budget_kind="macs",
    predicted={"params": {"dense": 741, "slim": 400}, "latency": {"dense": 0.25, "slim": 0.125}},
    scoring_passes=0.5,
)
MASK = Mask({key: np.random.default_rng(1).random((2, 3)) > 0.5 for key in COSTS}, COSTS, ORIGIN)
KEEP = {ATTENTION: np.array([[True, False], [False, False]]), FEED_FORWARD: np.array([[True, True, False]])}
PER_DIMENSION = {ATTENTION: 10, FEED_FORWARD: 3}


@pytest.fixture
def tmp_path(tmp_path):
    """Where the stages of an experiment write: there, messages say how to make a file again."""
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_the_cost_of_a_mask_is_counted():
    mask = Mask(KEEP, PER_DIMENSION)
    assert (mask.kept_cost, mask.dense_cost, mask.kept_fraction) == (16, 49, 16 / 49)
    assert mask.origin is None


def test_another_unit_counts_what_is_kept_of_the_whole_model():
    assert UnitCosts(PER_DIMENSION, 100).slim(KEEP) == 100 - 33


def test_the_shapes_are_the_kept_heads_and_what_each_of_them_keeps():
    keep = {
        ATTENTION: np.array([[True, False, True], [False] * 3, [False, True, True]]),
        FEED_FORWARD: np.array([[False, True, False, False]]),
    }
    expected = {ATTENTION: Shape(2, 2), FEED_FORWARD: Shape(1, 1)}
    assert shapes_of(keep) == Mask(keep, COSTS).shapes() == expected
    assert [shape.dimensions for shape in expected.values()] == [4, 1]


def test_a_module_that_keeps_nothing_has_no_head_or_no_width():
    keep = {ATTENTION: np.zeros((2, 3), bool), FEED_FORWARD: np.zeros((1, 4), bool)}
    assert shapes_of(keep) == {ATTENTION: Shape(0, 3), FEED_FORWARD: Shape(1, 0)}


def test_shapes_that_are_no_stock_layers_are_refused():
    key = ModuleKey(3, "attention")
    with pytest.raises(MaskError, match=r"layer 3: the kept heads of attention keep different numbers .*\[1, 2\]"):
        Mask({key: np.array([[True, True], [True, False]])}, {key: 1}).shapes()


def test_the_name_of_a_module_is_read_back():
    assert [str(key) for key in COSTS] == ["0.attention", "0.feed_forward", "10.attention"]
    assert [ModuleKey.parse(str(key)) for key in COSTS] == list(COSTS)
    turned = dict(reversed(named(COSTS).items()))
    assert list(by_module(turned).items()) == list(COSTS.items())


@pytest.mark.parametrize("origin", [ORIGIN, None], ids=["cut by scores", "without origin"])
def test_a_mask_comes_back(tmp_path, origin):
    mask = replace(MASK, origin=origin)
    write_mask(tmp_path / "mask", mask)
    found = read_mask(tmp_path / "mask")
    assert (found.costs, found.origin, found.kept_cost) == (COSTS, origin, MASK.kept_cost)
    assert list(found.keep) == sorted(MASK.keep)
    for key, keep in MASK.keep.items():
        assert found.keep[key].dtype == bool
        assert np.array_equal(found.keep[key], keep)


def test_a_mask_lies_in_bytes_under_the_names_of_its_modules(tmp_path):
    write_mask(tmp_path / "mask", MASK)
    arrays, metadata = read_arrays(tmp_path / "mask")
    assert list(arrays) == ["0.attention", "0.feed_forward", "10.attention"]
    assert {values.dtype for values in arrays.values()} == {np.dtype(np.uint8)}
    assert metadata["costs"] == {"0.attention": 99, "0.feed_forward": 49, "10.attention": 99}


@pytest.mark.parametrize("about", [{"task": "sst2"}, {"task": "sst2", "colour": "red"}, [1], "sst2"])
def test_a_mask_of_an_unknown_origin_is_refused(tmp_path, about):
    write_mask(tmp_path / "mask", MASK)
    arrays, metadata = read_arrays(tmp_path / "mask")
    write_arrays(tmp_path / "mask", arrays, metadata | {"about": about})
    with pytest.raises(ArtifactError, match=r"mask is damaged or of another kind .*; delete it and run `dvc repro`"):
        read_mask(tmp_path / "mask")


def test_equal_masks_give_equal_bytes(tmp_path):
    turned = Mask(dict(reversed(MASK.keep.items())), dict(reversed(COSTS.items())), ORIGIN)
    for number in range(10):  # an order that is drawn by chance would show
        write_mask(tmp_path / f"mask-{number}", turned if number % 2 else MASK)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_missing_mask_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"mask is missing; run `dvc repro` to make it"):
        read_mask(tmp_path / "mask")


def test_a_damaged_mask_is_named(tmp_path):
    path = tmp_path / "mask"
    write_mask(path, MASK)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"mask is damaged .*; delete it and run `dvc repro`"):
        read_mask(path)

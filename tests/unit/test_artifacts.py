import json

import numpy as np
import pytest

from sensibert.artifacts import (
    Paths,
    ScoreFile,
    read_json,
    read_mask,
    read_scores,
    replacing,
    write_json,
    write_mask,
    write_scores,
)
from sensibert.errors import ArtifactError
from sensibert.masks import SINGLE, Mask, ModuleKey, Shape, UnitCosts
from sensibert.params import Cell

ATTENTION, FEED_FORWARD, LATER = ModuleKey(0, "attention"), ModuleKey(0, "feed_forward"), ModuleKey(10, "attention")
COSTS = {ATTENTION: 99, FEED_FORWARD: 49, LATER: 99}
SCORES = ScoreFile(
    {
        name: {key: draw.random((2, 3), dtype=np.float32) for key in COSTS}
        for name, draw in (("sensitivity", np.random.default_rng(0)), ("mask", np.random.default_rng(1)))
    },
    COSTS,
    {ATTENTION: Shape(1, 3), FEED_FORWARD: SINGLE, LATER: SINGLE},
    {"task": "sst2", "seed": 0, "epoch": 1},
    {"macs": UnitCosts({key: 10 * cost for key, cost in COSTS.items()}, 10**12), "size": UnitCosts(COSTS, 5000)},
)
MASK = Mask(
    {key: values > 0.5 for key, values in SCORES.scores["mask"].items()}, COSTS, {"budget": 0.4, "method": "mask"}
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_at_the_end(tmp_path):
    path = tmp_path / "new folder" / "result.txt"
    for content in ("first", "second"):
        with replacing(path) as beside:
            beside.write_text(content)
            assert path.exists() == (content == "second")
        assert path.read_text() == content
    assert names(path.parent) == ["result.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "model"
    for content in ("first", "second"):
        with replacing(path) as beside:
            beside.mkdir()
            (beside / content).touch()
        assert names(path) == [content]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_exception_the_old_one_is_whole_and_nothing_lies_beside(tmp_path, kind, error):
    path = tmp_path / "result"

    def write(place, content):
        if kind == "folder":
            place.mkdir()
            place = place / "part"
        place.write_text(content)

    write(path, "old")
    with pytest.raises(error), replacing(path) as beside:  # noqa: PT012
        write(beside, "half")
        raise error
    assert (path / "part" if kind == "folder" else path).read_text() == "old"
    assert names(tmp_path) == ["result"]


def test_what_an_earlier_kill_left_beside_is_removed(tmp_path):
    left = tmp_path / ".result.part"
    left.mkdir()
    (left / "half").touch()
    with replacing(tmp_path / "result") as beside:
        beside.write_text("whole")
    assert names(tmp_path) == ["result"]


def test_json_comes_back_and_equal_content_gives_equal_bytes(tmp_path):
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    write_json(one, {"b": [1, 2.5, None], "a": {"y": "ü", "x": True}})
    write_json(other, {"a": {"x": True, "y": "ü"}, "b": [1, 2.5, None]})
    assert read_json(one) == {"a": {"x": True, "y": "ü"}, "b": [1, 2.5, None]}
    assert one.read_bytes() == other.read_bytes()


def test_json_refuses_what_is_no_number(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "result.json", {"loss": float("nan")})
    assert names(tmp_path) == []


def test_scores_come_back(tmp_path):
    write_scores(tmp_path / "scores", SCORES)
    found = read_scores(tmp_path / "scores")
    assert found.costs == COSTS
    assert found.grains == SCORES.grains
    assert found.units == SCORES.units
    assert found.about == SCORES.about
    assert found.scores.keys() == SCORES.scores.keys()
    for name, modules in SCORES.scores.items():
        assert list(found.scores[name]) == sorted(modules)
        for key, values in modules.items():
            assert found.scores[name][key].dtype == np.float32
            assert np.array_equal(found.of(name)[key], values)
    with pytest.raises(ArtifactError, match="no scores of 'fisher', only of mask, sensitivity"):
        found.of("fisher")
    assert found.unit("macs").dense == 10**12
    with pytest.raises(ArtifactError, match="no costs in 'watts', only in params, macs, size"):
        found.unit("watts")


def test_a_score_file_without_what_a_budget_needs_is_named(tmp_path):
    from safetensors.numpy import save_file

    metadata = {"costs": {}, "grains": {}, "about": {}}
    save_file({"mask/0.attention": np.ones((1, 2))}, tmp_path / "old", metadata={"sensibert": json.dumps(metadata)})
    with pytest.raises(ArtifactError, match=r"old is damaged or of another kind \('units'\); delete it"):
        read_scores(tmp_path / "old")


def test_a_mask_comes_back(tmp_path):
    write_mask(tmp_path / "mask", MASK)
    found = read_mask(tmp_path / "mask")
    assert (found.costs, found.about, found.kept_cost) == (COSTS, MASK.about, MASK.kept_cost)
    assert list(found.keep) == sorted(MASK.keep)
    for key, keep in MASK.keep.items():
        assert found.keep[key].dtype == bool
        assert np.array_equal(found.keep[key], keep)


def backwards(mapping):
    return dict(reversed(mapping.items()))


def test_equal_content_gives_equal_bytes(tmp_path):
    scores = ScoreFile(
        {name: backwards(modules) for name, modules in backwards(SCORES.scores).items()},
        backwards(COSTS),
        backwards(SCORES.grains),
        backwards(SCORES.about),
        backwards(SCORES.units),
    )
    mask = Mask(backwards(MASK.keep), backwards(COSTS), backwards(MASK.about))
    for number in range(10):  # an order that is drawn by chance would show
        write_scores(tmp_path / f"scores-{number}", scores if number % 2 else SCORES)
        write_mask(tmp_path / f"mask-{number}", mask if number % 2 else MASK)
    for kind in ("scores", "mask"):
        assert len({path.read_bytes() for path in tmp_path.glob(f"{kind}-*")}) == 1


READERS = {"json": read_json, "scores": read_scores, "mask": read_mask}


@pytest.mark.parametrize("kind", READERS)
def test_a_missing_file_is_named(tmp_path, kind):
    with pytest.raises(ArtifactError, match=r"result\.bin is missing; run `dvc repro` to make it"):
        READERS[kind](tmp_path / "result.bin")


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_a_damaged_file_is_named(tmp_path, kind, damage):
    path = tmp_path / "result.bin"
    {
        "json": lambda: write_json(path, {"a": [1, 2]}),
        "scores": lambda: write_scores(path, SCORES),
        "mask": lambda: write_mask(path, MASK),
    }[kind]()
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "noise": b"\xff" * len(content)}[damage])
    with pytest.raises(ArtifactError, match=r"result\.bin is damaged .*; delete it and run `dvc repro`"):
        READERS[kind](path)


def test_a_file_of_another_kind_is_named(tmp_path):
    from safetensors.numpy import save_file

    write_mask(tmp_path / "mask", MASK)
    write_scores(tmp_path / "scores", SCORES)
    save_file({"classifier.weight": np.ones(3)}, tmp_path / "model", metadata={"format": "pt"})
    for read, names_of_others in ((read_scores, ("mask", "model")), (read_mask, ("scores", "model"))):
        for name in names_of_others:
            with pytest.raises(ArtifactError, match=f"{name} is damaged or of another kind"):
                read(tmp_path / name)


def test_every_cell_has_files_of_its_own(tmp_path):
    paths = Paths("tiny", tmp_path)
    cells = [Cell("sst2", "full", 1.0, 0), Cell("sst2", "mask", 0.4, 0), Cell("sst2", "mask", 0.4, 1)]
    places = [
        place(cell)
        for place in (paths.mask, paths.model, paths.history, paths.metrics, paths.predictions, paths.checkpoints)
        for cell in cells
    ]
    assert len(set(places)) == len(places)
    assert all(place.is_relative_to(tmp_path / "data" / "tiny") for place in places)
    assert paths.mask(cells[1]).relative_to(tmp_path).as_posix() == "data/tiny/masks/sst2-mask-0.4-0.safetensors"

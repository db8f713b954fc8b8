"""Score files: what comes back, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from sensibert.config.methods import METHODS, names
from sensibert.errors import ArtifactError
from sensibert.io import read_arrays, write_arrays
from sensibert.models.mask import SINGLE, MadeFor, Mask, ModuleKey, Shape, UnitCosts, read_mask, write_mask
from sensibert.scoring.files import ScoreFile, ScoreOrigin, read_scores, write_scores

ATTENTION, FEED_FORWARD, LATER = ModuleKey(0, "attention"), ModuleKey(0, "feed_forward"), ModuleKey(10, "attention")
COSTS = {ATTENTION: 99, FEED_FORWARD: 49, LATER: 99}
SCORES = ScoreFile(
    {
        name: {key: draw.random((2, 3), dtype=np.float32) for key in COSTS}
        for name, draw in (("sensitivity", np.random.default_rng(0)), ("mask", np.random.default_rng(1)))
    },
    COSTS,
    {ATTENTION: Shape(1, 3), FEED_FORWARD: SINGLE, LATER: SINGLE},
    {"macs": UnitCosts({key: 10 * cost for key, cost in COSTS.items()}, 10**12), "size": UnitCosts(COSTS, 5000)},
    ScoreOrigin(MadeFor("tiny-bert", "0a", "sst2", ["bad", "good"]), seed=3, tokens=27, epoch=2, passes=0.5),
)


@pytest.fixture
def tmp_path(tmp_path):
    """Where the stages of an experiment write: there, messages say how to make a file again."""
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_scores_come_back(tmp_path):
    write_scores(tmp_path / "scores", SCORES)
    found = read_scores(tmp_path / "scores")
    assert found.costs == COSTS
    assert found.grains == SCORES.grains
    assert all(type(grain) is Shape for grain in found.grains.values())
    assert found.units == SCORES.units
    assert found.origin == SCORES.origin
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


@pytest.mark.parametrize("passes", [3, 0.25])
def test_only_criteria_that_read_data_took_passes(passes):
    scores = replace(SCORES, origin=replace(SCORES.origin, passes=passes))
    took = {name: scores.passes_of(name) for name in names("criterion")}
    assert took == {name: passes if METHODS[name].reads_data else 0 for name in took}
    expected = {"sensitivity": passes, "mask": passes, "fisher": passes, "magnitude": 0, "random": 0}
    assert {name: took[name] for name in expected} == expected


def backwards(mapping):
    return dict(reversed(mapping.items()))


def test_equal_scores_give_equal_bytes(tmp_path):
    turned = ScoreFile(
        {name: backwards(modules) for name, modules in backwards(SCORES.scores).items()},
        backwards(COSTS),
        backwards(SCORES.grains),
        backwards(SCORES.units),
        SCORES.origin,
    )
    for number in range(10):  # an order that is drawn by chance would show
        write_scores(tmp_path / f"scores-{number}", turned if number % 2 else SCORES)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"scores is missing; run `dvc repro` to make it"):
        read_scores(tmp_path / "scores")


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "scores"
    write_scores(path, SCORES)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"scores is damaged .*; delete it and run `dvc repro`"):
        read_scores(path)


@pytest.mark.parametrize("entry", ["costs", "grains", "units", "about"])
def test_a_score_file_without_what_a_budget_needs_is_named(tmp_path, entry):
    path = tmp_path / "old"
    write_scores(path, SCORES)
    arrays, metadata = read_arrays(path)
    assert metadata.pop(entry)
    write_arrays(path, arrays, metadata)
    with pytest.raises(ArtifactError, match=rf"old is damaged or of another kind \('{entry}'\); delete it"):
        read_scores(path)


def test_scores_of_an_unknown_origin_are_refused(tmp_path):
    path = tmp_path / "scores"
    write_scores(path, SCORES)
    arrays, metadata = read_arrays(path)
    del metadata["about"]["passes"]
    write_arrays(path, arrays, metadata)
    with pytest.raises(ArtifactError, match=r"scores is damaged .* \(passes: Field required\); delete it"):
        read_scores(path)


def test_a_file_of_another_kind_is_named(tmp_path):
    from safetensors.numpy import save_file

    write_mask(tmp_path / "mask", Mask({key: values > 0.5 for key, values in SCORES.of("mask").items()}, COSTS))
    write_scores(tmp_path / "scores", SCORES)
    save_file({"classifier.weight": np.ones(3)}, tmp_path / "model", metadata={"format": "pt"})
    for read, names_of_others in ((read_scores, ("mask", "model")), (read_mask, ("scores", "model"))):
        for name in names_of_others:
            with pytest.raises(ArtifactError, match=f"{name} is damaged or of another kind"):
                read(tmp_path / name)

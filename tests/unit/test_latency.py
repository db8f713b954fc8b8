import numpy as np
import pytest

from sensibert.deploy.latency import _growing, _points, measure_table
from sensibert.errors import BackboneError
from sensibert.models.anatomy import costs_of, grains_of, prunable_modules
from sensibert.models.mask import MadeFor
from sensibert.models.slim import slim
from sensibert.scoring.budgets import LatencyTable, mask_for
from sensibert.scoring.files import ScoreFile, ScoreOrigin
from sensibert.scoring.ranking import make_mask

TEXT_MODELS = ["bert", "deberta-v2", "distilbert", "gpt2", "modernbert", "mpnet"]


def scores_of(model):
    generator = np.random.default_rng(0)
    return {key: generator.random(module.shape) for key, module in prunable_modules(model).items()}


@pytest.mark.parametrize("tiny_model", TEXT_MODELS, indirect=True)
def test_a_model_is_measured(tiny_model):
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    found = measure_table(tiny_model, batch_size=2, tokens=6, repeats=1)
    assert (found.batch_size, found.tokens, found.layers) == (2, 6, 2)
    assert found.least > 0
    assert LatencyTable.from_dict(found.to_dict()) == found
    for key, module in prunable_modules(tiny_model).items():
        times = found.modules[key.group]
        assert times.largest == module.shape
        assert (times.heads[0], times.sizes[0]) == module.grain
        seconds = np.array(times.seconds)
        assert seconds[0, 0] == 0
        assert (np.diff(seconds, axis=0) >= 0).all()
        assert (np.diff(seconds, axis=1) >= 0).all()
    assert {name: value.shape for name, value in tiny_model.state_dict().items()} == {
        name: value.shape for name, value in before.items()
    }
    origin = ScoreOrigin(MadeFor("tiny"), 0, 6, 0, 0)
    scores = ScoreFile({"random": scores_of(tiny_model)}, costs_of(tiny_model), grains_of(tiny_model), {}, origin)
    mask = mask_for(scores, "random", 1.0, "latency", latency=found)
    assert mask.kept_fraction == 1


@pytest.mark.parametrize("tiny_model", ["bert"], indirect=True)
def test_the_measured_sizes_are_rounded_as_those_of_the_masks(tiny_model):
    modules = measure_table(tiny_model, batch_size=1, tokens=4, round_to=4, repeats=1).modules
    assert modules["attention"].heads == (1, 3)
    assert modules["attention"].sizes == (4, 8)
    assert modules["feed_forward"].sizes == (4, 12, 20)


@pytest.mark.parametrize("tiny_model", ["bert"], indirect=True)
def test_layers_of_different_shapes_are_refused(tiny_model):
    uneven = slim(tiny_model, make_mask(scores_of(tiny_model), costs_of(tiny_model), 0.5))
    with pytest.raises(
        BackboneError, match=r"the layers of this model differ in the shape of .*: time the dense model"
    ):
        measure_table(uneven, batch_size=1, tokens=4, repeats=1)


def test_the_measured_sizes_span_all_shapes():
    assert _points(1, 12) == [1, 5, 9, 12]
    assert _points(1, 1536) == [1, 513, 1025, 1536]
    assert _points(8, 1536) == [8, 520, 1032, 1536]
    assert _points(12, 12) == [12]
    assert _points(1, 1) == [1]


def test_noise_makes_no_larger_shape_faster():
    clean = np.add.outer(np.arange(4.0), 2 * np.arange(5.0)) + 7
    assert np.array_equal(_growing(clean), clean - 7)
    noisy = clean + np.random.default_rng(0).normal(0, 2, clean.shape)
    found = _growing(noisy)
    assert found[0, 0] == 0
    assert (np.diff(found, axis=0) >= 0).all()
    assert (np.diff(found, axis=1) >= 0).all()

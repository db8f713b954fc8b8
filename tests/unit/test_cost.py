import numpy as np
import pytest
import torch

from sensibert.models.anatomy import costs_of, grains_of, layers_of, prunable_modules
from sensibert.models.cost import (
    count,
    dense_skeleton,
    macs,
    macs_costs,
    measure_size,
    prunable_parameters,
    size_costs,
    unit_costs,
    weights_bytes,
)
from sensibert.models.slim import slim
from sensibert.scoring.ranking import make_mask


@pytest.fixture
def mask(tiny_model):
    generator = np.random.default_rng(0)
    scores = {key: generator.random(module.shape) for key, module in prunable_modules(tiny_model).items()}
    return make_mask(scores, costs_of(tiny_model), 0.45, grains=grains_of(tiny_model))


def analytic_macs(model, tokens):
    """Matrix products of a BERT classifier: the projections, the two of attention, pooler and classifier."""
    hidden = model.config.hidden_size
    total = hidden * hidden + hidden * model.config.num_labels
    for key, module in prunable_modules(model).items():
        matrices = 4 if key.group == "attention" else 2
        total += matrices * tokens * hidden * module.shape.dimensions
        total += 2 * tokens * tokens * module.shape.dimensions if key.group == "attention" else 0
    return total


@pytest.mark.parametrize(("tokens", "training"), [(1, False), (7, True), (32, False), (32, True)])
@pytest.mark.parametrize("tiny_model", ["bert"], indirect=True)
def test_the_macs_are_those_of_the_formula(tiny_model, mask, tokens, training):
    for model in (tiny_model, slim(tiny_model, mask)):
        model.train(training)
        assert macs(model, tokens) == analytic_macs(model, tokens)


def test_the_dense_model_of_a_slim_one_is_known_without_its_weights(tiny_model, mask):
    small = slim(tiny_model, mask)
    skeleton = dense_skeleton(small)
    assert {parameter.device.type for parameter in skeleton.parameters()} == {"meta"}
    assert count(skeleton) == count(tiny_model) > count(small)
    assert prunable_parameters(skeleton) == prunable_parameters(tiny_model) == mask.dense_cost


def test_the_kept_fraction_is_the_mask_s(tiny_model, mask, tmp_path):
    small = slim(tiny_model, mask)
    small.save_pretrained(tmp_path)
    size = measure_size(small, tmp_path, tokens=9)
    assert size.prunable_kept == mask.kept_fraction
    assert size.prunable_parameters == mask.kept_cost
    assert size.total_parameters == sum(parameter.numel() for parameter in small.parameters())
    assert size.encoder_parameters == count(layers_of(small))
    assert (size.tokens, size.macs) == (9, macs(small, 9))
    assert size.model_bytes == (tmp_path / "model.safetensors").stat().st_size >= 4 * size.total_parameters
    dense = measure_size(tiny_model, tmp_path, tokens=4)
    assert (dense.prunable_kept, dense.prunable_parameters) == (1, mask.dense_cost)


def test_shared_parameters_count_once():
    one = torch.nn.Linear(3, 3)
    two = torch.nn.Linear(3, 3)
    two.weight = one.weight
    assert count(torch.nn.ModuleList([one, two])) == 9 + 3 + 3


TOKENS = 11


def test_the_macs_that_a_mask_saves_are_exactly_the_predicted_ones(tiny_model, mask):
    unit = macs_costs(tiny_model, TOKENS)
    assert unit.dense == macs(tiny_model, TOKENS)
    assert unit.slim(mask.keep) == macs(slim(tiny_model, mask), TOKENS) < unit.dense


@pytest.mark.parametrize("tiny_model", ["bert", "distilbert", "electra", "gpt2", "modernbert", "mpnet"], indirect=True)
def test_the_macs_of_a_dimension_are_those_of_the_formula(tiny_model):
    hidden = tiny_model.config.hidden_size
    matrices = 3 if tiny_model.config.model_type == "modernbert" else 2
    expected = {"attention": TOKENS * 4 * hidden + 2 * TOKENS**2, "feed_forward": TOKENS * matrices * hidden}
    assert macs_costs(tiny_model, TOKENS).per_dimension == {
        key: expected[key.group] for key in prunable_modules(tiny_model)
    }


def assert_no_larger_than_predicted(model, mask, folder):
    unit = size_costs(model)
    for name, saved in (("dense", model), ("slim", slim(model, mask))):
        saved.save_pretrained(folder / name)
    assert unit.dense == weights_bytes(folder / "dense")
    slack = unit.slim(mask.keep) - weights_bytes(folder / "slim")
    assert 0 <= slack < 512  # fewer digits in the header
    nothing = {key: np.zeros_like(keep) for key, keep in mask.keep.items()}
    assert unit.dense - unit.slim(nothing) == model.dtype.itemsize * mask.dense_cost


def test_the_file_is_never_larger_than_predicted(tiny_model, mask, tmp_path):
    assert tiny_model.dtype == torch.float32
    assert_no_larger_than_predicted(tiny_model, mask, tmp_path)


@pytest.mark.parametrize("tiny_model", ["bert", "gpt2"], indirect=True)
def test_half_as_many_bits_give_half_the_file(tiny_model, mask, tmp_path):
    assert_no_larger_than_predicted(tiny_model.to(torch.bfloat16), mask, tmp_path)


@pytest.mark.parametrize("tiny_model", ["bert"], indirect=True)
def test_a_score_file_holds_the_costs_in_every_counted_unit(tiny_model):
    assert unit_costs(tiny_model, TOKENS) == {"macs": macs_costs(tiny_model, TOKENS), "size": size_costs(tiny_model)}

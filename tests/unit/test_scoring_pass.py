"""The scoring pass: what its gradients are, what the criteria see of it, and what its files say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sensibert.config.methods import METHODS, names
from sensibert.config.settings import ScoringParams
from sensibert.data.encoding import draw, mean_length
from sensibert.data.tasks import TASKS
from sensibert.models.anatomy import costs_of, grains_of, prunable_modules
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.models.cost import unit_costs
from sensibert.models.gates import gated
from sensibert.models.mask import MadeFor
from sensibert.scoring.files import ScoreOrigin
from sensibert.scoring.scoring_pass import mask_gradients, score

CRITERIA = names("criterion")
SETTINGS = ScoringParams(epochs=1, batch_size=8, learning_rate=1e-3, mask_learning_rate=1e-2, l1=1e-5)
TOKENIZER = load_tokenizer("tiny-bert")
EXAMPLES = [
    {"input_ids": [2, *range(10, 12 + row % 5), 10 + row % 3, 3], "labels": int(row % 3 == 0)} for row in range(40)
]


def passes(epochs=1, seed=0, settings=SETTINGS, examples=EXAMPLES, **options):
    """The score files after each epoch."""
    model, settings = load_backbone("tiny-bert", TASKS["sst2"], seed), settings.model_copy(update={"epochs": epochs})
    return list(score(model, examples, TOKENIZER, settings, seed=seed, precision="fp32", **options))


@pytest.fixture(scope="module")
def one_epoch():
    return passes()[0].scores


@pytest.fixture(scope="module")
def two_epochs():
    return [file.scores for file in passes(epochs=2)]


@pytest.fixture(scope="module")
def shapes():
    model = load_backbone("tiny-bert", TASKS["sst2"], 0)
    return {key: module.shape for key, module in prunable_modules(model).items()}


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def ones(model):
    return {key: torch.ones(module.shape.dimensions) for key, module in prunable_modules(model).items()}


def other_masks(model):
    torch.manual_seed(2)
    return {key: 0.5 + torch.rand(mask.shape) for key, mask in ones(model).items()}


@pytest.mark.parametrize("name", CRITERIA)
def test_scores_are_finite_and_not_negative(two_epochs, shapes, name):
    for scores in (epoch[name] for epoch in two_epochs):
        assert {key: values.shape for key, values in scores.items()} == shapes
        for values in scores.values():
            assert values.dtype == np.float32
            assert np.isfinite(values).all()
            assert (values >= 0).all()
            assert np.unique(values).size > 1


def test_the_first_epoch_does_not_depend_on_how_many_follow(one_epoch, two_epochs):
    assert one_epoch.keys() == two_epochs[0].keys() == set(CRITERIA)
    assert all(equal(one_epoch[name], two_epochs[0][name]) for name in CRITERIA)


def test_only_what_watches_the_pass_changes_with_it(two_epochs):
    unchanged = {name for name in CRITERIA if equal(*(epoch[name] for epoch in two_epochs))}
    assert unchanged == {name for name in CRITERIA if not METHODS[name].reads_data}
    assert unchanged >= {"magnitude", "random"}


def test_another_seed_gives_other_scores(one_epoch):
    other = passes(seed=1)[0].scores
    assert not any(equal(other[name], one_epoch[name]) for name in CRITERIA if name != "magnitude")


def test_the_layers_get_different_random_scores(two_epochs):
    attention = [values for key, values in two_epochs[0]["random"].items() if key.group == "attention"]
    assert not np.array_equal(*attention)


def test_the_gradients_of_each_example_are_those_of_the_example_alone(tiny_model, batch, examples):
    masks = other_masks(tiny_model)
    found = mask_gradients(tiny_model, batch, masks)
    for row, alone in enumerate(examples):
        leaves = {key: mask.clone().requires_grad_() for key, mask in masks.items()}
        with gated(tiny_model, leaves):
            tiny_model(**alone).loss.backward()
        for key, leaf in leaves.items():
            torch.testing.assert_close(found[key][row], leaf.grad, atol=1e-5, rtol=1e-4)


def test_the_gradients_of_the_weights_are_those_of_the_batch(tiny_model, batch):
    tiny_model(**batch).loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in tiny_model.named_parameters()}
    tiny_model.zero_grad()
    mask_gradients(tiny_model, batch, ones(tiny_model))
    for name, parameter in tiny_model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-6, rtol=1e-4)


def test_the_masks_train_and_l1_pulls_them_down():
    means = []
    for l1 in (0.0, 1.0):
        settings = SETTINGS.model_copy(update={"l1": l1})
        masks = passes(epochs=3, settings=settings)[-1].scores["mask"]
        assert all((values != 1).all() for values in masks.values())
        means.append(np.mean([values.mean() for values in masks.values()]))
    assert means[1] < 0.9
    assert means[1] < means[0] - 0.05


def test_masks_that_may_not_move_stay_at_one():
    settings = SETTINGS.model_copy(update={"mask_learning_rate": 0.0})
    assert all((values == 1).all() for values in passes(settings=settings)[0].scores["mask"].values())


def test_the_first_part_of_the_pass_can_be_left_out(one_epoch):
    late = passes(settings=SETTINGS.model_copy(update={"skip_fraction": 0.8}))[0].scores
    whole = one_epoch
    for name in ("sensitivity", "fisher"):
        assert all((late[name][key] < whole[name][key]).all() for key in whole[name])
    assert equal(late["mask"], whole["mask"])


def test_magnitude_is_that_of_the_weights_before_the_pass(two_epochs):
    model = load_backbone("tiny-bert", TASKS["sst2"], 0)
    modules = prunable_modules(model)
    expected = {key: METHODS["magnitude"].implementation(module, 0).scores() for key, module in modules.items()}
    assert equal(two_epochs[-1]["magnitude"], expected)


def test_the_scores_of_a_regression_are_finite():
    examples = [{**example, "labels": 0.1 * row} for row, example in enumerate(EXAMPLES)]
    model = load_backbone("tiny-bert", TASKS["stsb"], 0)
    (found,) = score(model, examples, TOKENIZER, SETTINGS, seed=0, precision="fp32")
    assert all(np.isfinite(values).all() for modules in found.scores.values() for values in modules.values())


def test_the_files_hold_what_a_budget_needs_and_where_the_scores_come_from():
    first, second = passes(epochs=2, seed=3, made_for=MadeFor("tiny-bert"))
    tokens = mean_length(EXAMPLES)
    assert first.origin == ScoreOrigin(MadeFor("tiny-bert"), 3, tokens, epoch=1, passes=1)
    assert second.origin == replace(first.origin, epoch=2, passes=2)
    model = load_backbone("tiny-bert", TASKS["sst2"], 3)
    for file in (first, second):
        assert file.costs == costs_of(model)
        assert file.grains == grains_of(model)
        assert file.units == unit_costs(model, tokens)


def test_a_sample_is_scored_by_its_seed():
    settings = SETTINGS.model_copy(update={"max_samples": 10})
    first, same, other = (next(sampled(settings, seed)) for seed in (0, 0, 1))
    assert first.origin.passes == 10 / len(EXAMPLES)
    assert equal(first.scores["sensitivity"], same.scores["sensitivity"])
    assert not equal(first.scores["sensitivity"], other.scores["sensitivity"])
    (alone,) = passes(examples=draw(EXAMPLES, 10, 0))
    assert equal(first.scores["sensitivity"], alone.scores["sensitivity"])
    assert first.units == other.units == unit_costs(load_backbone("tiny-bert", TASKS["sst2"], 0), mean_length(EXAMPLES))
    assert [file.origin.passes for file in passes(epochs=2, settings=settings)] == [0.25, 0.5]


def sampled(settings, seed):
    """The scores of one and the same model, so that the seed draws the sample alone."""
    model = load_backbone("tiny-bert", TASKS["sst2"], 0)
    return score(model, EXAMPLES, TOKENIZER, settings, seed=seed, precision="fp32")


def test_without_a_criterion_that_reads_data_there_is_no_pass():
    model = load_backbone("tiny-bert", TASKS["sst2"], 0)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    (found,) = score(model, EXAMPLES, TOKENIZER, SETTINGS, seed=0, precision="fp32", criteria=["magnitude", "random"])
    assert (found.origin.epoch, found.origin.passes) == (0, 0)
    assert found.scores.keys() == {"magnitude", "random"}
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_fewer_criteria_score_as_all_of_them_do(one_epoch):
    found = passes(criteria=["fisher", "random"])[0]
    assert found.origin.passes == 1
    assert found.scores.keys() == {"fisher", "random"}
    assert all(equal(found.scores[name], one_epoch[name]) for name in found.scores)

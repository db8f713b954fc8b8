import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset

from sensibert.artifacts import Paths
from sensibert.cost import unit_costs
from sensibert.encoding import encode, mean_length
from sensibert.importance import CRITERIA, criterion_class
from sensibert.importance.scoring import mask_gradients, score, score_task
from sensibert.masks import make_mask
from sensibert.models.anatomy import costs_of, prunable_modules
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.models.gates import gated
from sensibert.models.slim import slim
from sensibert.params import ScoringParams, load_params
from sensibert.tasks import TASKS
from sensibert.tasks.prepare import prepare, save_task

ROOT = Path(__file__).parents[2]
SETTINGS = ScoringParams(epochs=1, batch_size=8, learning_rate=1e-3, mask_learning_rate=1e-2, l1=1e-5)
TOKENIZER = load_tokenizer("tiny-bert")
EXAMPLES = [
    {"input_ids": [2, *range(10, 12 + row % 5), 10 + row % 3, 3], "labels": int(row % 3 == 0)} for row in range(40)
]


def passes(epochs=1, seed=0, settings=SETTINGS, examples=EXAMPLES):
    """The scores after each epoch."""
    model = load_backbone("tiny-bert", TASKS["sst2"], seed)
    return list(score(model, examples, TOKENIZER, settings.model_copy(update={"epochs": epochs}), seed, "fp32"))


@pytest.fixture(scope="module")
def two_epochs():
    return passes(epochs=2)


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


@pytest.mark.parametrize("name", CRITERIA)
def test_the_first_epoch_does_not_depend_on_how_many_follow(two_epochs, name):
    assert equal(passes(epochs=1)[0][name], two_epochs[0][name])


@pytest.mark.parametrize("name", CRITERIA)
def test_only_what_watches_the_pass_changes_with_it(two_epochs, name):
    assert equal(*(epoch[name] for epoch in two_epochs)) == (name in {"magnitude", "random"})


@pytest.mark.parametrize("name", sorted(CRITERIA.keys() - {"magnitude"}))
def test_another_seed_gives_other_scores(two_epochs, name):
    assert not equal(passes(seed=1)[0][name], two_epochs[0][name])


def test_the_layers_get_different_random_scores(two_epochs):
    attention = [values for key, values in two_epochs[0]["random"].items() if key.group == "attention"]
    assert not np.array_equal(*attention)


@pytest.mark.parametrize("name", CRITERIA)
def test_the_scores_can_be_cut(tiny_model, name):
    modules = prunable_modules(tiny_model)
    scores = {key: criterion_class(name)(module, 0).scores() for key, module in modules.items()}
    mask = make_mask(scores, costs_of(tiny_model), 0.5)
    assert slim(tiny_model, mask).num_parameters() == tiny_model.num_parameters() - mask.dense_cost + mask.kept_cost


@pytest.mark.parametrize("masks", [ones, other_masks])
def test_the_gradients_of_each_example_are_those_of_the_example_alone(tiny_model, batch, examples, masks):
    masks = masks(tiny_model)
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


def test_fisher_is_the_sum_of_the_squared_gradients_of_single_examples(tiny_model, batch):
    masks = ones(tiny_model)
    criteria = {key: criterion_class("fisher")(module, 0) for key, module in prunable_modules(tiny_model).items()}
    expected = {key: torch.zeros(mask.shape) for key, mask in masks.items()}
    for _ in range(2):
        for key, gradients in mask_gradients(tiny_model, batch, masks).items():
            criteria[key].observe(masks[key], gradients)
        for row in range(4):
            alone = {name: values[row : row + 1] for name, values in batch.items()}
            leaves = {key: mask.clone().requires_grad_() for key, mask in masks.items()}
            with gated(tiny_model, leaves):
                tiny_model(**alone).loss.backward()
            for key, leaf in leaves.items():
                expected[key] += leaf.grad**2
    for key, criterion in criteria.items():
        assert criterion.scores().reshape(-1) == pytest.approx(expected[key].numpy(), rel=1e-3, abs=1e-7)


def test_sensitivity_is_the_mask_times_its_gradient(tiny_model, batch):
    masks = other_masks(tiny_model)
    leaves = {key: mask.clone().requires_grad_() for key, mask in masks.items()}
    with gated(tiny_model, leaves):
        tiny_model(**batch).loss.backward()
    gradients = mask_gradients(tiny_model, batch, masks)
    for key, module in prunable_modules(tiny_model).items():
        criterion = criterion_class("sensitivity")(module, 0)
        criterion.observe(masks[key], gradients[key])
        expected = (masks[key] * leaves[key].grad).abs().numpy()
        assert criterion.scores().reshape(-1) == pytest.approx(expected, rel=1e-3, abs=1e-6)
        criterion.observe(masks[key], -gradients[key])
        assert criterion.scores().reshape(-1) == pytest.approx(2 * expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("tiny_model", ["bert"], indirect=True)
def test_magnitude_is_the_sum_of_the_weights_of_a_dimension(tiny_model):
    for key, module in prunable_modules(tiny_model).items():
        layer = tiny_model.bert.encoder.layer[key.layer]
        if key.group == "attention":
            attention = layer.attention
            rows, column = (attention.self.query, attention.self.key, attention.self.value), attention.output.dense
        else:
            rows, column = (layer.intermediate.dense,), layer.output.dense
        values = criterion_class("magnitude")(module, 0).scores().reshape(-1)
        for dimension in range(module.shape.dimensions):
            parts = [torch.cat([row.weight[dimension], row.bias[dimension, None]]) for row in rows]
            held = torch.cat([*parts, column.weight[:, dimension]])
            assert held.numel() == module.cost
            assert values[dimension] == pytest.approx(held.abs().sum().item(), rel=1e-5)


def test_the_masks_train_and_l1_pulls_them_down():
    means = []
    for l1 in (0.0, 1.0):
        settings = SETTINGS.model_copy(update={"l1": l1})
        masks = passes(epochs=3, settings=settings)[-1]["mask"]
        assert all((values != 1).all() for values in masks.values())
        means.append(np.mean([values.mean() for values in masks.values()]))
    assert means[1] < 0.9
    assert means[1] < means[0] - 0.05


def test_masks_that_may_not_move_stay_at_one():
    settings = SETTINGS.model_copy(update={"mask_learning_rate": 0.0})
    assert all((values == 1).all() for values in passes(settings=settings)[0]["mask"].values())


def test_the_first_part_of_the_pass_can_be_left_out():
    late = passes(settings=SETTINGS.model_copy(update={"skip_fraction": 0.8}))[0]
    whole = passes()[0]
    for name in ("sensitivity", "fisher"):
        assert all((late[name][key] < whole[name][key]).all() for key in whole[name])
    assert equal(late["mask"], whole["mask"])


def test_magnitude_is_that_of_the_weights_before_the_pass(two_epochs):
    model = load_backbone("tiny-bert", TASKS["sst2"], 0)
    modules = prunable_modules(model)
    expected = {key: criterion_class("magnitude")(module, 0).scores() for key, module in modules.items()}
    assert equal(two_epochs[-1]["magnitude"], expected)


def test_the_scores_of_a_regression_are_finite():
    examples = [{**example, "labels": 0.1 * row} for row, example in enumerate(EXAMPLES)]
    model = load_backbone("tiny-bert", TASKS["stsb"], 0)
    (scores,) = score(model, examples, TOKENIZER, SETTINGS, 0, "fp32")
    assert all(np.isfinite(values).all() for modules in scores.values() for values in modules.values())


def test_a_task_is_scored_with_what_a_budget_needs(glue_directory):
    params = load_params(ROOT / "profiles" / "tiny.yaml")
    frame = pd.read_parquet(glue_directory / "sst2" / "train.parquet").rename(columns={"sentence": "text"})
    train, settings = Dataset.from_pandas(frame), params.scoring.model_copy(update={"epochs": 2})
    first, second = score_task(train, TASKS["sst2"], params.model, settings, seed=3)
    tokens = mean_length(encode(train, TOKENIZER, params.model.max_length))
    about = {"backbone": "tiny-bert", "task": "sst2", "seed": 3, "tokens": tokens}
    assert first.about == about | {"epoch": 1, "passes": 1}
    assert second.about == about | {"epoch": 2, "passes": 2}
    assert first.scores.keys() == CRITERIA.keys()
    model = load_backbone("tiny-bert", TASKS["sst2"], 0)
    assert first.costs == costs_of(model)
    assert first.units == second.units == unit_costs(model, tokens)


def test_a_sample_is_scored_by_its_seed(glue_directory):
    params = load_params(ROOT / "profiles" / "tiny.yaml")
    frame = pd.read_parquet(glue_directory / "sst2" / "train.parquet").rename(columns={"sentence": "text"})
    train = Dataset.from_pandas(frame)
    settings = params.scoring.model_copy(update={"max_samples": 20})
    found = [next(score_task(train, TASKS["sst2"], params.model, settings, seed)) for seed in (0, 0, 1)]
    assert found[0].about["passes"] == 20 / len(train)
    assert equal(found[0].scores["sensitivity"], found[1].scores["sensitivity"])
    assert not equal(found[0].scores["sensitivity"], found[2].scores["sensitivity"])
    assert found[0].units == found[2].units  # the mean length is that of all texts


def test_the_scoring_stages_see_the_training_data_alone(glue_directory, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from pipeline.rescore import rescore
    from pipeline.score import score as score_stage

    params = load_params(ROOT / "profiles" / "tiny.yaml")
    data = params.data.model_copy(update={"directory": glue_directory})
    arguments = argparse.Namespace(task="sst2", seed=0)
    written = []
    for name in ("whole", "train only"):
        paths = Paths("tiny", tmp_path / name)
        dataset, audit = prepare(TASKS["sst2"], data)
        if name == "train only":
            for split in ("dev", "validation"):
                dataset[split] = dataset[split].select([])
        save_task(dataset, audit, paths.raw("sst2"))
        score_stage(arguments, params, paths)
        rescore(arguments, params, paths)
        written.append([paths.scores("sst2", 0).read_bytes(), paths.rescored("sst2", 0, 1).read_bytes()])
    assert written[0] == written[1]

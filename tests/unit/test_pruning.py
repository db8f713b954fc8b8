"""The pruning procedures: what they keep, what they train, and that they go on after a kill."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensibert.artifacts import ScoreFile, claim_scratch
from sensibert.cost import prunable_parameters, unit_costs
from sensibert.distillation import distilled_loss
from sensibert.encoding import mean_length
from sensibert.importance import criterion_class
from sensibert.masks import make_mask
from sensibert.models.anatomy import costs_of, grains_of, prunable_modules
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.models.slim import slim
from sensibert.params import (
    DistillationParams,
    IterativeParams,
    KwonParams,
    MaskingParams,
    ScoringParams,
    TrainingParams,
)
from sensibert.pruning import PRUNING_METHODS, iterative, prune
from sensibert.pruning.base import Context
from sensibert.pruning.iterative import compose, kept_fractions
from sensibert.tasks import TASKS

TOKENIZER = load_tokenizer("tiny-bert")
EXAMPLES = [{"input_ids": [2, 10 + row % 2, 20 + row % 5, 3], "labels": row % 2} for row in range(32)]
SETTINGS = {
    "kwon": KwonParams(samples=16, batch_size=8),
    "iterative_magnitude": IterativeParams(learning_rate=1e-3, rounds=2),
    "iterative_sensitivity": IterativeParams(learning_rate=1e-3, rounds=3),
    "distilled_magnitude": DistillationParams(learning_rate=1e-3),
    "distilled_sensitivity": DistillationParams(learning_rate=1e-3),
}


def new_model(seed=0):
    return load_backbone("tiny-bert", TASKS["sst2"], seed)


def scores_of(model):
    scores = {
        name: {key: criterion_class("magnitude")(m, 0).scores() for key, m in prunable_modules(model).items()}
        for name in ("magnitude", "sensitivity")
    }
    units = unit_costs(model, mean_length(EXAMPLES))
    return ScoreFile(scores, costs_of(model), grains_of(model), {}, units)


def context(method, scratch, budget=0.5, kind="params", **changes):
    given = {
        "examples": EXAMPLES,
        "tokenizer": TOKENIZER,
        "new_model": new_model,
        "tuned_model": lambda: new_model(seed=1),
        "scores": scores_of(new_model()),
        "masking": MaskingParams(budget_kind=kind),
        "scoring": ScoringParams(batch_size=8),
        "training": TrainingParams(epochs=1.5, batch_size=8, precision="fp32"),
        "settings": SETTINGS[method],
        "budget": budget,
        "seed": 0,
        "scratch": scratch,
    }
    return Context(**given | changes)


@pytest.mark.parametrize("kind", ["params", "macs"])
@pytest.mark.parametrize("method", PRUNING_METHODS)
def test_a_procedure_keeps_its_budget_and_gives_the_slim_model_of_its_mask(method, kind, tmp_path):
    found = prune(method, context(method, tmp_path, kind=kind))
    assert prunable_parameters(found.model) == found.mask.kept_cost
    dense = unit_costs(new_model(), mean_length(EXAMPLES))["macs"]
    costs = costs_of(new_model()) if kind == "params" else dense.per_dimension
    kept = sum(costs[key] * int(keep.sum()) for key, keep in found.mask.keep.items())
    assert 0.3 < kept / sum(costs[key] * keep.size for key, keep in found.mask.keep.items()) <= 0.5
    shapes = {key: module.shape for key, module in prunable_modules(found.model).items()}
    assert shapes == found.mask.shapes()
    epochs = sum(training.log[-1]["epoch"] for training in found.trainings)
    assert epochs == pytest.approx(0 if method == "kwon" else 1.5, abs=0.3)
    expected = {"kwon": 2.0, "iterative_magnitude": 0, "iterative_sensitivity": 3}
    assert found.extra_passes == expected.get(method, 1.5 + (method == "distilled_sensitivity"))
    assert [point["step"] for point in found.log] == sorted({point["step"] for point in found.log})


@pytest.mark.parametrize("method", PRUNING_METHODS)
def test_a_procedure_prunes_a_regression(method, tmp_path):
    def regressor():
        return load_backbone("tiny-bert", TASKS["stsb"], 0)

    rows = [example | {"labels": float(row % 4)} for row, example in enumerate(EXAMPLES)]
    changes = {"new_model": regressor, "tuned_model": regressor, "scores": scores_of(regressor()), "examples": rows}
    found = prune(method, context(method, tmp_path, **changes))
    assert found.model.config.num_labels == 1
    assert all(np.isfinite(point["loss"]) for point in found.log)
    assert 0.3 < found.mask.kept_fraction <= 0.5


@pytest.mark.parametrize("method", PRUNING_METHODS)
def test_a_procedure_leaves_the_claim_on_its_scratch_folder(method, tmp_path):
    """Without it, the stage would neither go on after a kill nor find the folder to remove."""
    claim_scratch(tmp_path / "scratch", "this run")
    prune(method, context(method, tmp_path / "scratch"))
    assert (tmp_path / "scratch" / "run.json").exists()


@pytest.mark.parametrize("method", ["iterative_magnitude", "iterative_sensitivity"])
def test_a_killed_iteration_goes_on_after_its_last_round(method, tmp_path, monkeypatch):
    whole = prune(method, context(method, tmp_path / "whole"))
    real, begun = iterative.fine_tune, []

    def fine_tune(*arguments, **options):
        begun.append(1)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(iterative, "fine_tune", fine_tune)
    with pytest.raises(KeyboardInterrupt):
        prune(method, context(method, tmp_path / "killed"))
    found = prune(method, context(method, tmp_path / "killed"))
    assert len(begun) == SETTINGS[method].rounds + 1
    assert all(np.array_equal(keep, whole.mask.keep[key]) for key, keep in found.mask.keep.items())
    assert all(torch.equal(value, whole.model.state_dict()[name]) for name, value in found.model.state_dict().items())
    assert found.trainings == whole.trainings


def test_no_two_rounds_see_the_data_in_the_same_order(tmp_path, monkeypatch):
    seeds, real = [], iterative.fine_tune

    def fine_tune(*arguments, seed, **options):
        seeds.append(seed)
        return real(*arguments, seed=seed, **options)

    monkeypatch.setattr(iterative, "fine_tune", fine_tune)
    for seed in (0, 1):
        prune("iterative_magnitude", context("iterative_magnitude", tmp_path / str(seed), seed=seed))
    assert len(seeds) == len(set(seeds)) >= 4


def test_later_rounds_score_the_model_at_hand(tmp_path):
    one_shot = make_mask(scores_of(new_model()).scores["magnitude"], costs_of(new_model()), 0.5)
    found = prune("iterative_magnitude", context("iterative_magnitude", tmp_path))
    assert any(not np.array_equal(keep, one_shot.keep[key]) for key, keep in found.mask.keep.items())


@given(st.floats(0.01, 1), st.integers(2, 6))
def test_each_round_keeps_the_same_share_and_the_last_the_budget(budget, rounds):
    fractions = kept_fractions(budget, rounds)
    assert len(fractions) == rounds
    assert fractions[-1] == budget
    np.testing.assert_allclose(np.diff(np.log([1.0, *fractions])), np.log(budget) / rounds, atol=1e-9)


def test_a_composed_mask_is_one_mask_after_the_other():
    model = new_model().eval()
    torch.manual_seed(0)

    def random_mask(of, budget):
        scores = {key: np.random.default_rng(1).random(m.shape) for key, m in prunable_modules(of).items()}
        return make_mask(scores, costs_of(of), budget)

    outer = random_mask(model, 0.6)
    once = slim(model, outer)
    inner = random_mask(once, 0.5)
    ids = torch.tensor([[2, 10, 20, 3]])
    twice, composed = slim(once, inner).eval(), slim(model, compose(outer, inner)).eval()
    torch.testing.assert_close(twice(ids).logits, composed(ids).logits)


def test_a_teacher_moves_the_student(tmp_path):
    trained = {}
    for weight in (0.0, 1.0):
        settings = DistillationParams(learning_rate=1e-3, weight=weight)
        made = context("distilled_magnitude", tmp_path / str(weight), settings=settings)
        trained[weight] = prune("distilled_magnitude", made).model
    ids = torch.tensor([[2, 10, 20, 3]])
    teacher = new_model(seed=1).eval()(ids).logits.softmax(-1)
    distances = {
        weight: (model.eval()(ids).logits.softmax(-1) - teacher).abs().sum() for weight, model in trained.items()
    }
    assert distances[1.0] < distances[0.0]


def test_the_distilled_loss_is_hintons():
    torch.manual_seed(0)
    logits, answers, loss = torch.randn(4, 3), torch.randn(4, 3), torch.tensor(0.7)
    soft = (answers / 2).softmax(-1)
    expected = 4 * (soft * (soft.log() - (logits / 2).log_softmax(-1))).sum(-1).mean()
    torch.testing.assert_close(distilled_loss(loss, logits, answers, 2.0, 1.0), expected)
    torch.testing.assert_close(distilled_loss(loss, logits, answers, 2.0, 0.25), 0.75 * loss + 0.25 * expected)
    torch.testing.assert_close(distilled_loss(loss, logits, logits, 2.0, 1.0), torch.tensor(0.0), atol=1e-6, rtol=0)
    numbers, wanted = torch.randn(4, 1), torch.randn(4, 1)
    torch.testing.assert_close(distilled_loss(loss, numbers, wanted, 2.0, 1.0), (numbers - wanted).square().mean())


def test_a_procedure_leaves_its_teacher_and_scores_alone(tmp_path):
    made = context("distilled_magnitude", tmp_path)
    before = copy.deepcopy(made.scores)
    prune("distilled_magnitude", made)
    assert all(
        np.array_equal(values, before.scores[name][key])
        for name, modules in made.scores.scores.items()
        for key, values in modules.items()
    )
    assert "teacher" not in EXAMPLES[0]

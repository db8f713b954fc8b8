"""The pruning procedures: what they keep, what they train, and that they go on after a kill."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from sensibert.config.method_settings import (
    DistillationParams,
    GradualParams,
    IterativeParams,
    KwonParams,
    MethodParams,
    OwnPassParams,
    RecipeParams,
    RepairParams,
)
from sensibert.config.methods import METHODS, names
from sensibert.config.settings import MaskingParams, ScoringParams, TrainingParams
from sensibert.data.encoding import mean_length
from sensibert.data.tasks import TASKS
from sensibert.errors import MaskError
from sensibert.io import claim_scratch
from sensibert.models.anatomy import costs_of, grains_of, prunable_modules, removable_of
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.models.cost import count, prunable_parameters, unit_costs
from sensibert.models.gates import fold
from sensibert.models.mask import MadeFor, shapes_of
from sensibert.models.slim import slim
from sensibert.pruning import gradual, iterative
from sensibert.pruning.base import PruningContext
from sensibert.scoring.files import ScoreFile, ScoreOrigin
from sensibert.scoring.ranking import make_mask
from sensibert.scoring.scoring_pass import score

TOKENIZER = load_tokenizer("tiny-bert")
EXAMPLES = [{"input_ids": [2, 10 + row % 2, 20 + row % 5, 3], "labels": row % 2} for row in range(32)]
SETTINGS = {
    "kwon": KwonParams(samples=16, batch_size=8),
    "repaired_magnitude": RepairParams(learning_rate=1e-3, repair_samples=16),
    "repaired_sensitivity": RepairParams(learning_rate=1e-3, repair_samples=16),
    "iterative_magnitude": IterativeParams(learning_rate=1e-3, rounds=2),
    "iterative_sensitivity": IterativeParams(learning_rate=1e-3, rounds=3),
    "longer_magnitude": MethodParams(learning_rate=1e-3),
    "warm_magnitude": MethodParams(learning_rate=1e-3),
    "warm_sensitivity": MethodParams(learning_rate=1e-3),
    "own_pass_mask": OwnPassParams(learning_rate=1e-3),
    "first_layers": MethodParams(learning_rate=1e-3),
    "gradual_sensitivity": GradualParams(learning_rate=1e-3, cuts=2),
    "recipe": RecipeParams(learning_rate=1e-3, repair_samples=16),
    "distilled_magnitude": DistillationParams(learning_rate=1e-3),
    "distilled_sensitivity": DistillationParams(learning_rate=1e-3),
}


def new_model(seed=0):
    return load_backbone("tiny-bert", TASKS["sst2"], seed)


def scores_of(model):
    magnitude = METHODS["magnitude"].implementation
    scores = {
        name: {key: magnitude(module, 0).scores() for key, module in prunable_modules(model).items()}
        for name in ("magnitude", "sensitivity")
    }
    units, tokens = unit_costs(model, mean_length(EXAMPLES)), mean_length(EXAMPLES)
    origin = ScoreOrigin(MadeFor("tiny-bert", task="sst2"), seed=0, tokens=tokens, epoch=1, passes=1)
    return ScoreFile(scores, costs_of(model), grains_of(model), units, origin, removable_of(model))


def context(method, scratch, budget=0.5, kind="params", **changes):
    given = {
        "method": METHODS[method],
        "examples": EXAMPLES,
        "tokenizer": TOKENIZER,
        "new_model": new_model,
        "tuned_model": lambda: new_model(seed=1),
        "scores": scores_of(new_model()),
        "masking": MaskingParams(budget_kind=kind),
        "scoring": ScoringParams(batch_size=8),
        "training": TrainingParams(epochs=1.5, batch_size=8, precision="fp32", min_steps=0),
        "settings": SETTINGS[method],
        "budget": budget,
        "seed": 0,
        "scratch": scratch,
    }
    return PruningContext(**given | changes)


def prune(method, made):
    return METHODS[method].implementation(made)


OF_EACH_KIND = [(method, "params") for method in names("procedure")]
OF_EACH_KIND += [("kwon", "macs"), ("iterative_sensitivity", "macs"), ("distilled_magnitude", "macs")]
ONE_OF_EACH = ["kwon", "iterative_sensitivity", "distilled_sensitivity", "recipe", "first_layers"]
WARM = ("warm_magnitude", "warm_sensitivity")
FREE = ("gradual_sensitivity", "repaired_magnitude", "iterative_magnitude", "longer_magnitude", "first_layers")
"""The others differ in the criterion alone."""


@pytest.mark.parametrize(("method", "kind"), OF_EACH_KIND)
def test_a_procedure_keeps_its_budget_and_gives_the_slim_model_of_its_mask(method, kind, tmp_path):
    claim_scratch(tmp_path / "scratch", "this run")
    begun_with = []

    def tuned_model():
        begun_with.append("the dense model")
        return new_model(seed=1)

    found = prune(method, context(method, tmp_path / "scratch", kind=kind, tuned_model=tuned_model))
    assert bool(begun_with) == METHODS[method].starts_tuned
    assert (len(found.trainings) > 1) == METHODS[method].in_rounds
    # Without its claim, the stage would neither go on after a kill nor find the folder to remove.
    assert (tmp_path / "scratch" / "run.json").exists()
    assert prunable_parameters(found.model) == found.mask.kept_cost
    dense = unit_costs(new_model(), mean_length(EXAMPLES))["macs"]
    costs = costs_of(new_model()) if kind == "params" else dense.per_dimension
    kept = sum(costs[key] * int(keep.sum()) for key, keep in found.mask.keep.items())
    assert 0.3 < kept / sum(costs[key] * keep.size for key, keep in found.mask.keep.items()) <= 0.5
    shapes = {key: tuple(module.shape) for key, module in prunable_modules(found.model).items()}
    assert shapes == {key: tuple(shape) for key, shape in shapes_of(present(found.mask.keep)).items()}
    epochs = sum(training.log[-1].epoch for training in found.trainings)
    assert epochs == pytest.approx({"kwon": 0, "longer_magnitude": 2.5}.get(method, 1.5), abs=0.3)
    expected = {
        "kwon": 2.0,
        "iterative_sensitivity": 3,
        **dict.fromkeys(FREE, 0),
        **dict.fromkeys(("own_pass_mask", "repaired_sensitivity", *WARM), 1),
    }
    assert found.extra_passes == expected.get(method, 1.5 + (method in ("distilled_sensitivity", "recipe")))
    assert [point.step for point in found.log] == sorted({point.step for point in found.log})
    assert [point.epoch for point in found.log] == sorted({point.epoch for point in found.log})
    assert found.mask.origin.method == (METHODS[method].criterion or method)
    assert (found.mask.origin.made_for.task, found.mask.origin.budget_kind) == ("sst2", kind)

    history = found.history(EXAMPLES)
    assert history.stored_parameters == count(found.model)
    assert history.trainable_parameters == (0 if method == "kwon" else count(found.model))
    assert history.extra_passes == found.extra_passes
    assert history.steps == sum(training.steps for training in found.trainings)
    assert history.steps == {"kwon": 0, "longer_magnitude": 10}.get(method, 6)
    assert (history.log, history.chosen, history.tokens) == (found.log, found.chosen, mean_length(EXAMPLES))


def present(modules):
    """Without the modules that keep nothing: a model of the first layers does not have them."""
    return {key: keep for key, keep in modules.items() if keep.any()}


def test_of_a_budget_for_less_than_two_layers_the_first_one_is_kept(tmp_path):
    small = prune("first_layers", context("first_layers", tmp_path, budget=0.9)).model
    gentle = prune("first_layers", context("first_layers", tmp_path, settings=MethodParams(learning_rate=1e-9))).model
    stock = new_model()
    stock.bert.encoder.layer = stock.bert.encoder.layer[:1]
    ids = torch.tensor([[2, 10, 20, 3]])
    assert len(small.bert.encoder.layer) == 1
    assert torch.allclose(gentle.eval()(ids).logits, stock.eval()(ids).logits, atol=1e-5)


def test_a_budget_below_one_layer_is_refused(tmp_path):
    with pytest.raises(MaskError, match=r"one layer already takes 0\.5"):
        prune("first_layers", context("first_layers", tmp_path, budget=0.3))


@pytest.mark.parametrize("method", ONE_OF_EACH)
def test_a_procedure_prunes_a_regression(method, tmp_path):
    def regressor():
        return load_backbone("tiny-bert", TASKS["stsb"], 0)

    rows = [example | {"labels": float(row % 4)} for row, example in enumerate(EXAMPLES)]
    changes = {"new_model": regressor, "tuned_model": regressor, "scores": scores_of(regressor()), "examples": rows}
    found = prune(method, context(method, tmp_path, **changes))
    assert found.model.config.num_labels == 1
    assert all(np.isfinite(point.loss) for point in found.log)
    assert 0.3 < found.mask.kept_fraction <= 0.5


def test_a_killed_iteration_goes_on_after_its_last_round(tmp_path, monkeypatch):
    method = "iterative_sensitivity"
    whole = prune(method, context(method, tmp_path / "whole"))
    real, begun = iterative.train_cell, []

    def train_cell(*arguments, **how):
        begun.append(1)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **how)

    monkeypatch.setattr(iterative, "train_cell", train_cell)
    with pytest.raises(KeyboardInterrupt):
        prune(method, context(method, tmp_path / "killed"))
    found = prune(method, context(method, tmp_path / "killed"))
    assert len(begun) == SETTINGS[method].rounds + 1
    assert all(np.array_equal(keep, whole.mask.keep[key]) for key, keep in found.mask.keep.items())
    assert all(torch.equal(value, whole.model.state_dict()[name]) for name, value in found.model.state_dict().items())
    assert found.trainings == whole.trainings
    assert found.extra_passes == whole.extra_passes


def test_no_two_rounds_see_the_data_in_the_same_order(tmp_path, monkeypatch):
    seeds, real = [], iterative.train_cell

    def train_cell(*arguments, seed, **how):
        seeds.append(seed)
        return real(*arguments, seed=seed, **how)

    monkeypatch.setattr(iterative, "train_cell", train_cell)
    for seed in (0, 1):
        prune("iterative_magnitude", context("iterative_magnitude", tmp_path / str(seed), seed=seed))
    assert len(seeds) == len(set(seeds)) >= 4


def test_later_rounds_score_the_model_at_hand(tmp_path):
    one_shot = make_mask(scores_of(new_model()).scores["magnitude"], costs_of(new_model()), 0.5)
    found = prune("iterative_magnitude", context("iterative_magnitude", tmp_path))
    assert any(not np.array_equal(keep, one_shot.keep[key]) for key, keep in found.mask.keep.items())


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


def test_a_procedure_leaves_its_teacher_and_scores_alone(tmp_path):
    made = context("distilled_magnitude", tmp_path)
    before = copy.deepcopy(made.scores)
    prune("distilled_magnitude", made)
    assert all(
        np.array_equal(values, before.scores[name][key])
        for name, modules in made.scores.scores.items()
        for key, values in modules.items()
    )
    assert "teacher_logits" not in EXAMPLES[0]


def hidden_distance_to(teacher, model):
    from sensibert.data.encoding import collator
    from sensibert.training.distillation import hidden_distance

    batch = collator(TOKENIZER)(EXAMPLES)
    batch.pop("labels")
    with torch.no_grad():
        states = [each.eval()(**batch, output_hidden_states=True).hidden_states for each in (model, teacher)]
    return float(hidden_distance(*states, batch["attention_mask"]))


def test_a_student_may_come_near_the_hidden_states_of_its_teacher(tmp_path):
    distance, teacher = {}, new_model(seed=1)
    for hidden_weight in (0.0, 10.0):
        settings = DistillationParams(learning_rate=1e-2, hidden_weight=hidden_weight, start="tuned")
        made = context("distilled_magnitude", tmp_path / str(hidden_weight), settings=settings)
        distance[hidden_weight] = hidden_distance_to(teacher, prune("distilled_magnitude", made).model)
    assert distance[10.0] < 0.7 * distance[0.0]


def test_the_weights_of_the_teacher_are_what_is_cut_if_the_student_starts_there(tmp_path):
    gentle = DistillationParams(learning_rate=1e-9, start="tuned")
    found = prune("distilled_magnitude", context("distilled_magnitude", tmp_path, settings=gentle))
    cut = slim(new_model(seed=1), found.mask)
    for name, parameter in found.model.named_parameters():
        assert torch.allclose(parameter, cut.get_parameter(name), atol=1e-6)


def test_the_recipe_cuts_the_tuned_model_and_repairs_it(tmp_path):
    gentle = RecipeParams(learning_rate=1e-9, repair_samples=32)
    found = prune("recipe", context("recipe", tmp_path, settings=gentle))
    teacher, ids = new_model(seed=1).eval(), torch.tensor([[2, 10, 20, 3]])
    cut = slim(teacher, found.mask).eval()
    with torch.no_grad():
        wanted = teacher(ids).logits
        assert (found.model.eval()(ids).logits - wanted).abs().max() < (cut(ids).logits - wanted).abs().max()
    errors = found.chosen["reconstruction_error"].values()
    assert all(error["after"] <= error["before"] + 1e-9 for error in errors)
    assert any(error["after"] < 0.5 * error["before"] for error in errors)


def test_a_student_may_be_cut_by_the_scores_of_its_teacher(tmp_path):
    settings = DistillationParams(learning_rate=1e-3, scores="tuned")
    of_teacher = prune("distilled_sensitivity", context("distilled_sensitivity", tmp_path, settings=settings))
    of_pass = prune("distilled_sensitivity", context("distilled_sensitivity", tmp_path))
    assert any(not np.array_equal(keep, of_pass.mask.keep[key]) for key, keep in of_teacher.mask.keep.items())
    assert of_teacher.extra_passes == of_pass.extra_passes == 2.5


def test_scoring_the_teacher_leaves_it_as_it_is(tmp_path):
    teacher = new_model(seed=1)
    before = copy.deepcopy(teacher.state_dict())
    settings = RecipeParams(learning_rate=1e-3, scores="tuned")
    prune("recipe", context("recipe", tmp_path, tuned_model=lambda: teacher, settings=settings))
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(parameter.requires_grad for parameter in teacher.parameters())


@pytest.mark.parametrize("method", WARM)
def test_warm_weights_are_those_that_the_scoring_pass_left(method, tmp_path):
    gentle = context(method, tmp_path, settings=MethodParams(learning_rate=1e-9))
    found = prune(method, gentle)
    passed = new_model()
    *_, scores = score(passed, EXAMPLES, TOKENIZER, gentle.scoring, seed=0, precision="fp32", criteria=["mask"])
    fold(passed, scores.of("mask"))
    cut = slim(passed, found.mask)
    for name, parameter in found.model.named_parameters():
        assert torch.allclose(parameter, cut.get_parameter(name), atol=1e-6)


def test_a_pass_of_its_own_has_its_own_penalty(tmp_path):
    made = context("own_pass_mask", tmp_path, settings=OwnPassParams(learning_rate=1e-3, l1=1.0))
    strong = made.scoring.model_copy(update={"l1": 1.0})
    *_, scores = score(new_model(), EXAMPLES, TOKENIZER, strong, seed=0, precision="fp32", criteria=["mask"])
    expected = made.mask(scores, made.budget)
    found = prune("own_pass_mask", made).mask
    assert all(np.array_equal(keep, expected.keep[key]) for key, keep in found.keep.items())


@pytest.mark.parametrize(("method", "remove_below"), [("iterative_sensitivity", 0.5), ("recipe", 0.25)])
def test_a_procedure_may_remove_whole_modules(method, remove_below, tmp_path):
    masking = MaskingParams(remove_below=remove_below)
    found = prune(method, context(method, tmp_path, budget=0.2, masking=masking))
    assert any(not keep.any() for keep in found.mask.keep.values())
    assert 0.1 < found.mask.kept_fraction <= 0.2
    assert all(np.isfinite(point.loss) for point in found.log)


def test_a_killed_shrinking_resumes_after_what_it_finished(tmp_path, monkeypatch):
    method = "gradual_sensitivity"
    whole = prune(method, context(method, tmp_path / "whole"))

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gradual, "train_cell", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(method, context(method, tmp_path / "killed"))
    monkeypatch.setattr(gradual, "shrink", killed)
    found = prune(method, context(method, tmp_path / "killed"))
    assert all(torch.equal(value, whole.model.state_dict()[name]) for name, value in found.model.state_dict().items())


def test_the_rate_of_a_shrinking_model_is_that_of_one_schedule(tmp_path):
    """Of 12 steps, 2 warm up; half of them shrink the model, and the rate falls on from there."""
    training = TrainingParams(epochs=3, batch_size=8, precision="fp32", min_steps=0, warmup_fraction=0.15)
    found = prune("gradual_sensitivity", context("gradual_sensitivity", tmp_path, training=training))
    log = found.log
    assert [point.step for point in log] == [7, 8, 9, 10, 11, 12]
    assert [point.epoch for point in log] == pytest.approx([1.75, 2, 2.25, 2.5, 2.75, 3])
    assert [point.learning_rate for point in log] == pytest.approx([1e-4 * left for left in (6, 5, 4, 3, 2, 1)])


def test_what_a_shrinking_model_keeps_is_what_mattered_while_it_trained(tmp_path):
    settings = GradualParams(learning_rate=1e-3, cuts=3)
    made = context("gradual_sensitivity", tmp_path, settings=settings)
    first, again = (gradual.shrink(new_model(), made, settings, steps=4, of=6) for _ in range(2))
    assert all(np.array_equal(keep, again.keep[key]) for key, keep in first.keep.items())
    assert 0.3 < first.kept_fraction <= 0.5
    other = replace(made, examples=[example | {"labels": 1 - example["labels"]} for example in EXAMPLES[::2]])
    second = gradual.shrink(new_model(), other, settings, steps=4, of=6)
    assert any(not np.array_equal(keep, second.keep[key]) for key, keep in first.keep.items())

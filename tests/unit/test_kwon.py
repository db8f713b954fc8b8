from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sensibert.config.method_settings import KwonParams
from sensibert.data.encoding import mean_length
from sensibert.data.tasks import TASKS
from sensibert.errors import MaskError
from sensibert.models.anatomy import costs_of, prunable_modules
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.models.cost import macs, macs_costs, prunable_parameters
from sensibert.models.gates import masked, output_projections_gated
from sensibert.models.mask import MadeFor, Mask, MaskOrigin, ModuleKey
from sensibert.models.slim import slim
from sensibert.pruning.kwon.fisher import block, collect_gradients, diagonal, unit_gradients
from sensibert.pruning.kwon.rearrange import block_loss, rearrange
from sensibert.pruning.kwon.recipe import prune_model
from sensibert.pruning.kwon.rescale import RIDGE, rescale, scale_columns
from sensibert.pruning.kwon.search import search
from sensibert.pruning.kwon.units import by_dimension, stays_whole, unit_count, unit_size
from sensibert.pruning.layerwise import tokens_that_count

HEADS, FILTERS = "attention", "feed_forward"
KEYS = [ModuleKey(layer, group) for layer in range(2) for group in (HEADS, FILTERS)]
TOKENIZER = load_tokenizer("tiny-bert")
EXAMPLES = [
    {"input_ids": [2, *range(10, 12 + row % 5), 10 + row % 3, 3], "labels": int(row % 3 == 0)} for row in range(40)
]
SETTINGS = KwonParams(samples=24, batch_size=8)


def some_units(model, fraction=0.6, seed=0):
    """A mask that keeps about so many heads and filters of each module, one at least, and all where it must."""
    generator = np.random.default_rng(seed)
    keep = {}
    for key, module in prunable_modules(model).items():
        units = generator.random(unit_count(module)) < fraction
        units[generator.integers(len(units))] = True
        keep[key] = by_dimension(units | stays_whole(module), module)
    return Mask(keep, costs_of(model))


def by_kept_dimension(model, rescaled, mask):
    """The scale of each dimension of the dense model, 0 where it is dropped."""
    scales = {}
    for key, module in prunable_modules(model).items():
        scales[key] = torch.zeros(module.shape.dimensions)
        of_kept = np.repeat(rescaled[key].scales, unit_size(module))
        scales[key][torch.from_numpy(mask.keep[key].reshape(-1))] = torch.from_numpy(of_kept).float()
    return scales


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits


# Fisher information


def test_the_gradients_are_those_of_single_examples_and_leave_the_model_as_it_was(tiny_model, batch, examples):
    before = {name: values.clone() for name, values in tiny_model.state_dict().items()}
    found = unit_gradients(tiny_model, batch)
    assert all(parameter.grad is None for parameter in tiny_model.parameters())
    assert all(torch.equal(values, before[name]) for name, values in tiny_model.state_dict().items())
    for row, alone in enumerate(examples):
        modules = prunable_modules(tiny_model)
        leaves = {key: torch.ones(unit_count(module), requires_grad=True) for key, module in modules.items()}
        gates = {key: leaf.repeat_interleave(unit_size(modules[key])) for key, leaf in leaves.items()}
        with output_projections_gated(tiny_model, gates):
            tiny_model(**alone).loss.backward()
        for key, leaf in leaves.items():
            assert found[key].shape == (len(examples), *leaf.shape)
            torch.testing.assert_close(found[key][row], leaf.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tiny_model", ["bert", "gpt2"], indirect=True)
def test_a_gradient_is_the_slope_of_the_loss_when_a_unit_fades(tiny_model, batch):
    alone = {name: values[:1] for name, values in batch.items()}
    gradients, step = unit_gradients(tiny_model, alone), 1e-2
    for key, module in prunable_modules(tiny_model).items():
        losses = []
        for sign in (1, -1):
            gates = {other: torch.ones(m.shape.dimensions) for other, m in prunable_modules(tiny_model).items()}
            gates[key][-unit_size(module) :] += sign * step
            with torch.no_grad(), output_projections_gated(tiny_model, gates):
                losses.append(tiny_model(**alone).loss.item())
        assert gradients[key][0, -1].item() == pytest.approx((losses[0] - losses[1]) / (2 * step), abs=2e-3)


@pytest.mark.parametrize("tiny_model", ["bert", "gpt2"], indirect=True)
def test_the_information_is_a_loop_over_examples(tiny_model, batch, examples):
    gradients = collect_gradients(tiny_model, [batch, batch])
    expected = dict.fromkeys(gradients, 0.0)
    for alone in [*examples, *examples]:
        for key, (gradient,) in unit_gradients(tiny_model, alone).items():
            expected[key] += torch.outer(gradient, gradient).numpy()
    for key, of_module in gradients.items():
        assert block(of_module) == pytest.approx(expected[key], rel=1e-3, abs=1e-6)
        assert diagonal(of_module) == pytest.approx(np.diag(block(of_module)))


def test_a_gate_of_zero_at_the_columns_is_a_mask(tiny_model, batch):
    mask = some_units(tiny_model)
    gates = {key: torch.from_numpy(keep.reshape(-1)) for key, keep in mask.keep.items()}
    with output_projections_gated(tiny_model, gates):
        found = logits(tiny_model, batch)
    with masked(tiny_model, mask):
        torch.testing.assert_close(found, logits(tiny_model, batch), atol=1e-5, rtol=1e-5)


# Mask search


@st.composite
def problems(draw, most_units=4):
    importance = {
        key: draw(arrays(np.float64, st.integers(1, most_units), elements=st.integers(0, 9).map(float))) for key in KEYS
    }
    head, filter_ = draw(st.integers(1, 30)), draw(st.integers(1, 9))
    costs = {key: head if key.group == HEADS else filter_ for key in KEYS}
    return importance, costs


def cost_of(keep, costs):
    return sum(costs[key] * int(np.sum(kept)) for key, kept in keep.items())


def total(keep, importance):
    return sum(importance[key][np.asarray(kept)].sum() for key, kept in keep.items())


def best_by_trying(importance, costs, limit, whole):
    """The largest total importance of all masks, None if no mask is allowed."""
    choices = {
        key: [kept for kept in product((False, True), repeat=len(values)) if (all(kept) if key in whole else any(kept))]
        for key, values in importance.items()
    }
    masks = (dict(zip(choices, kept, strict=True)) for kept in product(*choices.values()))
    return max((total(keep, importance) for keep in masks if cost_of(keep, costs) <= limit), default=None)


@given(problems(most_units=3), st.integers(1, 10), st.sets(st.sampled_from(KEYS), max_size=1))
@settings(max_examples=60, deadline=None)
def test_the_search_finds_the_best_mask(problem, tenths, whole):
    importance, costs = problem
    dense = cost_of({key: np.ones(len(values)) for key, values in importance.items()}, costs)
    best = best_by_trying(importance, costs, tenths * dense // 10, whole)
    if best is None:
        with pytest.raises(MaskError, match="too small for the model"):
            search(importance, costs, tenths / 10, whole)
    else:
        assert total(search(importance, costs, tenths / 10, whole), importance) == best


@given(problems(most_units=20), st.floats(0.01, 1), st.lists(st.integers(1, 50), min_size=4, max_size=4))
@settings(max_examples=50, deadline=None)
def test_the_search_never_exceeds_the_budget(problem, budget, other_costs):
    importance = problem[0]
    for costs in (problem[1], dict(zip(KEYS, other_costs, strict=True))):
        dense = cost_of({key: np.ones(len(values)) for key, values in importance.items()}, costs)
        try:
            keep = search(importance, costs, budget)
        except MaskError:
            continue
        assert cost_of(keep, costs) <= budget * dense + 1e-6
        assert all(keep[key].any() and keep[key].shape == importance[key].shape for key in KEYS)


def test_the_whole_budget_keeps_everything():
    importance = {key: np.zeros(3) for key in KEYS}
    assert all(keep.all() for keep in search(importance, dict.fromkeys(KEYS, 7), 1.0).values())


def test_heads_give_way_to_filters_where_filters_are_worth_more():
    importance = {KEYS[0]: np.array([5.0, 1.0]), KEYS[1]: np.array([9.0, 8.0, 7.0, 6.0])}
    keep = search(importance, {KEYS[0]: 4, KEYS[1]: 1}, 8 / 12)
    assert {key: kept.tolist() for key, kept in keep.items()} == {KEYS[0]: [True, False], KEYS[1]: [True] * 4}


@pytest.mark.parametrize("budget", [0.0, 1.1])
def test_a_budget_that_is_no_fraction_is_refused(budget):
    with pytest.raises(MaskError, match="out of range"):
        search({key: np.ones(2) for key in KEYS}, dict.fromkeys(KEYS, 1), budget)


def test_information_that_is_no_number_is_refused():
    importance = {key: np.ones(2) for key in KEYS} | {KEYS[2]: np.array([1.0, np.nan])}
    with pytest.raises(MaskError, match="layer 1, attention"):
        search(importance, dict.fromkeys(KEYS, 1), 0.5)


# Mask rearrangement


@given(
    arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=st.floats(-5, 5, width=16)),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_rearranging_never_raises_the_loss_and_ends_where_no_swap_helps(gradients, random):
    information = block(gradients)
    keep = np.array([random.random() < 0.5 for _ in information])
    better = rearrange(keep, information)
    assert better.sum() == keep.sum()
    slack = 1e-8 * (1 + np.trace(information))
    assert block_loss(better, information) <= block_loss(keep, information) + slack
    for kept, dropped in product(np.flatnonzero(better), np.flatnonzero(~better)):
        other = better.copy()
        other[[kept, dropped]] = False, True
        assert block_loss(other, information) >= block_loss(better, information) - slack


def test_units_that_make_up_for_each_other_are_dropped_together():
    gradients = np.array([[3.0, -3.0, 1.0, 1.0]])
    keep = rearrange(np.array([True, False, True, False]), block(gradients))
    assert keep.tolist() == [False, False, True, True]
    assert block_loss(keep, block(gradients)) == 0


# Mask tuning


def counting(model, batch):
    """Which tokens the logits depend on: all that are no padding; behind the last attention only the pooled one."""
    first = prunable_modules(model)[ModuleKey(0, HEADS)].layer
    seen = {}
    hook = first.register_forward_hook(lambda *call: seen.update(hidden=call[2]))
    logits(model, batch)
    hook.remove()
    hidden = seen["hidden"] if torch.is_tensor(seen["hidden"]) else seen["hidden"][0]
    every = batch["attention_mask"].bool() if "attention_mask" in batch else torch.ones(hidden.shape[:2]).bool()
    pooled = torch.zeros_like(every)
    is_last = model.config.model_type.endswith("gpt2")
    pooled[range(len(every)), every.sum(dim=1) - 1 if is_last else 0] = True
    return {key: pooled if key.layer else every for key in KEYS}


def test_the_tokens_that_count_are_those_that_reach_the_logits(tiny_model, batch):
    found, expected = tokens_that_count(tiny_model, batch), counting(tiny_model, batch)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)


def errors(dense, small, batch):
    """Squared error of each projection's output, with what stands before it in the small model, and its square."""
    outputs = {}
    for model in (dense, small):
        hooks = []
        for key, module in prunable_modules(model).items():
            record = lambda *call, key=key: outputs.setdefault(key, []).append(call[2])  # noqa: E731
            hooks.append(module.output_projection.register_forward_hook(record))
        logits(model, batch)
        for hook in hooks:
            hook.remove()
    tokens = counting(dense, batch)
    error = {key: (one - two)[tokens[key]].square().sum().item() for key, (one, two) in outputs.items()}
    return error, {key: one[tokens[key]].square().sum().item() for key, (one, _) in outputs.items()}


def test_rescaling_lowers_the_error_of_every_module(tiny_model, batch):
    mask = some_units(tiny_model)
    dense, small = logits(tiny_model, batch), slim(tiny_model, mask)
    plain, squares = errors(tiny_model, small, batch)
    halves = [{name: values[rows] for name, values in batch.items()} for rows in (slice(0, 2), slice(2, 4))]
    rescaled = rescale(tiny_model, small, halves)
    # The models run as ever.
    assert torch.equal(logits(tiny_model, batch), dense)
    assert not any("forward" in vars(module) for model in (tiny_model, small) for module in model.modules())
    found, _ = errors(tiny_model, small, batch)
    assert rescaled.keys() == found.keys()
    fell = 0
    for key, of_module in rescaled.items():
        assert of_module.after == pytest.approx(found[key] / squares[key], rel=1e-2, abs=1e-5)
        assert of_module.after <= of_module.before
        fell += of_module.after < of_module.before
        assert (of_module.after < of_module.before) == (
            not np.array_equal(of_module.scales, np.ones(len(of_module.scales)))
        )
    first = next(iter(rescaled))
    assert rescaled[first].before == pytest.approx(plain[first] / squares[first], rel=1e-3, abs=1e-6)
    assert fell >= 3


def test_the_scales_are_those_of_least_squares(tiny_model, batch):
    """The first module that is pruned, in one system that is written out: a ridge is all that differs."""
    mask = some_units(tiny_model)
    small = slim(tiny_model, mask)
    key = next(key for key, keep in mask.keep.items() if not keep.all())
    seen = {}
    for name, model in (("dense", tiny_model), ("small", small)):
        hook = prunable_modules(model)[key].output_projection.register_forward_hook(
            lambda *call, name=name: seen.update({name: call[1:]})
        )
        logits(model, batch)
        hook.remove()
    tokens = counting(tiny_model, batch)[key]
    module = prunable_modules(small)[key]
    projection = module.output_projection
    weight = projection.weight.detach() if hasattr(projection, "nx") else projection.weight.detach().T
    inputs, wanted = seen["small"][0][0][tokens], seen["dense"][1][tokens]
    outputs = (inputs[:, :, None] * weight).reshape(len(inputs), unit_count(module), unit_size(module), -1).sum(dim=2)
    system = outputs.transpose(1, 2).reshape(-1, unit_count(module)).double().numpy()
    bias = 0 if projection.bias is None else projection.bias.detach()
    right = (wanted - bias).reshape(-1).double().numpy()
    ridge = np.sqrt(RIDGE * np.square(system).sum() / unit_count(module)) * np.eye(unit_count(module))
    expected = np.linalg.lstsq(np.vstack([system, ridge]), np.concatenate([right, ridge.sum(axis=0)]))[0]
    found = rescale(tiny_model, small, [batch])[key].scales
    assert found == pytest.approx(expected, rel=1e-2, abs=1e-3)


def test_the_scales_in_the_weights_are_gates_of_the_dense_model(tiny_model, batch):
    mask = some_units(tiny_model, seed=1)
    small = slim(tiny_model, mask)
    rescaled = rescale(tiny_model, small, [batch])
    assert any((of_module.scales != 1).any() for of_module in rescaled.values())
    with output_projections_gated(tiny_model, by_kept_dimension(tiny_model, rescaled, mask)):
        expected = logits(tiny_model, batch)
    torch.testing.assert_close(logits(small, batch), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("tiny_model", ["bert", "gpt2"], indirect=True)
def test_a_model_that_lost_nothing_is_not_rescaled(tiny_model, batch):
    everything = Mask(
        {key: np.ones(m.shape, bool) for key, m in prunable_modules(tiny_model).items()}, costs_of(tiny_model)
    )
    small = slim(tiny_model, everything)
    rescaled = rescale(tiny_model, small, [batch])
    assert all((of_module.scales == 1).all() and of_module.before == 0 for of_module in rescaled.values())
    assert all(torch.equal(values, small.state_dict()[name]) for name, values in tiny_model.state_dict().items())


@pytest.mark.parametrize("tiny_model", ["bert"], indirect=True)
def test_scales_that_explode_are_given_up(tiny_model, batch):
    mask = some_units(tiny_model)
    small = slim(tiny_model, mask)
    key = ModuleKey(1, FILTERS)
    projection = prunable_modules(small)[key].output_projection
    with torch.no_grad():
        scale_columns(projection, torch.full((projection.in_features,), 1e-2))
    before = projection.weight.detach().clone()
    rescaled = rescale(tiny_model, small, [batch])
    assert (rescaled[key].scales == 1).all()
    assert rescaled[key].after == rescaled[key].before
    assert torch.equal(projection.weight, before)


# All of it


def examples_of(model):
    """Examples as `encode` makes them, of tokens that every tiny model knows."""
    return [{**example, "labels": row % 3} for row, example in enumerate(EXAMPLES)]


def test_every_architecture_is_pruned_within_its_budget_of_macs(tiny_model):
    if tiny_model.main_input_name == "pixel_values":
        pytest.skip("the batches are texts")
    pruned = pruned_within(tiny_model, "macs")
    predicted, unit = pruned.mask.origin.predicted, macs_costs(tiny_model, mean_length(EXAMPLES))
    prunable = sum(unit.per_dimension[key] * keep.size for key, keep in pruned.mask.keep.items())
    fixed = unit.dense - prunable
    assert predicted["macs"]["slim"] - fixed <= 0.8 * prunable


@pytest.mark.parametrize("tiny_model", ["bert"], indirect=True)
def test_the_budget_can_be_one_of_parameters(tiny_model):
    mask = pruned_within(tiny_model, "params").mask
    assert mask.kept_fraction <= 0.8
    assert mask.kept_fraction > 0.8 - max(costs_of(tiny_model).values()) / mask.dense_cost


def pruned_within(tiny_model, kind):
    """Prune to 0.8, and check what holds for any kind of budget."""
    examples, before = examples_of(tiny_model), {name: v.clone() for name, v in tiny_model.state_dict().items()}
    given = {"kind": kind, "precision": "fp32", "made_for": MadeFor(task="any")}
    pruned = prune_model(tiny_model, examples, TOKENIZER, 0.8, SETTINGS, 3, **given)
    assert all(torch.equal(values, before[name]) for name, values in tiny_model.state_dict().items())
    tokens = mean_length(examples)
    predicted = pruned.mask.origin.predicted
    assert pruned.mask.origin == MaskOrigin(
        MadeFor(task="any"), "kwon", 0.8, 3, kind, predicted, SETTINGS.samples / len(EXAMPLES)
    )
    assert predicted["params"]["slim"] == prunable_parameters(pruned.model) == pruned.mask.kept_cost
    assert predicted["macs"] == {"dense": macs(tiny_model, tokens), "slim": macs(pruned.model, tokens)}
    for key, module in prunable_modules(tiny_model).items():
        keep = pruned.mask.keep[key]
        assert keep.any()
        if key.group == HEADS:
            assert (keep.all(axis=1) == keep.any(axis=1)).all()
            assert keep.all() or not stays_whole(module)
    assert pruned.rearranged_loss <= pruned.searched_loss
    assert any(of_module.after < of_module.before for of_module in pruned.rescaled.values())
    return pruned


@pytest.mark.parametrize(
    ("budget", "kind", "message"),
    [(1e-6, "macs", "too small for the model"), (0.0, "macs", "out of range"), (0.5, "latency", "macs, params")],
)
def test_what_cannot_be_met_is_refused(budget, kind, message):
    classifier = load_backbone("tiny-bert", TASKS["sst2"], 0)
    with pytest.raises(MaskError, match=message):
        prune_model(classifier, EXAMPLES, TOKENIZER, budget, SETTINGS, 0, kind=kind)

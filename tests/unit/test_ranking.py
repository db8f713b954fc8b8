import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sensibert.errors import MaskError
from sensibert.models.mask import SINGLE, Mask, ModuleKey, Shape
from sensibert.scoring.ranking import ALLOCATIONS, RANKINGS, Ranking, best_in_shapes, make_mask

FRACTIONS = st.sampled_from([0.0, 0.05, 0.3])
OPTIONS = st.fixed_dictionaries({"allocation": st.sampled_from(ALLOCATIONS), "rank_by": st.sampled_from(RANKINGS)})


@st.composite
def models(draw, most_heads=4):
    """Scores and costs of a random model; now and then many scores are equal."""
    layers = draw(st.integers(1, 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 3, 2**20]))
    scores, costs = {}, {}
    for layer in range(layers):
        attention = draw(st.integers(1, most_heads)), draw(st.integers(1, 6))
        feed_forward = 1, draw(st.integers(1, 20))
        for group, shape in (("attention", attention), ("feed_forward", feed_forward)):
            key = ModuleKey(layer, group)
            scores[key] = (generator.integers(levels, size=shape) / levels).astype(np.float32)
            costs[key] = draw(st.integers(1, 12))
    return scores, costs


budgets = st.one_of(st.sampled_from([1.0, 0.8, 0.5, 0.4, 0.2]), st.floats(0.05, 1))


def pools_of(scores, allocation):
    name = {"global": lambda _: "all", "per_group": lambda key: key.group, "per_layer": lambda key: key.layer}
    pools = {}
    for key in scores:
        pools.setdefault(name[allocation](key), []).append(key)
    return pools.values()


def cheapest_step(mask, keys, grains=None):
    """Cost of one grain more in each kept head, or of one grain of heads more, whatever is cheaper in these modules."""
    steps = []
    for key in keys:
        heads, size = mask.shapes()[key]
        all_heads, full_size = mask.keep[key].shape
        more_heads, more_size = (grains or {}).get(key, SINGLE)
        steps += [heads * more_size * mask.costs[key]] if size + more_size <= full_size else []
        steps += [size * more_heads * mask.costs[key]] if heads + more_heads <= all_heads else []
    return min(steps, default=None)


def equal(one: Mask, other: Mask) -> bool:
    return list(one.keep) == list(other.keep) and all(
        np.array_equal(one.keep[key], other.keep[key]) for key in one.keep
    )


def mask_or_refusal(scores, costs, budget, **options):
    try:
        return make_mask(scores, costs, budget, **options)
    except MaskError as error:
        assert "too small" in str(error)  # noqa: PT017 (a refusal is right for some budgets)
        return None


@given(models(), budgets, OPTIONS, FRACTIONS)
def test_the_budget_is_kept_and_missed_by_less_than_one_step(model, budget, options, fraction):
    scores, costs = model
    mask = mask_or_refusal(scores, costs, budget, min_keep_fraction=fraction, **options)
    if mask is None:
        return
    assert mask.kept_cost <= budget * mask.dense_cost + 1e-6
    for keys in pools_of(scores, options["allocation"]):
        limit = budget * sum(costs[key] * scores[key].size for key in keys)
        kept = sum(costs[key] * mask.keep[key].sum() for key in keys)
        assert kept <= limit + 1e-6
        step = cheapest_step(mask, keys)
        assert step is None or limit - kept < step


@given(models(), budgets, OPTIONS, FRACTIONS)
def test_every_module_keeps_a_stock_shape_and_its_least(model, budget, options, fraction):
    mask = mask_or_refusal(*model, budget, min_keep_fraction=fraction, **options)
    if mask is None:
        return
    for key, (heads, size) in mask.shapes().items():
        kept = mask.keep[key]
        assert kept.shape == model[0][key].shape
        assert kept.dtype == bool
        assert sorted(set(kept.sum(axis=1))) in ([size], [0, size])
        assert heads * size == kept.sum() >= max(1, fraction * kept.size - 1e-6)


@given(models(), st.integers(1, 3), st.integers(1, 4), budgets, OPTIONS)
def test_heads_and_sizes_come_in_grains(model, heads, size, budget, options):
    scores, costs = model
    grains = {key: Shape(min(heads, scores[key].shape[0]), min(size, scores[key].shape[1])) for key in scores}
    mask = mask_or_refusal(scores, costs, budget, grains=grains, **options)
    if mask is None:
        return
    for key, shape in mask.shapes().items():
        assert shape == scores[key].shape or (shape.heads % grains[key].heads, shape.size % grains[key].size) == (0, 0)
    for keys in pools_of(scores, options["allocation"]):
        left = budget * sum(costs[key] * scores[key].size for key in keys)
        left -= sum(costs[key] * mask.keep[key].sum() for key in keys)
        step = cheapest_step(mask, keys, grains)
        assert step is None or -1e-6 <= left < step


@given(models(), st.integers(1, 9), budgets, OPTIONS)
def test_sizes_are_rounded(model, round_to, budget, options):
    scores, costs = model
    mask = mask_or_refusal(scores, costs, budget, round_to=round_to, **options)
    if mask is None:
        return
    assert mask.kept_cost <= budget * mask.dense_cost + 1e-6
    for key, shape in mask.shapes().items():
        assert shape.size % round_to == 0 or shape.size == scores[key].shape[1]


@given(st.integers(1, 6), st.integers(1, 40), st.sampled_from([1, 2, 3]), st.sampled_from([1, 4, 8]))
def test_rounding_goes_together_with_the_grain(heads, size, grain, round_to):
    key = ModuleKey(0, "attention")
    scores, grains = {key: np.random.default_rng(0).random((heads, size))}, {key: Shape(1, min(grain, size))}
    mask = mask_or_refusal(scores, {key: 1}, 0.5, grains=grains, round_to=round_to)
    if mask is not None:
        found = mask.shapes()[key].size
        assert found == size or (found % round_to, found % grains[key].size) == (0, 0)


@given(models(), OPTIONS, FRACTIONS, st.integers(1, 4))
def test_the_least_budget_is_the_smallest_that_is_met(model, options, fraction, round_to):
    options = options | {"min_keep_fraction": fraction, "round_to": round_to}
    least = Ranking(*model, **options).least_budget
    assert 0 < make_mask(*model, least, **options).kept_fraction <= least + 1e-9
    with pytest.raises(MaskError, match="too small"):
        make_mask(*model, least * 0.999, **options)


@given(st.integers(1, 10**12), st.integers(1, 100))
def test_a_budget_is_the_decimal_that_was_written(cost, hundredths):
    key = ModuleKey(0, "feed_forward")
    mask = make_mask({key: np.ones((1, 100))}, {key: cost}, hundredths / 100)
    assert mask.keep[key].sum() == hundredths


@given(models(), OPTIONS)
def test_one_ranking_serves_every_budget(model, options):
    ranking = Ranking(*model, **options)
    for budget in (1.0, 0.8, 0.9, 1.0):
        mask = mask_or_refusal(*model, budget, **options)
        assert mask is None or equal(Mask(ranking.cut(budget), mask.costs), mask)


@given(models(), budgets, OPTIONS)
def test_the_order_of_the_modules_does_not_matter(model, budget, options):
    scores, costs = model
    mask = mask_or_refusal(scores, costs, budget, **options)
    turned = dict(reversed(scores.items())), dict(reversed(costs.items()))
    other = mask_or_refusal(*turned, budget, **options)
    assert (mask is None) == (other is None)
    assert mask is None or (equal(mask, other) and list(mask.costs) == list(other.costs))


@given(models(), budgets, OPTIONS, st.integers(-20, 20))
def test_the_scale_of_the_scores_does_not_matter(model, budget, options, exponent):
    scores, costs = model
    mask = mask_or_refusal(scores, costs, budget, **options)
    scaled = {key: np.ldexp(values, exponent) for key, values in scores.items()}
    other = mask_or_refusal(scaled, costs, budget, **options)
    assert (mask is None) == (other is None)
    assert mask is None or equal(mask, other)


@given(models(), OPTIONS)
def test_a_budget_of_one_keeps_everything(model, options):
    mask = make_mask(*model, 1.0, **options)
    assert all(keep.all() for keep in mask.keep.values())
    assert mask.kept_fraction == 1


@given(models(), budgets, budgets, OPTIONS, FRACTIONS)
def test_a_larger_budget_never_keeps_less(model, one, other, options, fraction):
    small, large = (
        mask_or_refusal(*model, budget, min_keep_fraction=fraction, **options) for budget in sorted((one, other))
    )
    if small is not None:
        assert large is not None
        assert small.kept_cost <= large.kept_cost


@given(models(most_heads=1), budgets)
def test_without_heads_the_global_ranking_is_top_k(model, budget):
    scores, _ = model
    costs = dict.fromkeys(scores, 7)
    mask = mask_or_refusal(scores, costs, budget)
    if mask is None:
        return
    always = {key: int(np.argmax(values)) for key, values in scores.items()}  # no module may be empty
    kept = sorted(
        (values[0, position] for key, values in scores.items() for position in np.flatnonzero(mask.keep[key])),
        reverse=True,
    )
    rest = sorted(
        (
            value
            for key, values in scores.items()
            for position, value in enumerate(values[0])
            if position != always[key]
        ),
        reverse=True,
    )
    best = [values[0, always[key]] for key, values in scores.items()] + rest[: len(kept) - len(scores)]
    assert kept == sorted(best, reverse=True)


@given(models(), st.integers(0, 2**32 - 1))
def test_no_choice_of_shapes_keeps_more(model, seed):
    """Where a price per dimension decides, the best shape of each module is known; the mask must keep as much."""
    scores, _ = model
    price = np.random.default_rng(seed).random()
    best = [max(shapes_of(values), key=lambda shape: shape[0] - price * shape[1]) for values in scores.values()]
    budget = sum(dimensions for _, dimensions in best) / sum(values.size for values in scores.values())
    mask = make_mask(scores, dict.fromkeys(scores, 3), budget)
    kept = sum(float(scores[key][mask.keep[key]].sum()) for key in scores)
    assert kept == pytest.approx(sum(value for value, _ in best))


def shapes_of(values):
    """The best kept score and the dimensions of every stock shape, by brute force."""
    heads, size = values.shape
    ordered = -np.sort(-values.astype(float), axis=1)
    for s in range(1, size + 1):
        per_head = -np.sort(-ordered[:, :s].sum(axis=1))
        yield from ((per_head[:h].sum(), h * s) for h in range(1, heads + 1))


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_equal_scores_are_cut_the_same_way_in_any_precision(value, allocation):
    keys = [ModuleKey(layer, group) for layer in range(3) for group in ("attention", "feed_forward")]
    shapes = {key: (4, 8) if key.group == "attention" else (1, 64) for key in keys}
    costs = {key: 35 if key.group == "attention" else 17 for key in keys}
    masks = [
        make_mask(
            {key: np.full(shape, value, dtype) for key, shape in shapes.items()}, costs, 0.37, allocation=allocation
        )
        for dtype in (np.float32, np.float64)
    ]
    assert equal(*masks)


def test_ties_go_to_the_first_dimensions_of_the_first_layers():
    keys = [ModuleKey(layer, "feed_forward") for layer in range(2)]
    mask = make_mask({key: np.ones((1, 4)) for key in keys}, dict.fromkeys(keys, 1), 0.5)
    assert [mask.keep[key].tolist() for key in keys] == [[[True, True, True, False]], [[True, False, False, False]]]


def test_the_score_per_parameter_changes_the_ranking():
    attention, feed_forward = ModuleKey(0, "attention"), ModuleKey(0, "feed_forward")
    scores = {attention: np.array([[3.0, 3.0, 3.0, 3.0]]), feed_forward: np.array([[2.0, 2.0, 2.0, 2.0]])}
    costs = {attention: 4, feed_forward: 2}
    kept = {rank: make_mask(scores, costs, 0.5, rank_by=rank).shapes() for rank in RANKINGS}
    assert kept["score"] == {attention: Shape(1, 2), feed_forward: Shape(1, 2)}
    assert kept["score_per_parameter"] == {attention: Shape(1, 1), feed_forward: Shape(1, 4)}


def test_whole_heads_go_when_they_matter_least():
    key = ModuleKey(0, "attention")
    scores = np.array([[9.0, 8.0, 7.0], [0.1, 0.1, 0.1], [6.0, 9.0, 5.0], [0.2, 0.1, 0.0]])
    mask = make_mask({key: scores}, {key: 5}, 0.5)
    assert mask.keep[key].tolist() == [[True] * 3, [False] * 3, [True] * 3, [False] * 3]
    assert mask.shapes() == {key: Shape(2, 3)}


def test_dimensions_go_when_all_heads_matter():
    key = ModuleKey(0, "attention")
    mask = make_mask({key: np.array([[9.0, 0.1, 0.2], [0.1, 8.0, 0.3], [0.2, 0.1, 7.0]])}, {key: 5}, 1 / 3)
    assert mask.keep[key].tolist() == np.eye(3, dtype=bool).tolist()


SCORES = {ModuleKey(layer, "feed_forward"): np.ones((1, 10)) for layer in range(3)}
COSTS = dict.fromkeys(SCORES, 1)


@pytest.mark.parametrize("budget", [0, -0.5, 1.5, float("nan")])
def test_a_budget_out_of_range_is_refused(budget):
    with pytest.raises(MaskError, match=r"budget .* is out of range; allowed: above 0, at most 1"):
        make_mask(SCORES, COSTS, budget)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(value):
    scores = {**SCORES, ModuleKey(1, "feed_forward"): np.array([[1.0, value]])}
    with pytest.raises(MaskError, match="scores of layer 1, feed_forward, are not all finite"):
        make_mask(scores, COSTS, 0.5)


@pytest.mark.parametrize("option", ["allocation", "rank_by"])
def test_an_unknown_option_is_refused(option):
    with pytest.raises(MaskError, match=f"unknown {option} 'best'; allowed: .*, .*"):
        make_mask(SCORES, COSTS, 0.5, **{option: "best"})


@given(models(), st.floats(0.2, 1), st.sampled_from([0.25, 4.0]))
def test_the_attention_weight_shifts_the_balance(model, budget, factor):
    scores, costs = model
    kept = []
    for weight in (min(1.0, factor), max(1.0, factor)):
        try:
            mask = make_mask(scores, costs, budget, attention_weight=weight)
        except MaskError:
            return  # too small a budget for one dimension of each module
        scaled = {key: values * (weight if key.group == "attention" else 1) for key, values in scores.items()}
        assert equal(mask, make_mask(scaled, costs, budget))
        kept.append(sum(int(keep.sum()) * costs[key] for key, keep in mask.keep.items() if key.group == "feed_forward"))
    grain = max(costs[key] * values.size for key, values in scores.items())
    assert kept[1] <= kept[0] + grain


def test_rounding_to_less_than_one_is_refused():
    with pytest.raises(MaskError, match=r"round_to 0 is out of range; allowed: 1"):
        make_mask(SCORES, COSTS, 0.5, round_to=0)


def test_a_budget_below_one_dimension_per_module_is_refused():
    with pytest.raises(MaskError, match=r"budget 0.05 is too small for the model: .* already takes 0.1000"):
        make_mask(SCORES, COSTS, 0.05)
    with pytest.raises(MaskError, match="too small for layer 0"):
        make_mask(SCORES, COSTS, 0.05, allocation="per_layer")
    with pytest.raises(MaskError, match=r"already takes 0.6000"):
        make_mask(SCORES, COSTS, 0.5, min_keep_fraction=0.6)


@given(models(), st.integers(0, 2**32 - 1), budgets)
def test_a_control_keeps_the_shapes_that_another_criterion_has_and_the_best_within_them(model, seed, budget):
    scores, costs = model
    assume(budget >= Ranking(scores, costs).least_budget)
    shapes = make_mask(scores, costs, budget).shapes()
    generator = np.random.default_rng(seed)
    others = {key: generator.random(values.shape, dtype=np.float32) for key, values in scores.items()}
    kept = Mask(best_in_shapes(others, shapes), costs)
    assert kept.shapes() == shapes
    for key, values in others.items():
        heads, size = shapes[key]
        best_of_heads = -np.sort(-values, axis=1)[:, :size].sum(axis=1)
        assert values[kept.keep[key]].sum() == pytest.approx(np.sort(best_of_heads)[-heads:].sum(), rel=1e-5)
    assert equal(Mask(best_in_shapes(scores, shapes), costs), make_mask(scores, costs, budget))


def test_a_module_of_which_too_little_would_stay_goes_and_the_others_share_its_cost():
    generator = np.random.default_rng(0)
    scores = {KEY: generator.random((1, 40)) for KEY in (ModuleKey(0, "feed_forward"), ModuleKey(1, "feed_forward"))}
    first, last = scores
    scores[last][:, 3:] /= 1e6  # three of its dimensions count
    costs = dict.fromkeys(scores, 10)
    thin = make_mask(scores, costs, 0.5)
    assert thin.keep[last].sum() == 3
    found = make_mask(scores, costs, 0.5, removable=[last], remove_below=0.1)
    assert found.keep[last].sum() == 0
    assert found.keep[first].sum() == 40, "what was freed is spent"
    assert found.kept_cost <= 0.5 * found.dense_cost
    for options in ({"removable": [first], "remove_below": 0.1}, {"removable": [last], "remove_below": 0.05}):
        assert np.array_equal(make_mask(scores, costs, 0.5, **options).keep[last], thin.keep[last])


def test_removing_every_module_is_refused():
    scores = {ModuleKey(0, "feed_forward"): np.ones((1, 10))}
    with pytest.raises(MaskError, match=r"remove_below 0\.9 would remove every module at budget 0\.5"):
        make_mask(scores, dict.fromkeys(scores, 1), 0.5, removable=list(scores), remove_below=0.9)


@given(st.floats(0.1, 1), st.floats(0, 0.9), st.integers(0, 2**32 - 1))
def test_removing_modules_keeps_the_budget(budget, remove_below, seed):
    generator = np.random.default_rng(seed)
    shapes = {ModuleKey(layer, group): shape for layer in range(3) for group, shape in GROUP_SHAPES.items()}
    scores = {key: generator.random(shape) ** 6 for key, shape in shapes.items()}
    costs = {key: 99 if key.group == "attention" else 49 for key in shapes}
    thin = make_mask(scores, costs, budget).keep.values()
    assume(any(keep.mean() >= remove_below for keep in thin))
    found = make_mask(scores, costs, budget, removable=list(shapes), remove_below=remove_below)
    assert found.kept_cost <= budget * found.dense_cost + 1e-6
    fractions = [keep.mean() for keep in found.keep.values()]
    assert all(fraction == 0 or fraction >= remove_below for fraction in fractions)
    found.shapes()


GROUP_SHAPES = {"attention": (3, 4), "feed_forward": (1, 24)}

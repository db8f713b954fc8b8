"""Agreement of scoring passes: hand-computed cases, properties, and chance against simulation."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensibert.analysis.stability import (
    COLUMNS,
    Run,
    agreement,
    compared_pairs,
    jaccard,
    kendall,
    random_jaccard,
    shuffled_kendall,
    shuffled_spearman,
    spearman,
    spearman_matrices,
    spearman_matrix,
    stability_table,
    verdict,
    verdicts,
)
from sensibert.config.params import parse_params
from sensibert.errors import ArtifactError
from sensibert.models.mask import MadeFor, ModuleKey
from sensibert.scoring.files import ScoreFile, ScoreOrigin
from sensibert.scoring.ranking import make_mask

ATTENTION, FEED_FORWARD = ModuleKey(0, "attention"), ModuleKey(0, "feed_forward")
COSTS = {
    ModuleKey(layer, group): 35 if group == "attention" else 17
    for layer in (0, 1)
    for group in ("attention", "feed_forward")
}


def scores(seed, noise=0.0):
    """Scores of a two-layer model: the same for all seeds, but for the noise."""
    common, own = np.random.default_rng(99), np.random.default_rng(seed)
    shapes = {key: (2, 8) if key.group == "attention" else (1, 40) for key in COSTS}
    return {key: common.lognormal(size=shape) * np.exp(noise * own.normal(size=shape)) for key, shape in shapes.items()}


def score_file(run, **by_criterion):
    return ScoreFile(by_criterion, COSTS, {}, {}, ScoreOrigin(MadeFor(task="sst2"), run.seed, 27, run.epoch, run.epoch))


def mask_of(values, budget):
    return make_mask(values, COSTS, budget)


def runs(noise, seeds=(0, 1), epochs=(1, 2)):
    return {Run(seed, epoch): scores(10 * seed + epoch, noise) for seed in seeds for epoch in epochs}


def params(**stability):
    return parse_params(
        {
            "profile": "test",
            "tasks": ["sst2"],
            "seeds": [0],
            "criteria": ["sensitivity"],
            "budgets": [0.6, 0.3],
            "tuning": ["full"],
            "data": {"source": "hub"},
            "model": {"backbone": "any"},
            "masking": {"rank_by": {"mask": "score_per_parameter"}},
            "methods": {"sensitivity": {"learning_rate": 1e-4}, "full": {"learning_rate": 1e-4}},
            "stability": {"tasks": ["sst2"], "seeds": [0, 1], "epochs": [1, 2], "criteria": ["sensitivity"]}
            | stability,
        }
    )


def test_pairs_across_seeds_and_across_epochs_are_kept_apart():
    a1, a2, b1, b2 = Run(0, 1), Run(0, 2), Run(1, 1), Run(1, 2)
    assert compared_pairs([b2, a1, a2, b1]) == {"seeds": [(a1, b1), (a2, b2)], "epochs": [(a1, a2), (b1, b2)]}
    assert compared_pairs([a1, a2]) == {"epochs": [(a1, a2)]}


def test_rank_correlations_by_hand():
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 30.0, 20.0, 40.0])
    # One swapped neighbour: squared rank differences sum to 2, and 1 of 6 pairs disagrees.
    assert spearman(a, b) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert kendall(a, b) == pytest.approx((5 - 1) / 6)


def test_constant_scores_rank_nothing():
    constant, rising = np.ones(5), np.arange(5.0)
    assert spearman(constant, rising) == kendall(rising, constant) == 0.0


def test_jaccard_counts_over_all_modules():
    a = {ATTENTION: np.array([[True, True], [False, False]]), FEED_FORWARD: np.array([[True, False, True]])}
    b = {ATTENTION: np.array([[True, False], [True, False]]), FEED_FORWARD: np.array([[True, True, False]])}
    assert jaccard(a, b) == pytest.approx((1 + 1) / (3 + 3))


masks = st.lists(st.booleans(), min_size=12, max_size=12).map(lambda kept: {FEED_FORWARD: np.array([kept])})


@given(masks, masks)
def test_jaccard_is_symmetric_and_a_fraction(a, b):
    assert jaccard(a, b) == jaccard(b, a)
    assert 0 <= jaccard(a, b) <= 1
    assert jaccard(a, a) == 1
    assert 0 <= random_jaccard(a, b) <= 1


@pytest.mark.parametrize(("kept_a", "kept_b"), [((20, 60), (30, 45)), ((4, 10), (4, 10)), ((40, 200), (40, 190))])
def test_chance_is_what_a_simulation_of_random_masks_finds(kept_a, kept_b):
    sizes = {ATTENTION: 40, FEED_FORWARD: 200}
    generator = np.random.default_rng(0)

    def random_mask(kept):
        return {
            key: generator.permutation(np.arange(size) < count).reshape(1, -1)
            for (key, size), count in zip(sizes.items(), kept, strict=True)
        }

    simulated = [jaccard(random_mask(kept_a), random_mask(kept_b)) for _ in range(4000)]
    standard_error = np.std(simulated) / np.sqrt(len(simulated))
    expected = random_jaccard(random_mask(kept_a), random_mask(kept_b))
    assert expected == pytest.approx(np.mean(simulated), abs=4 * standard_error + 5e-4)


def test_identical_scores_agree_fully():
    table = agreement(runs(noise=0.0), [0.6, 0.3], mask_of)
    assert table["mean"].to_numpy() == pytest.approx(1.0)
    assert table["min"].to_numpy() == pytest.approx(1.0)


def test_agreement_has_a_row_for_every_comparison_layer_statistic_and_budget():
    table = agreement(runs(noise=0.5, seeds=(0, 1, 2)), [0.6, 0.3], mask_of)
    assert tuple(table.columns) == COLUMNS[2:]
    assert len(table) == 2 * 3 * (2 + 2)
    assert set(table["layer"]) == {"all", "0", "1"}
    assert set(table.loc[table["comparison"] == "seeds", "pairs"]) == {6}
    assert set(table.loc[table["comparison"] == "epochs", "pairs"]) == {3}
    assert (table["min"] <= table["mean"]).all()
    correlations = table[table["statistic"] != "jaccard"]
    assert correlations["budget"].isna().all()
    assert (correlations["random"].abs() < 0.2).all(), "all modules are alike"
    overlaps = table[(table["statistic"] == "jaccard") & (table["layer"] == "all")]
    assert (overlaps["mean"] > overlaps["random"]).all()


@pytest.mark.parametrize(
    ("statistic", "shuffled"), [(spearman, shuffled_spearman), (kendall, shuffled_kendall)], ids=["spearman", "kendall"]
)
def test_chance_of_a_correlation_is_what_shuffling_within_the_modules_gives(statistic, shuffled):
    generator = np.random.default_rng(3)
    shift = {key: 2 * number for number, key in enumerate(COSTS)}  # layers and groups differ in level
    a, b = ({key: values + shift[key] for key, values in scores(seed, noise=1).items()} for seed in (0, 1))

    def flat(modules):
        return np.concatenate([modules[key].ravel() for key in sorted(modules)])

    def one():
        return {key: generator.permutation(values.ravel()).reshape(values.shape) for key, values in a.items()}

    simulated = [statistic(flat(one()), flat(b)) for _ in range(300)]
    assert np.mean(simulated) == pytest.approx(shuffled(a, b), abs=4 * np.std(simulated) / 300**0.5)
    assert 0.1 < shuffled(a, b) < statistic(flat(a), flat(b))


def test_shuffled_scores_of_one_module_or_of_constants_correlate_with_nothing():
    a = {key: values for key, values in scores(0).items() if key == next(iter(COSTS))}
    constant = {key: np.ones_like(values) for key, values in scores(0).items()}
    for shuffled in (shuffled_spearman, shuffled_kendall):
        assert shuffled(a, a) == pytest.approx(0, abs=1e-12)
        assert shuffled(constant, scores(0)) == 0


def test_agreement_of_one_layer_is_that_of_its_modules_alone():
    pair = runs(noise=0.7, epochs=(1,))
    table = agreement(pair, [0.3], mask_of)
    first, second = (
        np.concatenate([values[ModuleKey(1, group)].ravel() for group in ("attention", "feed_forward")])
        for values in pair.values()
    )
    row = table[(table["layer"] == "1") & (table["statistic"] == "kendall")]
    assert row["mean"].item() == pytest.approx(kendall(first, second))


def test_scores_of_another_model_are_refused():
    other = {**runs(noise=0.1), Run(5, 1): {ATTENTION: np.ones((2, 8))}}
    with pytest.raises(ArtifactError, match="seed 5, epoch 1"):
        agreement(other, [0.5], mask_of)


def test_spearman_matrix_is_symmetric_with_ones_on_the_diagonal():
    matrix = spearman_matrix(runs(noise=0.5))
    assert list(matrix.index) == ["seed 0, epoch 1", "seed 0, epoch 2", "seed 1, epoch 1", "seed 1, epoch 2"]
    assert np.diag(matrix) == pytest.approx(1.0)
    assert matrix.to_numpy() == pytest.approx(matrix.to_numpy().T)


def test_stability_table_uses_the_masks_of_the_pipeline():
    wanted = params(criteria=["sensitivity", "mask"])
    passes = {"sst2": {run: score_file(run, sensitivity=s, mask=s) for run, s in runs(noise=0.8).items()}}
    table = stability_table(passes, wanted)
    assert tuple(table.columns) == COLUMNS
    assert table.groupby(["task", "criterion"]).size().to_dict() == {("sst2", "sensitivity"): 24, ("sst2", "mask"): 24}
    assert set(spearman_matrices(passes, ["mask"])) == {("sst2", "mask")}
    assert set(verdicts(table)) == {("sst2", "sensitivity"), ("sst2", "mask")}

    # `mask` is ranked by score per parameter here, so its masks are others.
    expected = [
        jaccard(*(make_mask(runs(0.8)[run], COSTS, 0.3, rank_by="score_per_parameter").keep for run in pair))
        for pair in compared_pairs(list(runs(0.8)))["epochs"]
    ]
    row = table.query("criterion == 'mask' and comparison == 'epochs' and layer == 'all' and budget == 0.3")
    assert row["mean"].item() == pytest.approx(np.mean(expected))
    assert row["min"].item() == pytest.approx(np.min(expected))


def test_a_pass_without_the_criterion_is_refused():
    passes = {"sst2": {run: score_file(run, fisher=s) for run, s in runs(noise=0.1).items()}}
    with pytest.raises(ArtifactError, match="seed 0, epoch 1 has no scores for sensitivity; it has fisher"):
        stability_table(passes, params())


def agreement_rows(spearman_mean, overlap, comparison="seeds", random=0.25):
    correlation = {"statistic": "spearman", "mean": spearman_mean, "min": spearman_mean - 0.02, "random": 0.0}
    masks = {"statistic": "jaccard", "budget": 0.4, "mean": overlap, "min": overlap, "random": random}
    return pd.DataFrame([{"comparison": comparison, "layer": "all", "pairs": 1, **row} for row in (correlation, masks)])


def test_verdict_says_it_in_plain_words():
    assert verdict(agreement_rows(0.93, 0.78)) == (
        "Stable: scores of different seeds agree with Spearman 0.93 (min 0.91), of which layer and group "
        "alone give 0.00; masks at 0.4 overlap by 0.78 where random masks overlap by 0.25."
    )


@pytest.mark.parametrize(
    ("correlation", "overlap", "grade"),
    [(0.93, 0.5, "Partly stable"), (0.6, 0.9, "Partly stable"), (0.93, 0.3, "Unstable"), (0.4, 0.9, "Unstable")],
)
def test_verdict_needs_both_the_scores_and_the_masks(correlation, overlap, grade):
    assert verdict(agreement_rows(correlation, overlap)).startswith(f"{grade}: ")


def test_verdict_of_one_seed_speaks_of_epochs():
    assert "different epochs agree" in verdict(agreement_rows(0.9, 0.9, comparison="epochs"))


def test_a_budget_that_keeps_everything_decides_nothing():
    assert verdict(agreement_rows(0.9, 1.0, random=1.0)) == (
        "Stable: scores of different seeds agree with Spearman 0.90 (min 0.88), of which layer and "
        "group alone give 0.00."
    )

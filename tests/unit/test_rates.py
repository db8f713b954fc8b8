"""The search for a peak rate: factors of two, beyond the grid while the best is at its edge."""

import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensibert.config.grid import Point
from sensibert.config.params import load_params
from sensibert.config.paths import Paths
from sensibert.config.settings import RateParams
from sensibert.errors import DataError, DivergedError
from sensibert.experiment.rates import search_rate
from sensibert.results import WORST_METRIC

GRID = [1e-3, 2e-3, 4e-3]


def peaked(best):
    """A metric that is highest at a rate, and depends on the seed."""
    return lambda rate, seed: 80 + seed - abs(math.log2(rate / best))


def test_the_best_mean_over_the_seeds_wins_and_the_curve_is_kept():
    asked = []

    def dev_metric(rate, seed):
        asked.append((rate, seed))
        return {1e-3: (70, 70), 2e-3: (60, 90), 4e-3: (71, 72)}[rate][seed]

    found = search_rate(dev_metric, GRID, seeds=[0, 1])
    assert found.rate == 2e-3
    assert [(point.learning_rate, point.dev) for point in found.tried] == [
        (1e-3, [70, 70]),
        (2e-3, [60, 90]),
        (4e-3, [71, 72]),
    ]
    assert asked == [(rate, seed) for rate in GRID for seed in (0, 1)]


@given(st.integers(-5, 7), st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True))
def test_the_best_rate_is_inside_what_was_tried(steps, seeds):
    best = 1e-3 * 2.0**steps
    found = search_rate(peaked(best), GRID, seeds)
    rates = [point.learning_rate for point in found.tried]
    assert found.rate == pytest.approx(best)
    assert rates[0] < found.rate < rates[-1]
    assert rates == sorted(rates)
    assert all(high == pytest.approx(2 * low) for low, high in itertools.pairwise(rates))


def test_of_equal_rates_one_inside_is_taken_the_lower_of_two():
    assert search_rate(lambda rate, seed: 50.0, GRID, [0]).rate == 2e-3
    assert search_rate(lambda rate, seed: 50.0, GRID[:2], [0]).rate == 1e-3


def test_a_rate_that_diverges_is_the_worst():
    def dev_metric(rate, seed):
        if rate > 1e-3:
            raise DivergedError("the loss is nan")
        return -50.0 if rate < 1e-3 else 10.0

    found = search_rate(dev_metric, GRID, [0])
    assert found.rate == 1e-3
    assert [point.mean for point in found.tried] == [-50.0, 10.0, WORST_METRIC, WORST_METRIC]


def test_no_best_rate_is_an_error():
    def diverges(rate, seed):
        raise DivergedError("the loss is nan")

    with pytest.raises(DataError, match=r"every rate from 0\.001 to 0\.004 diverged"):
        search_rate(diverges, GRID, [0])
    with pytest.raises(DataError, match="still rises at the edge"):
        search_rate(lambda rate, seed: rate, GRID, [0])


def test_the_grid_goes_up_in_factors_of_two_and_reaches_the_highest_rate():
    grid = RateParams().grid
    assert grid[0] == 1e-5
    assert all(high == 2 * low for low, high in itertools.pairwise(grid))
    assert grid[-2] < 2e-3 <= grid[-1]
    assert RateParams(lowest=1e-3, highest=1e-3).grid == [1e-3]


def test_the_stage_searches_once_for_each_budget_that_of_the_whole_model_among_them(monkeypatch, tmp_path):
    root = Path(__file__).parents[2]
    monkeypatch.syspath_prepend(root)
    from pipeline import rates

    best = {1.0: 1e-3, 0.5: 2e-3, 0.2: 4e-3}

    monkeypatch.setattr(rates, "_trials", lambda *_: "what trains, which is not asked here")
    monkeypatch.setattr(rates._Search, "_remembering", lambda self, point: peaked(best[point.budget]))
    params = load_params(root / "params.yaml").at_rate("sensitivity", "searched")
    search = rates._Search("docs_origin", params, Paths("mine", tmp_path))
    found = [search.curve(Point("docs_origin", "sensitivity", budget)) for budget in best]
    assert [curve.learning_rate for curve in found] == pytest.approx(list(best.values()), rel=0.5)
    assert all(len(curve.tried) > 2 for curve in found)

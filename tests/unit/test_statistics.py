"""Mean, spread and paired tests, against numbers computed by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensibert.analysis.statistics import mcnemar, paired_difference, spread


def test_spread_is_the_sample_standard_deviation():
    assert spread([86.0, 88.0, 90.0]) == (88.0, 2.0, 3)


def test_one_value_has_no_spread():
    measured = spread([87.5])
    assert measured.mean == 87.5
    assert math.isnan(measured.std)
    assert measured.n == 1


def test_paired_difference_uses_the_shared_seeds_alone():
    difference = paired_difference({0: 90.0, 1: 92.0, 7: 10.0}, {1: 90.0, 0: 89.0, 8: 99.0})
    assert difference.mean == 1.5
    assert difference.n == 2
    # Differences 1 and 2: t = 1.5 / (sqrt(0.5) / sqrt(2)) = 3 at one degree of freedom, where the t
    # distribution is Cauchy's: p = 1 - 2 atan(3) / pi.
    assert difference.p_value == pytest.approx(1 - 2 * math.atan(3) / math.pi)


@pytest.mark.parametrize(
    ("ours", "theirs", "mean", "n"),
    [({0: 90.0}, {0: 88.0}, 2.0, 1), ({0: 1.1, 1: 2.1}, {0: 1.0, 1: 2.0}, 0.1, 2), ({0: 1.0}, {1: 1.0}, math.nan, 0)],
)
def test_no_p_value_where_the_differences_do_not_vary(ours, theirs, mean, n):
    difference = paired_difference(ours, theirs)
    assert difference.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(difference.p_value)
    assert difference.n == n


def test_mcnemar_by_hand():
    # 5 examples for the first model alone, 1 for the second: p = 2 * (C(6,0) + C(6,1)) / 2^6.
    ours = np.array([True] * 5 + [False] + [True] * 20)
    theirs = np.array([False] * 5 + [True] + [True] * 20)
    assert mcnemar(ours, theirs) == pytest.approx(2 * 7 / 64)


def test_mcnemar_of_equal_answers_is_one():
    assert mcnemar(np.array([True, False]), np.array([True, False])) == 1.0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_mcnemar_is_a_symmetric_probability(pairs):
    ours, theirs = np.array(pairs).T
    p_value = mcnemar(ours, theirs)
    assert 0 < p_value <= 1
    assert p_value == pytest.approx(mcnemar(theirs, ours))

"""The smallest budget within limits, and what a user may write as a limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensibert.compress.limits import BUDGETS, Limits, choose_budget, most_trials
from sensibert.compress.walk import nothing_meets
from sensibert.config.section import validate
from sensibert.errors import ParamsError
from sensibert.report.evidence import Drop, Point


@given(small=st.sampled_from((*BUDGETS, 0.01)), good=st.sampled_from((*BUDGETS, 2.0)))
def test_the_smallest_that_is_small_and_good_enough(small, good):
    asked = []

    def is_good_enough(budget):
        asked.append(budget)
        return budget >= good

    found = choose_budget(BUDGETS, lambda budget: budget <= small, is_good_enough)
    assert found == min((budget for budget in BUDGETS if good <= budget <= small), default=None)
    assert len(asked) == len(set(asked)) <= 4, "a budget costs a training"
    assert all(budget <= small for budget in asked), "what is too large is not trained"


def test_where_nothing_may_be_lost_too_much_the_largest_is_best():
    assert choose_budget(BUDGETS, lambda budget: budget <= 0.3, None) == 0.3
    assert choose_budget(BUDGETS, lambda _: False, None) is None


def test_limits_have_units():
    limits = validate(Limits, {"max_latency": "5ms", "max_size": "1.5 MiB", "max_drop": 1}, "compress")
    assert limits.max_latency == pytest.approx(0.005)
    assert limits.max_size == 1_572_864
    assert limits.are_there
    assert validate(Limits, {"max_latency": "0.01s"}, "compress").max_latency == pytest.approx(0.01)
    assert not Limits().are_there


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"max_latency": "5"}, "max_latency: must be a time with its unit, such as 5ms or 0.01s"),
        ({"max_latency": "0ms"}, "max_latency: must be a time with its unit"),
        ({"max_latency": "fast"}, "max_latency: must be a time with its unit"),
        ({"max_size": "20"}, "max_size: must be a size with its unit, such as 20MB"),
        ({"max_size": "-1MB"}, "max_size: must be a size with its unit"),
        ({"max_size": "1.2.3MB"}, "max_size: "),
        ({"max_drop": -1}, "max_drop: "),
        ({"max_drop": float("nan")}, "max_drop: "),
        ({"deploy_as": "tflite"}, "deploy_as: "),
    ],
)
def test_a_limit_that_is_none_is_refused(content, message):
    with pytest.raises(ParamsError, match=f"compress: {message}"):
        validate(Limits, content, "compress")


@pytest.mark.parametrize("count", range(1, 17))
def test_no_more_budgets_are_judged_than_the_bound_counts(count):
    budgets = [1 - place / count for place in range(count)]
    for best in range(count + 1):
        judged = []

        def is_good_enough(budget, judged=judged, best=best):
            judged.append(budget)
            return budgets.index(budget) < best

        found = choose_budget(budgets, lambda budget: True, is_good_enough)
        assert found == (budgets[best - 1] if best else None)
        assert len(set(judged)) <= most_trials(count)


def point(budget, latency, lost):
    return Point(budget, "onnx", latency, 1_000_000, 90 - lost, Drop(lost, lost - 1, lost + 1))


def test_the_nearest_is_one_that_keeps_within_the_other_limits():
    limits = validate(Limits, {"max_latency": "5ms", "max_drop": 1}, "compress")
    said = str(nothing_meets(limits, [point(0.8, 0.009, 0.5), point(0.4, 0.004, 3.0)], dev_rows=100))
    assert "the nearest, at 0.4, loses 3.0 points" in said

"""What a compression lost, beyond chance or not."""

import numpy as np
import pandas as pd
import pytest

from sensibert.compress.verdict import bound_of, drop_of
from sensibert.data.tasks import TASKS


def predictions(right, rows=600, task="sst2"):
    """Predictions of which the first `right` rows are right."""
    labels = np.arange(rows) % 2
    found = np.where(np.arange(rows) < right, labels, 1 - labels)
    return pd.DataFrame({"label": labels, "prediction": found})


@pytest.mark.parametrize(("rows", "most"), [(40, 8.0), (600, 0.6), (10_000, 0.05)])
def test_rows_that_agree_bound_a_loss_by_how_many_they_are(rows, most):
    """Of 40 rows, none of which was lost, 95 % of the samples come from less than 3 in 40 lost ones."""
    same = predictions(rows - 10, rows)
    drop = drop_of(same, same, TASKS["sst2"])
    assert drop.points == 0
    assert -most < drop.low < 0 < drop.high < most
    assert drop.high > most / 3
    assert not drop.is_large


def test_a_large_drop_is_more_than_chance():
    drop = drop_of(predictions(540), predictions(480), TASKS["sst2"])
    assert drop.points == pytest.approx(10)
    assert 7 < drop.low < drop.points < drop.high < 13
    assert drop.is_large


def test_a_drop_on_few_rows_may_be_chance():
    drop = drop_of(predictions(28, 30), predictions(26, 30), TASKS["sst2"])
    assert drop.points == pytest.approx(100 * 2 / 30)
    assert drop.low <= 0
    assert not drop.is_large


def test_a_sure_but_small_drop_is_no_reason_to_warn():
    drop = drop_of(predictions(9_000, 10_000), predictions(8_950, 10_000), TASKS["sst2"])
    assert drop.low > 0
    assert not drop.is_large


def test_a_gain_is_a_negative_drop():
    assert drop_of(predictions(480), predictions(540), TASKS["sst2"]).high < 0


def test_it_takes_many_rows_in_parts_and_gives_the_same(monkeypatch):
    given = predictions(540), predictions(480), TASKS["sst2"]
    whole = drop_of(*given)
    monkeypatch.setattr("sensibert.compress.verdict._AT_ONCE", 7 * 600)
    assert drop_of(*given) == whole


def test_it_is_the_task_s_own_metric(monkeypatch):
    monkeypatch.setattr("sensibert.compress.verdict._RESAMPLES", 100)  # a Matthews correlation takes milliseconds
    drop = drop_of(predictions(600), predictions(300), TASKS["cola"])
    assert drop.points == pytest.approx(100)  # a Matthews correlation of 1, and of 0


def test_numbers_are_compared_too():
    labels = np.linspace(0, 5, 100)
    before = pd.DataFrame({"label": labels, "prediction": labels})
    after = pd.DataFrame({"label": labels, "prediction": np.random.default_rng(0).permutation(labels)})
    assert drop_of(before, after, TASKS["stsb"]).is_large


def test_without_a_baseline_nothing_is_said():
    assert drop_of(pd.DataFrame(), predictions(540), TASKS["sst2"]) is None


def test_a_bound_for_several_models_is_wider():
    assert bound_of(1) == pytest.approx(0.9)
    given = predictions(540), predictions(480), TASKS["sst2"]
    one, four = (drop_of(*given, confidence=bound_of(trials)) for trials in (1, 4))
    assert four.high > one.high > one.points == four.points

"""Peak rates from short trials: what is carved, what is tried, and what is made of it."""

import math

import numpy as np
import pytest

from sensibert.compress.rates import (
    TRIAL_STEPS,
    TRIED_FIRST,
    USUAL_RATE,
    carve,
    choose_rate,
    likely_best,
    short,
    trial_length,
    usual_rate,
)
from sensibert.config.settings import TrainingParams
from sensibert.data.tasks import TASKS
from sensibert.errors import DataError, DivergedError
from sensibert.results import WORST_METRIC, TriedRate

TRAINING = TrainingParams(epochs=3, batch_size=32, min_steps=300)


def examples(count, classes=2):
    return [{"input_ids": [row], "labels": row % classes, "idx": row} for row in range(count)]


def rows(part):
    return {example["idx"] for example in part}


def peaked_at(best):
    return lambda rate: 90 - 10 * abs(math.log2(rate / best))


def test_a_fifth_is_carved_of_every_class_alike():
    given = examples(600, classes=6)
    carved = carve(given, TASKS["sst2"], seed=0)
    assert len(carved.dev) == 120
    assert rows(carved.dev).isdisjoint(rows(carved.train))
    assert rows(carved.dev) | rows(carved.train) == rows(given)
    assert set(np.bincount([example["labels"] for example in carved.dev])) == {20}
    assert carve(given, TASKS["sst2"], seed=0) == carved
    assert carve(given, TASKS["sst2"], seed=1) != carved


@pytest.mark.parametrize("texts", [150, 20])
def test_a_text_is_on_one_side_only(texts):
    given = [example | {"input_ids": [example["idx"] % texts]} for example in examples(600)]
    carved = carve(given, TASKS["sst2"], seed=0)
    assert {example["input_ids"][0] for example in carved.dev}.isdisjoint(
        example["input_ids"][0] for example in carved.train
    )
    assert rows(carved.dev) | rows(carved.train) == rows(given)
    assert len(carved.dev) == 120


def test_of_two_texts_none_is_carved():
    given = [example | {"input_ids": [int(example["idx"] < 90)]} for example in examples(600)]
    assert carve(given, TASKS["sst2"], seed=0) is None or len(carve(given, TASKS["sst2"], seed=0).train) >= 120
    assert carve([example | {"input_ids": [1]} for example in given], TASKS["sst2"], seed=0) is None


def test_no_more_is_carved_than_judging_needs():
    assert len(carve(examples(60_000), TASKS["sst2"], seed=0).dev) == 500


def test_of_few_examples_none_are_carved():
    assert carve(examples(190), TASKS["sst2"], seed=0) is None


def test_real_numbers_are_carved_over_their_whole_range():
    given = [{"input_ids": [row], "labels": float(row), "idx": row} for row in range(1000)]
    dev = [example["labels"] for example in carve(given, TASKS["stsb"], seed=0).dev]
    assert np.histogram(dev, bins=5, range=(0, 1000))[0].tolist() == [40] * 5


@pytest.mark.parametrize(("count", "steps"), [(50, TRIAL_STEPS), (1_000, TRIAL_STEPS), (60_000, TRIAL_STEPS)])
def test_a_trial_is_short(count, steps):
    assert short(TRAINING, count).steps_for(count) == steps


def test_a_trial_is_no_longer_than_the_training():
    brief = TrainingParams(epochs=1, batch_size=32, min_steps=0)
    assert short(brief, 320).steps_for(320) == brief.steps_for(320) == 10


def test_the_usual_rate_falls_with_the_root_of_the_steps():
    assert usual_rate(TRIAL_STEPS) == USUAL_RATE
    assert usual_rate(4 * TRIAL_STEPS) == pytest.approx(USUAL_RATE / 2)


@pytest.mark.parametrize(("longest", "in_trials"), [(32, 32), (64, 64), (100, 64), (128, 64), (512, 256)])
def test_long_texts_are_cut_for_the_trials(longest, in_trials):
    assert trial_length(longest) == in_trials


@pytest.mark.parametrize("best", [USUAL_RATE / 4, USUAL_RATE, USUAL_RATE * 2])
def test_the_best_rate_of_the_trials_is_scaled_to_the_steps_of_the_training(best):
    carved = carve(examples(600), TASKS["sst2"], seed=0)
    chosen = choose_rate(TRAINING, 600, carved, peaked_at(best), TRIED_FIRST["dense"])
    assert chosen.learning_rate == pytest.approx(best * math.sqrt(TRIAL_STEPS / 300), rel=0.05)
    assert (chosen.steps, chosen.trial_steps, chosen.dev_examples) == (300, TRIAL_STEPS, 120)
    tried = [point.learning_rate for point in chosen.tried]
    assert tried == sorted(tried)
    assert tried[0] < best < tried[-1]


def test_a_model_that_was_cut_starts_with_higher_rates():
    carved = carve(examples(600), TASKS["sst2"], seed=0)
    chosen = choose_rate(TRAINING, 600, carved, peaked_at(USUAL_RATE), TRIED_FIRST["slim"])
    assert [point.learning_rate for point in chosen.tried] == [USUAL_RATE / 2, USUAL_RATE, USUAL_RATE * 2]


@pytest.mark.parametrize(
    ("metrics", "rows", "expected"),
    [
        ((70.0, 80.0, 70.0), 500, 2e-4),
        ((80.0, 80.0, 80.0), 500, 2e-4),
        ((77.0, 80.0, 77.0), 90, 2e-4),
        ((90.0, 60.0, 30.0), 500, 1e-4),
        ((WORST_METRIC, 60.0, 60.0), 90, 2e-4 * 2**0.5),
    ],
)
def test_what_so_many_rows_tell_apart_counts(metrics, rows, expected):
    assert likely_best(tried(metrics), rows) == pytest.approx(expected, rel=0.01)


def test_of_rates_that_few_rows_cannot_tell_apart_the_middle_is_taken_and_of_others_the_best():
    metrics = (57.8, 54.4, 54.4)
    rates = [likely_best(tried(metrics), rows) for rows in (90, 1_000, 100_000)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(2e-4, rel=0.1)
    assert rates[-1] == pytest.approx(1e-4)


def tried(metrics):
    return [TriedRate(rate, [metric]) for rate, metric in zip((1e-4, 2e-4, 4e-4), metrics, strict=True)]


def test_the_trials_end_though_the_best_is_at_the_edge():
    carved = carve(examples(600), TASKS["sst2"], seed=0)
    chosen = choose_rate(TRAINING, 600, carved, lambda rate: 300 + 20 * math.log2(rate), TRIED_FIRST["dense"])
    assert len(chosen.tried) == 5
    assert chosen.learning_rate == pytest.approx(4 * USUAL_RATE * math.sqrt(TRIAL_STEPS / 300), rel=0.05)


def test_a_rate_that_diverges_is_not_chosen():
    def dev_metric(rate):
        if rate > USUAL_RATE / 4:
            raise DivergedError("too fast")
        return 50.0

    carved = carve(examples(600), TASKS["sst2"], seed=0)
    chosen = choose_rate(TRAINING, 600, carved, dev_metric, TRIED_FIRST["dense"])
    assert chosen.learning_rate < USUAL_RATE / 4
    assert [point.mean for point in chosen.tried][-2:] == [WORST_METRIC] * 2


def test_rates_that_all_diverge_are_an_error():
    def dev_metric(rate):
        raise DivergedError("too fast")

    with pytest.raises(DataError, match="diverged"):
        choose_rate(TRAINING, 600, carve(examples(600), TASKS["sst2"], seed=0), dev_metric, TRIED_FIRST["dense"])


def test_without_rows_to_judge_by_the_usual_rate_is_taken():
    chosen = choose_rate(TRAINING, 100, None, lambda rate: pytest.fail("there is nothing to try"), TRIED_FIRST["slim"])
    assert chosen.learning_rate == pytest.approx(usual_rate(300), rel=0.05)
    assert chosen.tried == []

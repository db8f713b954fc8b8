"""The simple models that one would pick instead, and which of all to deploy."""

import numpy as np
import pytest

from sensibert.alternatives import words
from sensibert.alternatives.base import Given, compared, featured, linear_head
from sensibert.report.alternatives import choose, verdict
from sensibert.report.evidence import Alternative


def alternative(name, metric, latency, file_bytes=100, budget=None):
    return Alternative(name, budget, metric, metric - 2, metric + 2, latency, latency, file_bytes, 1.0, "torch")


def given(texts, labels):
    return Given(None, None, texts, labels, max_length=16, seed=0)


def test_words_are_enough_where_they_tell():
    texts = [f"{word} {row}" for row in range(20) for word in ("fine", "poor")]
    labels = np.array([0, 1] * 20)
    simple = words.fit(given(texts, labels))
    assert (simple.answer(["fine again", "poor again"]) == [0, 1]).all()
    assert simple.file_bytes > 100


def test_numbers_are_fitted_too():
    texts = [f"{'great ' * (row % 3)}film" for row in range(30)]
    answers = words.fit(given(texts, np.array([float(row % 3) for row in range(30)]))).answer(
        ["great great film", "film"]
    )
    assert answers[0] > answers[1]


def test_a_class_of_two_rows_is_no_obstacle():
    head = linear_head(np.array([0] * 10 + [1] * 2))
    head.fit(np.arange(12.0)[:, None], np.array([0] * 10 + [1] * 2))
    assert set(head.predict(np.arange(12.0)[:, None])) <= {0, 1}


def test_a_pair_is_where_its_texts_differ_and_agree():
    first, second = np.array([[1.0, 2.0]]), np.array([[3.0, 2.0]])
    assert compared(first, second).tolist() == [[2.0, 0.0, 3.0, 4.0]]
    lengths = featured(lambda texts: np.array([[float(len(text))] for text in texts]), [("a", "bcd")])
    assert lengths.tolist() == [[2.0, 3.0]]


def test_the_fastest_within_a_point_of_the_best_is_deployed():
    found = choose(
        [
            alternative("dense", 90.0, 0.010),
            alternative("slim", 89.2, 0.002, budget=0.4),
            alternative("words", 80.0, 0.0001),
            alternative("slow", 88.0, 0.011),
        ]
    )
    assert [one.is_chosen for one in found] == [False, True, False, False]
    assert [one.is_best for one in found] == [True, True, True, False]
    said = verdict(found, 600)
    assert said.startswith(
        "Deploy slim: 89.2, 0.8 points below the best (dense); it answers 5.0 times as fast as dense"
    )
    assert "not worth it" not in said


@pytest.mark.parametrize(("name", "said"), [("dense, INT8", "Pruning is not worth it"), ("words", "No tuned network")])
def test_the_verdict_may_be_against_pruning(name, said):
    found = choose(
        [
            alternative("dense", 90.0, 0.010),
            alternative("slim", 85.0, 0.001, budget=0.4),
            alternative(name, 90.0, 0.002),
        ]
    )
    assert said in verdict(found, 600)

"""The peak rate of a fine-tuning, found by short trials on rows that are carved from the training rows.

The best rate falls with the length of a training, about with the root of its optimizer steps (docs/recipe.md): so what
is best for a hundred steps says what is good for thousands, and a search costs little beside the training it is for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sensibert.config.settings import TrainingParams
from sensibert.data.encoding import Example, Examples, labels_of
from sensibert.data.tasks import Task
from sensibert.experiment.rates import search_rate
from sensibert.report.evidence import ChosenRate
from sensibert.results import TriedRate
from sensibert.sources.prepare import stratified_order

USUAL_RATE = 4e-4
"""The peak rate of a training of `TRIAL_STEPS` steps, if nothing can be tried."""
TRIED_FIRST = {"dense": (0.25, 0.5, 1.0), "slim": (0.5, 1.0, 2.0)}
"""The rates that trials of a model begin with, as parts of the usual one: a model that was cut has further to go."""
TRIAL_STEPS = 100
"""Optimizer steps of a trial."""
FURTHER_TRIALS = 2
"""Rates that are tried below or above those."""

_LEAST_TRIAL_LENGTH = 64

_DEV_FRACTION, _MOST_DEV, _LEAST_DEV = 0.2, 500, 40


@dataclass(frozen=True)
class Carved:
    """Training examples in two parts: those that trials train on, and those that judge them."""

    train: Examples
    dev: Examples


def carve(examples: Examples, task: Task, seed: int) -> Carved | None:
    """Set some training examples aside, of every class alike; None if too few texts are different to judge by some."""
    size = min(_MOST_DEV, round(_DEV_FRACTION * len(examples)))
    if size < _LEAST_DEV:
        return None
    labels = labels_of(examples)
    fifths = labels.argsort(kind="stable").argsort() * 5 // len(labels)
    order = stratified_order(fifths if task.is_regression else labels, seed)
    texts = [_ids(example) for example in examples]
    times, held, dev = Counter(texts), set[tuple[int, ...]](), 0
    for row in order:
        if dev >= size:
            break
        if texts[row] not in held:  # all that have this text go with it
            held.add(texts[row])
            dev += times[texts[row]]
    carved = Carved(
        [example for example, text in zip(examples, texts, strict=True) if text not in held],
        [example for example, text in zip(examples, texts, strict=True) if text in held],
    )
    return carved if len(carved.train) >= size else None


def _ids(example: Example) -> tuple[int, ...]:
    """What tells a text, or a pair, from others."""
    return (*example["input_ids"], *example.get("token_type_ids", ()))


def usual_rate(steps: int) -> float:
    """The peak rate that suits many trainings of so many optimizer steps."""
    return USUAL_RATE * math.sqrt(TRIAL_STEPS / steps)


def trial_length(max_length: int) -> int:
    """Where the texts of a trial are cut: long ones in the middle, since they cost most and hardly move the rate.

    On 4,000 reviews of IMDB, trials of 128 tokens say 1.8e-4 and those of 64 tokens 1.4e-4, in half the time.
    """
    return min(max_length, max(_LEAST_TRIAL_LENGTH, max_length // 2))


def short(training: TrainingParams, examples: int) -> TrainingParams:
    """The settings of a trial on so many examples: as the training itself, and shorter if that is longer."""
    return training.of_steps(min(TRIAL_STEPS, training.steps_for(examples)))


def choose_rate(
    training: TrainingParams,
    examples: int,
    carved: Carved | None,
    dev_metric: Callable[[float], float],
    tried_first: Sequence[float],
) -> ChosenRate:
    """The peak rate for a training on so many examples.

    Args:
        training: Its settings.
        examples: The number of its training examples.
        carved: What trials train on and are judged by; without it the usual rate is taken.
        dev_metric: Trains with the settings that `short` gives and a rate, and gives the metric on the dev examples;
            may raise a DivergedError.
        tried_first: Parts of the usual rate, each twice the one before.

    Raises:
        DataError: every rate diverged.
    """
    steps = training.steps_for(examples)
    if carved is None:
        return ChosenRate(_rounded(usual_rate(steps)), steps, 0, 0, [])
    trial_steps = short(training, len(carved.train)).steps_for(len(carved.train))
    usual = usual_rate(trial_steps)
    grid = [part * usual for part in tried_first]
    tried = search_rate(lambda rate, _: dev_metric(rate), grid, [0], further=FURTHER_TRIALS, at_edge="take").tried
    rate = _rounded(likely_best(tried, len(carved.dev)) * math.sqrt(trial_steps / steps))
    return ChosenRate(rate, steps, trial_steps, len(carved.dev), tried)


def likely_best(tried: Sequence[TriedRate], rows: int) -> float:
    """The mean of the rates that were tried, each as heavy as it is likely that chance alone puts it below the best.

    Few rows judge, and the best of rates that are nearly as good is chance. Where the curve is flat for what so many
    rows can tell, this is the middle of what was tried; where it is not, the rates around the best.

    Args:
        tried: The rates, and their metrics in percent.
        rows: How many judged. The difference of two models on n rows is uncertain by about 50/√n points.
    """
    noise = 50 / math.sqrt(rows)
    best = max(point.mean for point in tried)
    weights = [math.exp(-(((best - point.mean) / noise) ** 2) / 2) for point in tried]
    return math.exp(np.average([math.log(point.learning_rate) for point in tried], weights=weights))


def _rounded(rate: float) -> float:
    """A rate that people read: two digits are more than the trials can tell."""
    return float(f"{rate:.2g}")

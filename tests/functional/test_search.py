"""The search: every point once, going on after a kill, and the dev split alone decides."""

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict

from sensibert.config.method_settings import MethodParams
from sensibert.config.settings import ModelParams, SearchParams, TrainingParams
from sensibert.data.tasks import TASKS
from sensibert.errors import DataError, DivergedError
from sensibert.evaluation.evaluate import judge, predict
from sensibert.experiment import search as search_module
from sensibert.experiment.search import Search
from sensibert.models.backbones import load_model, load_tokenizer
from sensibert.models.subject import Subject
from sensibert.results import best_first
from sensibert.training.cell import Trained

TRAINING = TrainingParams(precision="fp32", min_steps=0)
GRID = SearchParams(batch_sizes=[8, 16], learning_rates=[1e-2, 1e-4], epochs=2, prune=False)
SMALL_GRID = SearchParams(batch_sizes=[16], learning_rates=[1e-2, 1e-4], epochs=1, prune=False)
POINTS = {(8, 1e-2), (8, 1e-4), (16, 1e-2), (16, 1e-4)}


def rows(count, offset=0):
    """Texts of four words, whose second one tells the label."""
    texts = [f"{'ab'[row % 2]}{'cdefg'[(row + offset) % 5]}" for row in range(count)]
    return Dataset.from_dict({"text": texts, "label": [row % 2 for row in range(count)], "idx": list(range(count))})


def searched(seed=0, train=None, dev=None, method="bitfit"):
    splits = DatasetDict(train=train or rows(32), dev=dev or rows(12, offset=2))
    subject = Subject(TASKS["sst2"], splits, ModelParams(backbone="tiny-bert", max_length=16))
    return Search(subject, method, MethodParams(learning_rate=1.0), seed)  # the search decides the rate


class Killed(BaseException):
    """What a user's Ctrl-C is like."""


@pytest.fixture
def killed_in(monkeypatch):
    """Make the fine-tuning of one trial die; counts the trainings that began."""
    real, begun = search_module.train_cell, []

    def arrange(number):
        def train_cell(*arguments, **how):
            begun.append((arguments[3].batch_size, how["options"].learning_rate))
            if len(begun) - 1 == number:
                raise Killed
            return real(*arguments, **how)

        monkeypatch.setattr(search_module, "train_cell", train_cell)
        return begun

    return arrange


def test_the_grid_is_tried_once_and_the_best_model_is_kept(tmp_path):
    trials, best = searched().run(GRID, TRAINING, tmp_path / "scratch")
    assert {(trial.batch_size, trial.learning_rate) for trial in trials} == POINTS
    assert len(trials) == 4
    assert all(trial.state == "complete" and len(trial.dev) == 2 for trial in trials)
    assert best_first(trials)[0].dev[-1] == max(trial.dev[-1] for trial in trials)
    judged = judge(load_model(best), searched().dev, load_tokenizer(best), TASKS["sst2"])
    assert judged == pytest.approx(best_first(trials)[0].dev[-1])


def test_a_killed_search_goes_on_and_repeats_no_finished_trial(tmp_path, killed_in):
    whole, _ = searched().run(GRID, TRAINING, tmp_path / "whole")
    begun = killed_in(2)
    with pytest.raises(Killed):
        searched().run(GRID, TRAINING, tmp_path / "killed")
    trials, _ = searched().run(GRID, TRAINING, tmp_path / "killed")
    assert len(begun) == 5  # two finished, one killed, that one again, the last one
    assert begun.count(begun[2]) == 2
    assert set(begun) == POINTS
    assert trials == whole


def test_the_trials_of_another_search_are_not_used(tmp_path, killed_in):
    searched().run(SMALL_GRID, TRAINING, tmp_path / "scratch")
    begun = killed_in(None)
    searched().run(SMALL_GRID, TRAINING, tmp_path / "scratch")
    assert begun == []
    searched(seed=1).run(SMALL_GRID, TRAINING, tmp_path / "scratch")
    assert len(begun) == 2
    searched(seed=1).run(SMALL_GRID, TRAINING, tmp_path / "scratch", resume=False)
    assert len(begun) == 4


def test_a_hopeless_trial_is_ended_early(tmp_path, monkeypatch):
    # The trials in the order of the queue; from the fifth on, those below the median of the first epochs end.
    settings = SearchParams(batch_sizes=[8], learning_rates=[1e-2, 2e-2, 3e-2, 4e-2, 1e-7, 5e-2], epochs=2)
    judged = iter([80.0, 90.0, 80.0, 90.0, 80.0, 90.0, 80.0, 90.0, 10.0, 85.0, 95.0])
    monkeypatch.setattr(search_module, "judge", lambda *_: next(judged))
    trials, _ = searched().run(settings, TRAINING, tmp_path / "scratch")
    assert [trial.state for trial in trials] == ["complete"] * 4 + ["pruned", "complete"]
    assert trials[4].dev == [10.0]
    assert best_first(trials)[0].learning_rate == 5e-2


def test_the_best_point_of_trials_on_a_sample_is_tuned_on_all_the_training_data(tmp_path, killed_in):
    settings = GRID.model_copy(update={"max_train": 16})
    begun = killed_in(4)
    with pytest.raises(Killed):
        searched().run(settings, TRAINING, tmp_path / "scratch")
    trials, folder = searched().run(settings, TRAINING, tmp_path / "scratch")
    best = best_first(trials)[0]
    assert set(begun[:4]) == POINTS
    assert begun[4:] == [(best.batch_size, best.learning_rate)] * 2  # killed, and once more
    assert not (tmp_path / "scratch" / "best").exists()  # no model of a sample is kept
    fixed = SearchParams(batch_sizes=[best.batch_size], learning_rates=[best.learning_rate], epochs=2, prune=False)
    _, on_all = searched().run(fixed, TRAINING, tmp_path / "on_all")
    expected, found = (load_model(path).state_dict() for path in (on_all, folder))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_trial_that_diverges_ends_and_the_search_goes_on(tmp_path, monkeypatch):
    diverged = iter([True, False, False])

    def judge(*_):
        if next(diverged):
            raise DivergedError("training diverged")
        return 50.0

    monkeypatch.setattr(search_module, "judge", judge)
    settings = GRID.model_copy(update={"learning_rates": [1e-3], "batch_sizes": [8, 16]})
    trials, _ = searched().run(settings, TRAINING, tmp_path / "scratch")
    assert [(trial.state, trial.dev) for trial in trials] == [("pruned", [-100.0]), ("complete", [50.0, 50.0])]


def test_a_search_whose_every_trial_diverges_names_the_rates(tmp_path, monkeypatch):
    def judge(*_):
        raise DivergedError("training diverged")

    monkeypatch.setattr(search_module, "judge", judge)
    with pytest.raises(DataError, match=r"search\.learning_rates"):
        searched().run(SMALL_GRID, TRAINING, tmp_path / "scratch")


def test_tpe_draws_as_many_trials_as_it_is_told_and_the_same_after_a_kill(tmp_path, killed_in):
    settings = SearchParams(
        batch_sizes=[8, 16, 32], learning_rates=[1e-2, 1e-3, 1e-4], epochs=1, sampler="tpe", trials=3, prune=False
    )
    whole, _ = searched().run(settings, TRAINING, tmp_path / "whole")
    killed_in(1)
    with pytest.raises(Killed):
        searched().run(settings, TRAINING, tmp_path / "killed")
    trials, _ = searched().run(settings, TRAINING, tmp_path / "killed")
    points = [[(t.batch_size, t.learning_rate) for t in found] for found in (whole, trials)]
    assert len(points[0]) == 3
    assert points[0] == points[1]


def test_tpe_tries_no_point_twice(tmp_path, monkeypatch):
    """Without a guard the estimator comes back to the best point: in 9 draws of 9 it visits about 6."""

    def train_cell(model, *_, epoch_callback, **how):
        epoch_callback.after_epoch(1, model)
        return Trained(model, None)

    monkeypatch.setattr(search_module, "train_cell", train_cell)
    monkeypatch.setattr(search_module, "judge", lambda *_: 50.0)
    settings = SearchParams(
        batch_sizes=[8, 16, 32], learning_rates=[1e-2, 1e-3, 1e-4], epochs=1, sampler="tpe", trials=9, prune=False
    )
    trials, _ = searched().run(settings, TRAINING, tmp_path / "scratch")
    assert len({(trial.batch_size, trial.learning_rate) for trial in trials}) == 9


def test_the_dev_split_is_judged_with_all_its_tokens(tmp_path, monkeypatch):
    """Training drops the embedding rows of tokens that no text has; those of the dev texts must stay."""
    texts = [chr(ord("A") + row) for row in range(20)]
    dev = Dataset.from_dict({"text": texts, "label": [row % 2 for row in range(20)], "idx": list(range(20))})
    search = searched(train=rows(16), dev=dev, method="full")
    of_train, of_dev = (
        {number for e in part for number in e["input_ids"]} for part in (search.subject.train, search.dev)
    )
    assert len(of_dev - of_train) > 10
    logits = []

    def judging(model, examples, tokenizer, task):
        logits.append(predict(model, examples, tokenizer))
        return judge(model, examples, tokenizer, task)

    monkeypatch.setattr(search_module, "judge", judging)
    settings = SearchParams(batch_sizes=[8], learning_rates=[1e-2], epochs=1)
    _, best = search.run(settings, TRAINING, tmp_path / "scratch")
    expected = predict(load_model(best), search.dev, search.subject.tokenizer)
    torch.testing.assert_close(torch.from_numpy(logits[0]), torch.from_numpy(expected))
    assert len(np.unique(logits[0].round(4), axis=0)) > 5

"""What runs hold and which models are chosen, without a store."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sensibert.config.grid import Cell
from sensibert.data.tasks import TASKS
from sensibert.experiment.tracking.aggregates import aggregate, interval
from sensibert.experiment.tracking.attachments import LISTED, prediction_table
from sensibert.experiment.tracking.contents import Content, Times, title_of
from sensibert.experiment.tracking.models import BEST, SMALLEST, aliases_of, choose
from sensibert.experiment.tracking.places import dvc_experiment, workspace


def content_of(method="sensitivity", budget=0.5, seed=0, primary=80.0, task="sst2", **more):
    cell = Cell(task, method, budget, seed)
    return Content(
        kind="cell",
        key=cell.name,
        title=f"{title_of(cell.point)} s{seed}",
        task=task,
        tags={"method": method, "seed": str(seed)},
        params={"seed": seed, "learning_rate": 1e-3},
        scores={"accuracy": primary, "primary": primary},
        measured={"finetune_seconds": 10.0 + seed},
        times=Times(1000 * (seed + 1), 10.0 + seed),
        hash=f"hash of {primary}",
        costs={"size_mb": 2.0},
        point=cell.point,
        cell=cell,
        **more,
    )


def test_one_run_sums_up_the_seeds():
    cells = [content_of(seed=seed, primary=80.0 + seed) for seed in (0, 1, 2)]
    mean, other = aggregate([*cells, content_of("magnitude")])
    low, high = stats.t.interval(0.95, 2, loc=81.0, scale=1 / math.sqrt(3))
    summary = {"": 81.0, "_std": 1.0, "_low": low, "_high": high}
    assert mean.scores == pytest.approx(
        {"seeds": 3, **{name + suffix: value for name in ("accuracy", "primary") for suffix, value in summary.items()}}
    )
    assert (mean.kind, mean.key, mean.title) == ("aggregate", "sst2-sensitivity-0.5", "sensitivity 0.5x")
    assert mean.tags == {"method": "sensitivity", "seeds": "0, 1, 2", "stage": "aggregate"}
    assert mean.params == {"learning_rate": 1e-3}
    assert (mean.measured, mean.costs) == ({"finetune_seconds": 11.0}, {"size_mb": 2.0})
    assert mean.times == Times(1000, 33.0)
    assert other.scores == {"seeds": 1, "accuracy": 80.0, "primary": 80.0}, "one seed has no spread"


def test_the_hash_of_a_mean_follows_from_those_of_its_cells():
    cells = [content_of(seed=seed) for seed in (0, 1)]
    hashes = {
        aggregate(given)[0].hash
        for given in (cells, cells[:1], cells[1:], [cells[0], replace(cells[1], hash="another")])
    }
    assert len(hashes) == 4
    assert aggregate(cells)[0].hash == aggregate([replace(cell, measured={}) for cell in cells])[0].hash


def test_metrics_that_only_some_seeds_have_are_means_of_these():
    cells = [
        replace(content_of(seed=seed), measured={"latency_ms": 4.0} if seed else {}, times=None) for seed in (0, 1)
    ]
    (mean,) = aggregate(cells)
    assert (mean.measured, mean.times) == ({"latency_ms": 4.0}, None)


@pytest.mark.parametrize("values", [[1.0, 2.0], [80.0, 81.5, 79.0, 80.2]])
def test_the_interval_is_that_of_student(values):
    expected = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert interval(values) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("method", "budget", "title"),
    [("sensitivity", 0.4, "sensitivity 0.4x"), ("lora", 0.0012, "lora 0.12%"), ("full", 1.0, "full")],
)
def test_titles(method, budget, title):
    assert title_of(Cell("sst2", method, budget, 0).point) == title


def chosen(*cells):
    return choose([*cells, *aggregate(cells)])


def test_the_model_of_a_budget_is_the_first_seed_of_the_best_mean():
    choices = chosen(
        *(content_of("sensitivity", 0.5, seed, primary) for seed, primary in ((1, 99.0), (0, 60.0))),
        *(content_of("magnitude", 0.5, seed, primary) for seed, primary in ((1, 81.0), (0, 80.0))),
        content_of("magnitude", 0.25, primary=70.0),
        content_of("kwon", 0.25, primary=70.0),
        content_of("random_in_shapes", 0.5, primary=100.0),
        content_of("full", 1.0, primary=100.0),
        content_of("lora", 0.5, primary=100.0),
    )
    assert [choice.cell for choice in choices] == [
        Cell("sst2", "magnitude", 0.5, 0),
        Cell("sst2", "magnitude", 0.25, 0),
    ]
    aliases = aliases_of(choices)
    assert (aliases[BEST].cell.budget, aliases[SMALLEST].cell.budget) == (0.5, 0.25)


def test_each_task_has_its_models_and_of_equal_ones_the_smaller_is_the_best():
    choices = chosen(content_of(budget=0.5), content_of(budget=0.25), content_of(budget=0.5, task="rte", primary=90.0))
    assert [(choice.cell.task, choice.cell.budget) for choice in choices] == [
        ("sst2", 0.5), ("sst2", 0.25), ("rte", 0.5)
    ]  # fmt: skip
    assert aliases_of(choices[:2])[BEST].cell.budget == 0.25


def test_the_table_of_predictions_is_bounded():
    rows = 3 * LISTED
    predictions = pd.DataFrame({"idx": range(rows, 0, -1), "label": [1.5] * rows, "prediction": [2.5] * rows})
    texts = pd.DataFrame({"text": [f"text {idx}" for idx in range(rows + 1)], "text_pair": "long " * 1000})
    table = prediction_table(predictions, texts, TASKS["stsb"])
    assert list(table) == ["idx", "text", "text_pair", "label", "prediction"]
    assert len(table) == LISTED
    assert (table["text"][0], len(table["text_pair"][0])) == (f"text {rows}", 300)
    assert list(prediction_table(predictions, None, TASKS["stsb"])) == ["idx", "label", "prediction"]


def test_a_work_tree_of_dvc_belongs_to_its_workspace(tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    for place in ("tmp1", "standalone/tmp1", "tmp1/sub"):
        tree = tmp_path / ".dvc" / "tmp" / "exps" / place
        assert workspace(tree) == tmp_path
        assert dvc_experiment(tree) == tree.name
    for place in (tmp_path, tmp_path / ".dvc", tmp_path / "exps" / "x"):
        assert workspace(place) == place
        assert dvc_experiment(place) is None

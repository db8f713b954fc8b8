"""What a page shows, without training: a compressed model with its evidence."""

import numpy as np
import pandas as pd

from sensibert.models.mask import MadeFor, Mask, MaskOrigin, ModuleKey, Shape, UnitCosts
from sensibert.report.evidence import Alternative, ChosenRate, Drop, Evidence
from sensibert.results import Cost, CurvePoint, History, Latency, Result, TriedRate
from sensibert.scoring.files import ScoreFile, ScoreOrigin

KEYS = [ModuleKey(layer, group) for layer in (0, 1) for group in ("attention", "feed_forward")]
SHAPES = {"attention": (3, 8), "feed_forward": (1, 20)}
COSTS = {key: 96 if key.group == "attention" else 48 for key in KEYS}
SETTINGS = {
    "model": {"backbone": "tiny-bert", "max_length": 32, "pooling": "auto"},
    "budget": 0.4,
    "budget_kind": "params",
    "criterion": "sensitivity",
    "method": "recipe",
    "training": {"epochs": 3.0, "batch_size": 8, "min_steps": 0},
    "ranking": {"rank_by": {}},
    "seed": 0,
    "trim_vocabulary": False,
    "any_origin": False,
}
PROVENANCE = {
    "seconds": 300.5,
    "finished": "2026-05-04T03:02:01.000+00:00",
    "git": {"revision": "0123456789abcdef", "dirty": True},
    "precision": "bf16",
    "python": "3.11.7",
    "packages": {"torch": "2.13.0", "onnx": None},
    "hardware": {"cores": 2, "cpu": "A processor", "gpu": None, "memory": 16e9, "torch_threads": 1},
}


def result(labels, *, share, **metrics):
    metric = "accuracy" if labels else "spearman"
    cost = Cost(
        trainable_parameters=1,
        stored_parameters=1,
        extra_passes=1.0,
        prunable_parameters=round(6000 * share),
        prunable_kept=share,
        encoder_parameters=round(6000 * share),
        total_parameters=round(20_000 * share),
        macs=round(90_000 * share),
        tokens=12,
        model_bytes=round(80_000_000 * share),
    )
    return Result("rows", "sensitivity", share, 0, {metric: 80.0, **metrics}, metric, 200, cost)


def alternative(name, metric, latency, size, **more):
    flags = {"is_best": False, "is_chosen": False, **more}
    return Alternative(name, None, metric, metric - 2, metric + 2, latency, 8 * latency, size, 3.0, "torch", **flags)


ALTERNATIVES = [
    alternative("dense", 90.0, 0.009, 110_000_000),
    alternative("slim 9", 88.0, 0.005, 60_000_000, is_best=True),
    alternative("slim 10", 87.5, 0.002, 16_000_000, is_best=True, is_chosen=True),
]


def evidence(labels=("bad", "good"), backbone="tiny-bert", task="rows", **changes):
    names = ("before", "after")
    content = {
        "recipe": {**SETTINGS, "model": {**SETTINGS["model"], "backbone": backbone}},
        "task": {"name": task, "labels": list(labels), "primary_metric": "accuracy" if labels else "spearman"},
        "data": {
            "task": task,
            "source": "files",
            "splits": {"train": {"read": 510, "kept": 500, "dropped": {"an empty text": 10}, "labels": {}}},
        },
        "before": result(labels, share=1.0),
        "after": result(labels, share=0.4),
        "mask": {},
        "vocabulary": None,
        "rates": {"slim": ChosenRate(2e-4, 40, 10, 50, [TriedRate(1e-4, [70.0]), TriedRate(2e-4, [75.0])])},
        "drop": Drop(1.25, 0.5, 2.0),
        "latency": [
            Latency(name, "torch", size, 12, seconds)
            for size in (1, 32)
            for name, seconds in zip(names, (0.01, 0.004), strict=True)
        ],
        "provenance": PROVENANCE,
        "alternatives": ALTERNATIVES,
    }
    return Evidence(**{**content, **changes})


def scores():
    numbers = np.random.default_rng(0)
    found = {key: numbers.lognormal(size=SHAPES[key.group]).astype(np.float32) for key in KEYS}
    grains = {key: Shape(1, 1) for key in KEYS}
    return ScoreFile(
        {"sensitivity": found}, COSTS, grains, {"macs": UnitCosts(COSTS, 10**6)}, ScoreOrigin(MadeFor(), 0, 12, 1, 1)
    )


def mask():
    """Two of three heads, half of each; five of the twenty inner dimensions."""
    attention = np.zeros((3, 8), dtype=bool)
    attention[:2, :4] = True
    inner = (np.arange(20) < 5)[None]
    keep = {key: attention if key.group == "attention" else inner for key in KEYS}
    return Mask(keep, COSTS, MaskOrigin(MadeFor(), "sensitivity", 0.4, 0, "params", {}, 1))


def answers(classes=2, rows=200):
    """Labels and predictions of a model that is right in four of five rows; of a regression for no classes."""
    numbers = np.random.default_rng(0)
    if not classes:
        true = numbers.uniform(0, 5, rows)
        return pd.DataFrame({"label": true, "prediction": true + numbers.normal(0, 0.5, rows)})
    label = np.arange(rows) % classes
    return pd.DataFrame(
        {"label": label, "prediction": np.where(np.arange(rows) % 5 == 0, (label + 1) % classes, label)}
    )


def history(steps=40):
    log = [CurvePoint(float(step), step / steps, 1 / step, 1e-4) for step in range(1, steps + 1)]
    return History(1, 1, 1.0, log, steps, {}, 12)

"""What each stage takes as rows, tokens, layers and budget grow, and the power law that fits.

    python -m benchmarks.growth

Texts are random tokens of one length, since it is time that is asked for. From a base point one quantity varies at a
time. `exponent` is the slope of the line through the logarithms: 1 doubles the seconds when the quantity doubles.
Encoding and evaluation are part of an epoch's cell; a process's start, some seconds, is not counted.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.common import BATCH_SIZE, SEED, Options, Row, magnitude_mask, run
from sensibert.compute.hardware import make_deterministic
from sensibert.config.method_settings import MethodParams
from sensibert.config.settings import ScoringParams, TrainingParams
from sensibert.data.encoding import Examples
from sensibert.evaluation.evaluate import predict
from sensibert.experiment.provenance import Timer
from sensibert.io import replacing
from sensibert.models.backbones import load_tokenizer
from sensibert.models.loading import load_pretrained
from sensibert.models.mask import Mask
from sensibert.scoring.scoring_pass import score
from sensibert.training.cell import train_cell


@dataclass(frozen=True)
class Point:
    """A size of the work."""

    rows: int
    tokens: int
    layers: int
    budget: float
    """Kept fraction of the slim model."""


@dataclass(frozen=True)
class Work:
    """What the stages of a point read."""

    point: Point
    backbone: str
    examples: Examples
    tokenizer: PreTrainedTokenizerBase

    def new_model(self) -> PreTrainedModel:
        """The backbone's shapes with random weights and as many layers as the point says."""
        make_deterministic(SEED)
        config = load_pretrained(AutoConfig, self.backbone, num_hidden_layers=self.point.layers)
        return AutoModelForSequenceClassification.from_config(config)


def options() -> Options:
    """The command line."""
    parser = Options("how the seconds of each stage grow with rows, tokens, layers and budget")
    parser.add_argument("--rows", type=int, nargs="+", default=[256, 512, 1024, 2048])
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 32, 64, 128, 256])
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 4, 6])
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.1, 0.2, 0.4, 0.8])
    return parser


def measure(chosen: argparse.Namespace) -> list[Row]:
    """One row for each stage and quantity; the picture beside the table shows the points."""
    base = Point(rows=512, tokens=32, layers=6, budget=0.4)
    values: dict[str, Sequence[float]] = {
        "rows": chosen.rows,
        "tokens": chosen.tokens,
        "layers": chosen.layers,
        "budget": chosen.budgets,
    }
    if chosen.quick:
        base, values = Point(64, 8, 1, 0.5), {"rows": (32, 64)}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for quantity, sizes in values.items():
        for size in sizes:
            point = replace(base, **{quantity: size})  # type: ignore[arg-type]
            for stage, seconds in _measured(point, chosen.backbone).items():
                found.setdefault((quantity, stage), []).append((size, seconds))
    _draw(found, chosen.out)
    return [_row(quantity, stage, points) for (quantity, stage), points in found.items()]


def _measured(point: Point, backbone: str) -> dict[str, float]:
    """Stage -> seconds."""
    tokenizer = load_tokenizer(backbone)
    draw = np.random.default_rng(SEED)
    ids = draw.integers(tokenizer.vocab_size // 2, tokenizer.vocab_size, (point.rows, point.tokens)).tolist()
    examples = [{"input_ids": row, "labels": number % 2, "idx": number} for number, row in enumerate(ids)]
    work = Work(point, backbone, examples, tokenizer)
    stages = {"score": _score, "tune, dense": _tune, "tune, slim": _tune_slim, "evaluate": _evaluate}
    return {name: _seconds(stage, work) for name, stage in stages.items()}


def _seconds(stage: Callable[[Work], None], work: Work) -> float:
    with Timer() as timer:
        stage(work)
    return timer.seconds


def _score(work: Work) -> None:
    given = work.new_model(), work.examples, work.tokenizer, ScoringParams(batch_size=BATCH_SIZE)
    list(score(*given, seed=SEED, precision="fp32"))


def _tune(work: Work) -> None:
    _tuned(work, work.new_model(), None)


def _tune_slim(work: Work) -> None:
    model = work.new_model()
    _tuned(work, model, magnitude_mask(work.point.budget, model))


def _tuned(work: Work, model: PreTrainedModel, mask: Mask | None) -> None:
    settings = TrainingParams(epochs=1, min_steps=0, batch_size=BATCH_SIZE, precision="fp32")
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints, options = Path(scratch) / "checkpoints", MethodParams(learning_rate=1e-5)
        given = model, work.examples, work.tokenizer, settings
        train_cell(*given, options=options, mask=mask, seed=SEED, checkpoints=checkpoints)


def _evaluate(work: Work) -> None:
    predict(work.new_model(), work.examples, work.tokenizer)


def _row(quantity: str, stage: str, points: list[tuple[float, float]]) -> Row:
    sizes, seconds = np.array(points).T
    exponent, _ = np.polyfit(np.log(sizes), np.log(seconds), 1)
    line, start = np.polyfit(sizes, seconds, 1)
    residual = seconds - (line * sizes + start)
    return {
        "stage": stage,
        "quantity": quantity,
        "from": f"{sizes[0]:g} to {sizes[-1]:g}",
        "seconds": f"{seconds[0]:.2f} to {seconds[-1]:.2f}",
        "exponent": float(exponent),
        "seconds at 0 (line)": float(start),
        "seconds for each (line)": float(line),
        "line misses by, %": float(100 * np.abs(residual / seconds).max()),
    }


def _draw(found: dict[tuple[str, str], list[tuple[float, float]]], folder: Path) -> None:
    quantities = list(dict.fromkeys(quantity for quantity, _ in found))
    figure, axes = plt.subplots(1, len(quantities), figsize=(3.2 * len(quantities), 3), squeeze=False, sharey=True)
    for axis, quantity in zip(axes[0], quantities, strict=True):
        lines = {stage: points for (of, stage), points in found.items() if of == quantity}
        for stage, points in lines.items():
            axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=stage)
        sizes = sorted({size for points in lines.values() for size, _ in points})
        axis.set(xscale="log", yscale="log", xlabel=quantity)
        axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axis.minorticks_off()
    axes[0][0].set_ylabel("seconds")
    axes[0][0].legend(fontsize="small")
    figure.tight_layout()
    with replacing(folder / "growth.svg") as beside:
        figure.savefig(beside, format="svg", metadata={"Date": None})
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    run("growth", options(), measure, arguments)


if __name__ == "__main__":
    main()

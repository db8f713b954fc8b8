"""An epoch of fine-tuning on SST-2, against a plain padded loop.

    python -m benchmarks.epoch

The plain loop is the stock Trainer with the settings of the `run_glue` example of Transformers: texts padded to 128
tokens, batches of 32 in random order, the default optimizer, fp32. `fine_tune` gets the same learning rate. The slim
model's mask comes from a scoring pass over the same sentences; a row shows its time together with the fine-tuning.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from datasets import DatasetDict
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

from benchmarks.common import BATCH_SIZE, MAX_LENGTH, SEED, Options, Row, load_data, new_model, run
from sensibert.budgets import mask_for
from sensibert.encoding import Example, encode
from sensibert.evaluation import predict, prediction_of
from sensibert.hardware import best_device, make_deterministic, resolve_precision
from sensibert.importance.scoring import score_task
from sensibert.metrics import compute_metrics
from sensibert.models.backbones import load_tokenizer
from sensibert.models.slim import slim
from sensibert.params import MethodParams, ModelParams, Precision, ScoringParams, TrainingParams
from sensibert.provenance import Timer
from sensibert.tasks import Task
from sensibert.training import fine_tune

PLAIN = "plain padded loop"


def options() -> Options:
    """The command line."""
    parser = Options("fine-tune for an epoch: a plain padded loop, fine_tune on the dense and on the slim model")
    parser.add_data()
    parser.add_argument("--sentences", type=int, default=4000, help="training sentences (stratified sample)")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=2e-4, help="of all of them")
    parser.add_argument("--budget", type=float, default=0.4, help="kept fraction of the slim model")
    parser.add_argument("--precisions", nargs="+", choices=["auto", "fp32", "bf16"], default=["fp32", "auto"])
    return parser


def measure(chosen: argparse.Namespace) -> list[Row]:
    """Train each model once, one after the other, and evaluate it."""
    task, dataset = load_data(chosen.data, 64 if chosen.quick else chosen.sentences)
    bench = _Bench(chosen, task, dataset)
    precisions = list(dict.fromkeys(resolve_precision(wish, best_device()) for wish in chosen.precisions))
    # First, since `fine_tune` changes how the whole process allocates memory.
    bench.add(PLAIN, "fp32", bench.new_model(), bench.train_plainly)
    for precision in precisions:
        bench.add("fine_tune, dense", precision, bench.new_model(), bench.fine_tuning(precision))
    for precision in precisions:
        bench.add_slim(precision)
    return bench.rows


class _Bench:
    """The rows so far, and what every training shares."""

    def __init__(self, chosen: argparse.Namespace, task: Task, dataset: DatasetDict) -> None:
        self.chosen, self.task, self.dataset = chosen, task, dataset
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(chosen.backbone)
        self.train = encode(dataset["train"], self.tokenizer, MAX_LENGTH)
        self.rows: list[Row] = []

    def new_model(self) -> PreTrainedModel:
        return new_model(self.chosen.backbone, self.task).to(best_device())  # type: ignore[arg-type]

    def add(self, name: str, precision: str, model: PreTrainedModel, train: Callable[[PreTrainedModel], None]) -> None:
        """Train a model, evaluate it and put down both."""
        make_deterministic(SEED)
        with Timer() as timer:
            train(model)
        self._put_down(name, precision, timer.seconds, self._metric(model))

    def add_slim(self, precision: Precision) -> None:
        """The same for the slim model, without and with the time of its scoring pass."""
        settings = ModelParams(backbone=self.chosen.backbone, max_length=MAX_LENGTH), ScoringParams(), SEED, precision
        name = f"fine_tune, slim {self.chosen.budget}"
        with Timer() as timer:
            *_, scores = score_task(self.dataset["train"], self.task, *settings)
        small = slim(self.new_model(), mask_for(scores, "sensitivity", self.chosen.budget))
        self.add(name, precision, small, self.fine_tuning(precision))
        last = self.rows[-1]
        self._put_down(
            f"scoring and {name}", precision, timer.seconds + last["seconds"], last[self.task.primary_metric]
        )

    def fine_tuning(self, precision: Precision) -> Callable[[PreTrainedModel], None]:
        settings = TrainingParams(
            epochs=self.chosen.epochs,
            batch_size=BATCH_SIZE,
            precision=precision,
            warmup_fraction=0.0,  # the plain loop has no warm-up either, and in so few steps it would cost accuracy
        )

        def train(model: PreTrainedModel) -> None:
            with tempfile.TemporaryDirectory() as scratch:
                fine_tune(
                    model,
                    self.train,
                    self.tokenizer,
                    settings,
                    method="full",
                    options=MethodParams(learning_rate=self.chosen.learning_rate),
                    seed=SEED,
                    checkpoints=Path(scratch) / "checkpoints",
                )

        return train

    def train_plainly(self, model: PreTrainedModel) -> None:
        padded = [self._padded(example) for example in self.train]
        with tempfile.TemporaryDirectory() as scratch:
            arguments = TrainingArguments(
                output_dir=scratch,
                num_train_epochs=self.chosen.epochs,
                per_device_train_batch_size=BATCH_SIZE,
                learning_rate=self.chosen.learning_rate,
                seed=SEED,
                use_cpu=best_device().type == "cpu",
                save_strategy="no",
                report_to="none",
                disable_tqdm=False,
            )
            trainer = Trainer(model, arguments, default_data_collator, padded)  # type: ignore[arg-type]
            trainer.train()

    def _padded(self, example: Example) -> Example:
        padded = self.tokenizer.pad(
            {name: values for name, values in example.items() if name != "labels"}
            | {"attention_mask": [1] * len(example["input_ids"])},
            padding="max_length",
            max_length=MAX_LENGTH,
        )
        return {**padded, "labels": example["labels"]}

    def _metric(self, model: PreTrainedModel) -> float:
        validation = self.dataset[self.task.validation_splits[0]]
        logits = predict(model, encode(validation, self.tokenizer, MAX_LENGTH), self.tokenizer)
        metrics = compute_metrics(self.task, prediction_of(self.task, logits), np.asarray(validation["label"]))
        return metrics[self.task.primary_metric]

    def _put_down(self, name: str, precision: str, seconds: float, metric: float) -> None:
        plain = self.rows[0]["seconds"] if self.rows else seconds
        self.rows.append(
            {
                "run": name,
                "precision": precision,
                "seconds": seconds,
                "sentences/s": self.chosen.epochs * len(self.train) / seconds,
                self.task.primary_metric: metric,
                "times as fast as plain": plain / seconds,
            }
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    run("epoch", options(), measure, arguments)


if __name__ == "__main__":
    main()

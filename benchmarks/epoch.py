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
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel, Trainer, TrainingArguments, default_data_collator

from benchmarks.common import BATCH_SIZE, MAX_LENGTH, SEED, Options, Row, load_subject, run
from sensibert.compute.hardware import best_device, make_deterministic, resolve_precision
from sensibert.config.method_settings import MethodParams
from sensibert.config.settings import Precision, ScoringParams, TrainingParams
from sensibert.data.encoding import Example
from sensibert.evaluation.evaluate import judge
from sensibert.experiment.provenance import Timer
from sensibert.models.mask import Mask
from sensibert.models.subject import Subject
from sensibert.scoring.budgets import mask_for
from sensibert.scoring.scoring_pass import score
from sensibert.training.cell import train_cell

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
    bench = _Bench(chosen, load_subject(chosen.data, chosen.backbone, 64 if chosen.quick else chosen.sentences))
    precisions = list(dict.fromkeys(resolve_precision(wish, best_device()) for wish in chosen.precisions))
    # First, since `fine_tune` changes how the whole process allocates memory.
    bench.add(PLAIN, "fp32", bench.train_plainly)
    for precision in precisions:
        bench.add("fine_tune, dense", precision, partial(bench.fine_tune, precision))
    for precision in precisions:
        bench.add_slim(precision)
    return bench.rows


class _Bench:
    """The rows so far, and what every training shares."""

    def __init__(self, chosen: argparse.Namespace, subject: Subject) -> None:
        self.chosen, self.subject = chosen, subject
        self.rows: list[Row] = []
        _ = subject.train  # tokenized before the clock runs

    def add(self, name: str, precision: str, train: Callable[[PreTrainedModel], PreTrainedModel]) -> None:
        """Train a model, evaluate it and record both."""
        subject, model = self.subject, self.subject.new_model(SEED)
        make_deterministic(SEED)
        with Timer() as timer:
            model = train(model)
        validation = subject.examples(subject.task.validation_splits[0])
        self._put_down(name, precision, timer.seconds, judge(model, validation, subject.tokenizer, subject.task))

    def add_slim(self, precision: Precision) -> None:
        """The same for the slim model, without and with the time of its scoring pass."""
        subject, name = self.subject, f"fine_tune, slim {self.chosen.budget}"
        with Timer() as timer:
            given = subject.new_model(SEED), subject.train, subject.tokenizer, ScoringParams()
            *_, scores = score(*given, seed=SEED, precision=precision)
        mask = mask_for(scores, "sensitivity", self.chosen.budget)
        self.add(name, precision, partial(self.fine_tune, precision, mask=mask))
        last = self.rows[-1]
        self._put_down(
            f"scoring and {name}", precision, timer.seconds + last["seconds"], last[subject.task.primary_metric]
        )

    def fine_tune(self, precision: Precision, model: PreTrainedModel, mask: Mask | None = None) -> PreTrainedModel:
        """Fine-tune a model as a cell of the grid."""
        settings = TrainingParams(
            epochs=self.chosen.epochs,
            min_steps=0,
            batch_size=BATCH_SIZE,
            precision=precision,
            warmup_fraction=0.0,  # the plain loop has no warm-up either, and in so few steps it would cost accuracy
        )
        with tempfile.TemporaryDirectory() as scratch:
            trained = train_cell(
                model,
                self.subject.train,
                self.subject.tokenizer,
                settings,
                options=MethodParams(learning_rate=self.chosen.learning_rate),
                mask=mask,
                seed=SEED,
                checkpoints=Path(scratch) / "checkpoints",
            )
        return trained.model

    def train_plainly(self, model: PreTrainedModel) -> PreTrainedModel:
        """Fine-tune a model with the stock Trainer."""
        padded = [self._padded(example) for example in self.subject.train]
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
        return model

    def _padded(self, example: Example) -> Example:
        padded = self.subject.tokenizer.pad(
            {name: values for name, values in example.items() if name not in ("labels", "idx")}
            | {"attention_mask": [1] * len(example["input_ids"])},
            padding="max_length",
            max_length=MAX_LENGTH,
        )
        return {**padded, "labels": example["labels"]}

    def _put_down(self, name: str, precision: str, seconds: float, metric: float) -> None:
        plain = self.rows[0]["seconds"] if self.rows else seconds
        self.rows.append(
            {
                "run": name,
                "precision": precision,
                "seconds": seconds,
                "sentences/s": self.chosen.epochs * len(self.subject.train) / seconds,
                self.subject.task.primary_metric: metric,
                "times as fast as plain": plain / seconds,
            }
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    run("epoch", options(), measure, arguments)


if __name__ == "__main__":
    main()

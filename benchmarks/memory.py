"""How much memory the stages take as the training data grow.

    python -m benchmarks.memory --rows 10000 100000 1000000

Each stage runs in a process of its own, on generated rows of twelve words with the tiny backbone. What is measured is
the most memory that belongs to the process alone: pages of a mapped file do not count, since the system takes them back
when it needs them. `score`, `tune` and `evaluate` end after 200 steps: what they need is there by then, and a step does
not know of the rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import BATCH_SIZE, SEED, Options, Row, run
from sensibert.config.method_settings import MethodParams
from sensibert.config.settings import DataParams, ModelParams, ScoringParams, TrainingParams
from sensibert.data.task_files import load_task, save_task
from sensibert.data.tasks import TASKS
from sensibert.evaluation.evaluate import predict
from sensibert.experiment.provenance import Timer
from sensibert.models.loading import TINY
from sensibert.models.subject import Subject
from sensibert.scoring.scoring_pass import score
from sensibert.sources.prepare import prepare
from sensibert.training.cell import train_cell

TASK = TASKS["cola"]
_STEPS = 200
_PART = 100_000
_VALIDATION = 1_000


def options() -> Options:
    """The command line."""
    parser = Options("the memory of download, score, tune and evaluate as the rows grow", with_backbone=False)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    return parser


def measure(chosen: argparse.Namespace) -> list[Row]:
    """One row for each stage, a column for each number of rows."""
    numbers = [2_000] if chosen.quick else chosen.rows
    rows: dict[str, Row] = {stage: {"stage": stage} for stage in chosen.stages}
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            write_rows(Path(folder), number)
            for stage in STAGES:  # also what is not asked for: it makes what the others read
                command = [sys.executable, "-m", "benchmarks.memory", "--child", stage, folder]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found = json.loads(done.stdout.splitlines()[-1])
                if stage in rows:
                    rows[stage] |= {f"{number:,} rows, MB": found["megabytes"], f"{number:,} rows, s": found["seconds"]}
    return list(rows.values())


def write_rows(folder: Path, number: int) -> None:
    """Write a source of two classes whose rows are all different, part by part."""
    (folder / TASK.name).mkdir()
    draw, words = np.random.default_rng(SEED), np.array([f"{a}{b}" for a in "bcdfghklmn" for b in "aeiou"])
    for split, rows in (("train", number), ("validation", _VALIDATION)):
        schema = pa.schema({"sentence": pa.string(), "label": pa.int64(), "idx": pa.int64()})
        with pq.ParquetWriter(folder / TASK.name / f"{split}.parquet", schema) as writer:
            for start in range(0, rows, _PART):
                size = min(_PART, rows - start)
                texts = [" ".join(of_row) for of_row in draw.choice(words, (size, 12))]
                columns = {"sentence": texts, "label": np.arange(size) % 2, "idx": np.arange(start, start + size)}
                writer.write_table(pa.table(columns, schema))


def download(folder: Path) -> None:
    """Normalize, and write as the pipeline does."""
    dataset, audit = prepare(TASK, DataParams(source="local", directory=folder))
    save_task(dataset, audit, folder / "raw")


def encode(folder: Path) -> None:
    """Read and tokenize."""
    _ = _subject(folder).train


def score_some(folder: Path) -> None:
    """Tokenize, and score for some steps."""
    subject = _subject(folder)
    model = _ending(subject.new_model(SEED))
    subject.made_for(model)
    list(score(model, subject.train, subject.tokenizer, ScoringParams(batch_size=BATCH_SIZE), seed=SEED))


def tune_some(folder: Path) -> None:
    """Tokenize, and fine-tune for some steps."""
    subject = _subject(folder)
    given = _ending(subject.new_model(SEED)), subject.train, subject.tokenizer, TrainingParams(batch_size=BATCH_SIZE)
    train_cell(*given, options=MethodParams(learning_rate=1e-4), seed=SEED, checkpoints=folder / "checkpoints")


def evaluate(folder: Path) -> None:
    """Answer the training rows: a large split to evaluate."""
    subject = _subject(folder)
    predict(_ending(subject.new_model(SEED)), subject.train, subject.tokenizer, with_bar=False)


STAGES: dict[str, Callable[[Path], None]] = {
    "download": download,
    "encode": encode,
    "score": score_some,
    "tune": tune_some,
    "evaluate": evaluate,
}


class _EndedEarly(Exception):  # noqa: N818 (it is no error)
    """It was long enough."""


def _ending(model: Any) -> Any:
    left = iter(range(_STEPS))

    def end(*_: object) -> None:
        if next(left, None) is None:
            raise _EndedEarly

    model.register_forward_hook(end)
    return model


def _subject(folder: Path) -> Subject:
    return Subject(TASK, load_task(folder / "raw"), ModelParams(backbone=TINY, max_length=32))


def child(stage: str, folder: Path) -> None:
    """Run a stage and print its peak of memory and its seconds as JSON."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        process = psutil.Process()
        while not ended.wait(0.02):
            memory = process.memory_info()
            peak[0] = max(peak[0], memory.rss - memory.shared)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    with Timer() as timer, suppress(_EndedEarly):
        STAGES[stage](folder)
    ended.set()
    watcher.join()
    print(json.dumps({"megabytes": round(peak[0] / 1e6), "seconds": round(timer.seconds, 1)}))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    run("memory", options(), measure, arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]))
    else:
        main()

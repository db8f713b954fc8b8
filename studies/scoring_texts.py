"""How many texts must the scoring pass see? Masks of samples beside the mask of all texts and that of another seed.

    python -m studies.scoring_texts [--glue ../shared/glue]

On 4,000 sentences and phrases of SST-2 with eight words and more. Prints the table of docs/importance.md.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from tabulate import tabulate

from sensibert.config.settings import ModelParams, ScoringParams
from sensibert.models.subject import Subject
from sensibert.scoring.budgets import mask_for
from sensibert.scoring.files import ScoreFile
from sensibert.scoring.scoring_pass import score_subject
from sensibert.sources.files import read_task

SIZES = (128, 256, 512, 1024, 2048)
BUDGETS = (0.4, 0.2)
ROWS, LEAST_WORDS = 5000, 8  # a fifth of the rows judges elsewhere


def subject_of(glue: Path) -> Subject:
    """The sentences and the backbone."""
    rows = pd.read_parquet(glue / "sst2" / "train.parquet")
    long = rows[rows["sentence"].str.split().str.len() >= LEAST_WORDS].sample(ROWS, random_state=0)
    long["label"] = long["label"].map({0: "neg", 1: "pos"})
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "sentences.csv")
        long[["sentence", "label"]].to_csv(file, index=False)
        task, dataset, _ = read_task(str(file), text="sentence", label="label")
    return Subject(task, dataset, ModelParams(backbone="minilm-l6"))


def kept(scores: ScoreFile, budget: float) -> np.ndarray:
    """Which dimensions stay, all modules in a row."""
    return np.concatenate([keep.ravel() for keep in mask_for(scores, "sensitivity", budget).keep.values()])


def main() -> None:
    """Score, cut and compare."""
    parser = argparse.ArgumentParser(description="how many texts must the scoring pass see?")
    parser.add_argument("--glue", type=Path, default=Path("../shared/glue"), help="folder with sst2/train.parquet")
    subject = subject_of(parser.parse_args().glue)

    def scored(seed: int, size: int | None) -> tuple[ScoreFile, float]:
        start = perf_counter()
        *_, scores = score_subject(subject, ScoringParams(max_samples=size), seed=seed, criteria=["sensitivity"])
        return scores, perf_counter() - start

    everything, _ = scored(0, None)
    rows = []
    for size, seed in [*((size, seed) for size in SIZES for seed in (0, 1)), (None, 1)]:
        scores, seconds = scored(seed, size)
        shared = [100 * (kept(scores, b) & kept(everything, b)).sum() / kept(everything, b).sum() for b in BUDGETS]
        rows.append([size or len(subject.train), seed, *shared, seconds])
    headers = ["texts", "seed", *(f"shared at {budget}x (%)" for budget in BUDGETS), "seconds"]
    print(tabulate(rows, headers=headers, tablefmt="github", floatfmt=".1f"))


if __name__ == "__main__":
    main()

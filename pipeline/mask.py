"""Cut the scores of one criterion at one budget: a mask."""

from __future__ import annotations

import argparse

from pipeline.stage import cell_of, run
from sensibert.artifacts import Paths, read_scores, write_mask
from sensibert.budgets import mask_for
from sensibert.importance import DATA_FREE
from sensibert.params import Params


def mask(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/masks/CELL.safetensors."""
    cell = cell_of(arguments, params)
    scores = read_scores(paths.scores(cell.task, cell.seed))
    passes = 0 if cell.method in DATA_FREE else scores.about["passes"]
    made = mask_for(
        scores,
        cell.method,
        cell.budget,
        params.masking.budget_kind,
        about=cell._asdict() | {"scoring_passes": passes},
        **params.masking.options(cell.method),
    )
    write_mask(paths.mask(cell), made)
    print(
        f"{cell.name}: keeps {made.kept_cost:,} of {made.dense_cost:,} prunable parameters ({made.kept_fraction:.5f})"
    )


if __name__ == "__main__":
    run(mask, "task", "method", "budget", "seed")

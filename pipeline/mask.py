"""Cut the scores of one criterion at one budget: a mask."""

from __future__ import annotations

import argparse

from pipeline.stage import cell_of, run
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.models.mask import write_mask
from sensibert.scoring.budgets import mask_for
from sensibert.scoring.files import read_scores


def mask(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/masks/CELL.safetensors."""
    cell = cell_of(arguments, params)
    scores, options = read_scores(paths.scores(cell.task, cell.seed)), params.masking.options(cell.method)
    made = mask_for(scores, cell.method, cell.budget, params.masking.budget_kind, **options)
    write_mask(paths.mask(cell), made)
    print(
        f"{cell.name}: keeps {made.kept_cost:,} of {made.dense_cost:,} prunable parameters ({made.kept_fraction:.5f})"
    )


if __name__ == "__main__":
    run(mask, "task", "method", "budget", "seed")

"""What the page of a profile shows: the tables that stand in its folder, and files of single models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from sensibert.analysis.stability import jaccard, random_jaccard
from sensibert.config.grid import Cell, Point
from sensibert.config.methods import METHODS
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.config.settings import BudgetKind
from sensibert.errors import ArtifactError
from sensibert.io import how_to_mend, read_json, read_record
from sensibert.models.mask import Mask, Modules
from sensibert.report.comparison import REFERENCE_TUNING, TEST_COLUMNS
from sensibert.report.gather import gather_deployed, gather_masks, require
from sensibert.report.trials import SIMPLE_COLUMNS
from sensibert.results import Deployed, History

OVERLAP_COLUMNS = ("task", "method", "budget", "mean", "min", "random", "pairs")
"""Columns of the table of overlaps: the dimensions that two masks share, as a part of those that either keeps, over the
pairs of seeds; `random` is what masks would share that keep as many dimensions of each module by chance."""


@dataclass(frozen=True)
class ProfileData:
    """What the page of a profile shows."""

    profile: str
    backbone: str
    budget_kind: BudgetKind
    """What a budget of a pruning method is a fraction of."""
    table: pd.DataFrame
    """The comparison (`comparison.COLUMNS`)."""
    tests: pd.DataFrame
    """Of its differences (`comparison.TEST_COLUMNS`)."""
    curve: pd.DataFrame
    """The primary metric of every cell (`plots.CURVE_COLUMNS`)."""
    kept: pd.DataFrame
    """What each layer and group keeps (`heat_maps.KEPT_COLUMNS`)."""
    overlaps: pd.DataFrame
    """What the masks of different seeds share (`OVERLAP_COLUMNS`)."""
    provenance: Mapping[str, Any]
    simple: pd.DataFrame
    """The simple models (`trials.SIMPLE_COLUMNS`)."""
    deployed: Sequence[Deployed]
    histories: Mapping[Cell, History]
    predictions: Mapping[Cell, pd.DataFrame]
    """Of each task the dense model and the best of the small ones."""


def read_profile(paths: Paths, params: Params) -> ProfileData:
    """Read what the page shows.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    table = _table(paths, "table")
    return ProfileData(
        profile=params.profile,
        backbone=params.model.backbone,
        budget_kind=params.masking.budget_kind,
        table=table,
        tests=_table_if_any(paths, "significance", TEST_COLUMNS),
        curve=_table(paths, "budget_curve"),
        kept=_table(paths, "kept_dimensions"),
        overlaps=overlap_table(gather_masks(paths, params)),
        provenance=read_json(paths.reports / "provenance.json"),
        simple=_table_if_any(paths, "simple_models", SIMPLE_COLUMNS),
        deployed=gather_deployed(paths, params),
        histories=_histories(paths, params),
        predictions=_predictions(paths, params, table),
    )


def overlap_table(masks: Mapping[Cell, Mask]) -> pd.DataFrame:
    """How much the masks of the same method, but of different seeds, have in common (`OVERLAP_COLUMNS`)."""
    of_point: dict[Point, list[Modules]] = {}
    for cell, mask in masks.items():
        of_point.setdefault(cell.point, []).append(mask.keep)
    rows = []
    for point, kept in of_point.items():
        pairs = list(combinations(kept, 2))
        if pairs:
            found = [jaccard(*pair) for pair in pairs]
            chance = float(np.mean([random_jaccard(*pair) for pair in pairs]))
            rows.append((*point, float(np.mean(found)), min(found), chance, len(pairs)))
    return pd.DataFrame(rows, columns=list(OVERLAP_COLUMNS))


def best_of(rows: pd.DataFrame) -> pd.Series | None:
    """The row of a comparison to show first: the best of those that prune to the smallest budget.

    Where nothing is pruned, the best of those that tune in another way than in full.
    """
    kinds = rows["method"].map(lambda method: METHODS[method].budget)
    candidates = rows[kinds == "kept"]
    if candidates.empty:
        candidates = rows[rows["method"] != REFERENCE_TUNING]
    else:
        candidates = candidates[candidates["budget"] == candidates["budget"].min()]
    return None if candidates.empty else candidates.iloc[int(candidates["mean"].argmax())]


def reference_of(rows: pd.DataFrame) -> pd.Series | None:
    """The row of the dense model that was tuned in full."""
    found = rows[rows["method"] == REFERENCE_TUNING]
    return None if found.empty else found.iloc[0]


def _table(paths: Paths, name: str) -> pd.DataFrame:
    path = paths.reports / f"{name}.csv"
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' errors are subclasses of these
        raise ArtifactError(f"{path} is no table ({error}){how_to_mend(path)}") from None


def _table_if_any(paths: Paths, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """One that is not written where it would be empty (`formats.write_csv`)."""
    if (paths.reports / f"{name}.csv").exists():
        return _table(paths, name)
    return pd.DataFrame(columns=list(columns))


def _histories(paths: Paths, params: Params) -> dict[Cell, History]:
    files = {cell: paths.history(cell) for cell in params.cells()}
    require("training curve", ((cell.name, path) for cell, path in files.items()))
    return {cell: read_record(path, History) for cell, path in files.items()}


def _predictions(paths: Paths, params: Params, table: pd.DataFrame) -> dict[Cell, pd.DataFrame]:
    """Of the first seed."""
    cells = []
    for task, rows in table.groupby("task", sort=False):
        shown = [row for row in (reference_of(rows), best_of(rows)) if row is not None]
        cells += [Cell(str(task), row["method"], float(row["budget"]), params.seeds[0]) for row in shown]
    files = {cell: paths.predictions(cell) for cell in cells}
    require("predictions", ((cell.name, path) for cell, path in files.items()))
    return {cell: pd.read_parquet(path, columns=["label", "prediction"]) for cell, path in files.items()}

"""Gather the grid: the comparison tables and the plots."""

from __future__ import annotations

import argparse

from pipeline.stage import run
from sensibert.artifacts import Paths, write_json
from sensibert.params import Params
from sensibert.report.comparison import comparison_table, significance_table
from sensibert.report.gather import (
    gather,
    gather_correct,
    gather_deployed,
    gather_efforts,
    gather_masks,
    gather_provenance,
    gather_searches,
    gather_transfers,
)
from sensibert.report.plots import write_budget_curve, write_kept_dimensions
from sensibert.report.tables import write_significance, write_tables
from sensibert.report.trials import write_searches, write_transfers


def compare(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write the tables and plots of reports/PROFILE."""
    results = gather(paths, params)
    table = comparison_table(results, gather_efforts(paths, params), gather_deployed(paths, params))
    write_tables(table, paths.reports)
    write_significance(significance_table(results, gather_correct(paths, params)), paths.reports)
    write_searches(gather_searches(paths, params), paths.reports)
    write_transfers(gather_transfers(paths, params), paths.reports)
    write_budget_curve(results, paths.reports)
    write_json(paths.reports / "provenance.json", gather_provenance(paths, params))
    write_kept_dimensions(gather_masks(paths, params), paths.reports)


if __name__ == "__main__":
    run(compare)

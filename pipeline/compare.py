"""Gather the grid: the comparison tables and the plots."""

from __future__ import annotations

import argparse

from pipeline.stage import run
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.io import write_json
from sensibert.report.comparison import comparison_table, significance_table
from sensibert.report.formats import write_csv
from sensibert.report.gather import (
    gather,
    gather_correct,
    gather_deployed,
    gather_efforts,
    gather_masks,
    gather_provenance,
    gather_rates,
    gather_searches,
    gather_transfers,
)
from sensibert.report.page.profile import write_profile_page
from sensibert.report.plots import write_budget_curve, write_kept_dimensions
from sensibert.report.rates import write_rates
from sensibert.report.tables import write_tables
from sensibert.report.trials import search_table, transfer_table


def compare(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write the tables, the plots and the page of reports/PROFILE."""
    results = gather(paths, params)
    table = comparison_table(results, gather_efforts(paths, params), gather_deployed(paths, params))
    searches = search_table(gather_searches(paths, params))
    transfers = transfer_table(gather_transfers(paths, params))
    write_tables(table, searches, transfers, paths.reports)
    write_csv(significance_table(results, gather_correct(paths, params)), paths.reports / "significance.csv")
    write_csv(searches, paths.reports / "search.csv")
    write_csv(transfers, paths.reports / "transfer.csv")
    write_budget_curve(results, paths.reports)
    write_rates(gather_rates(paths, params), paths.reports)
    write_json(paths.reports / "provenance.json", gather_provenance(paths, params))
    write_kept_dimensions(gather_masks(paths, params), paths.reports)
    write_profile_page(paths, params)


if __name__ == "__main__":
    run(compare)

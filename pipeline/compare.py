"""Gather the grid: the comparison tables and the pictures."""

from __future__ import annotations

import argparse

from pipeline.stage import run
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.io import write_json
from sensibert.report.comparison import comparison_table, significance_table
from sensibert.report.deployment import write_deployed
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
    gather_simple,
    gather_transfers,
)
from sensibert.report.heat_maps import write_kept_dimensions
from sensibert.report.page.profile import write_profile_page
from sensibert.report.plots import write_budget_curve
from sensibert.report.rates import write_rates
from sensibert.report.summary import summary
from sensibert.report.tables import write_tables
from sensibert.report.trials import search_table, simple_table, transfer_table


def compare(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write the tables, the pictures and the page of reports/PROFILE; those that would be empty are not there."""
    results, deployed, folder = gather(paths, params), gather_deployed(paths, params), paths.reports
    table = comparison_table(results, gather_efforts(paths, params), deployed)
    searches = search_table(gather_searches(paths, params))
    transfers = transfer_table(gather_transfers(paths, params))
    simple = simple_table(gather_simple(paths, params), table)
    write_tables(table, searches, transfers, simple, folder, params.masking.budget_kind)
    write_json(folder / "summary.json", summary(table))
    write_csv(significance_table(results, gather_correct(paths, params)), folder / "significance.csv")
    write_csv(searches, folder / "search.csv")
    write_csv(transfers, folder / "transfer.csv")
    write_csv(simple, folder / "simple_models.csv")
    write_budget_curve(results, folder)
    write_deployed(deployed, folder)
    write_rates(gather_rates(paths, params), folder)
    write_kept_dimensions(gather_masks(paths, params), folder)
    write_json(folder / "provenance.json", gather_provenance(paths, params))
    write_profile_page(paths, params)


if __name__ == "__main__":
    run(compare)

"""The budgets that were tried, on the page of a model whose budget was searched."""

from __future__ import annotations

from sensibert.report.evidence import Evidence
from sensibert.report.labels import metric_label
from sensibert.report.page.blocks import Block, Cell, Charts, Column, Row, Section, Table, number, text
from sensibert.report.page.words import megabytes, milliseconds
from sensibert.report.search import judged_spots, point_name
from sensibert.report.tradeoff import tradeoff_drawings


def budgets(evidence: Evidence) -> Section:
    """What was measured at each budget; empty if the budget was given."""
    search, metric = evidence.search, metric_label(evidence.task["primary_metric"])
    if search is None:
        return Section("budgets", "Budgets", "", [])
    judged = f" on {search.dev_examples:,} training rows that were held back" if search.dev_examples else ""
    lead = f"What was measured{judged}, of the file that would be deployed ({search.limits['deploy_as']})."
    columns = [
        Column("Budget", is_number=False),
        Column(f"{metric}, held-back rows"),
        Column("Points lost"),
        Column("At most", hint="One-sided bound of 95 %, from a paired bootstrap"),
        Column("Latency, one text"),
        Column("File"),
    ]
    rows = [
        Row(
            [
                text(point_name(point)),
                number(point.metric),
                number(point.drop.points if point.drop else None),
                number(point.drop.high if point.drop else None),
                Cell(milliseconds(point.latency), point.latency),
                Cell(megabytes(point.file_bytes), point.file_bytes),
            ],
            tag="chosen" if point.budget == search.chosen else "",
        )
        for point in search.points
    ]
    spots = judged_spots(search)
    blocks: list[Block] = [Charts(tradeoff_drawings(spots, metric))] if spots else []
    return Section("budgets", "Budgets", lead, [*blocks, Table("Budgets that were tried", columns, rows)])

"""All pictures of the report: each can be drawn again from its csv file alone."""

from __future__ import annotations

from pathlib import Path

from sensibert.report.deployment import DEPLOYED
from sensibert.report.figures import Picture, draw_picture
from sensibert.report.heat_maps import KEPT_DIMENSIONS, STABILITY
from sensibert.report.plots import BUDGET_CURVE
from sensibert.report.rates import RATES

PICTURES = (BUDGET_CURVE, DEPLOYED, KEPT_DIMENSIONS, RATES, STABILITY)


def draw_again(folder: Path) -> list[Picture]:
    """Draw the pictures of a report from the csv files in its folder; those without a file are left as they are."""
    found = [picture for picture in PICTURES if (folder / f"{picture.table}.csv").is_file()]
    for picture in found:
        draw_picture(picture, folder)
    return found

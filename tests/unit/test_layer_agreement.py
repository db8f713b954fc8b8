"""Rankings of layers: how they are compared."""

import numpy as np
import pandas as pd
import pytest

from sensibert.analysis.layer_agreement import AGREEMENT_COLUMNS, agreement, layer_agreements
from sensibert.analysis.layer_ranking import COLUMNS
from sensibert.analysis.stability import COLUMNS as STABILITY_COLUMNS
from sensibert.report.stability import write_stability


def table(scores):
    """(epoch, samples) -> scores of the layers, as a table."""
    rows = [(*moment, layer, value) for moment, values in scores.items() for layer, value in enumerate(values)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_agreement_is_with_the_largest_sample_before_fine_tuning():
    scores = table({(0, 10): [1, 2, 3, 4], (0, 50): [4, 3, 2, 1], (1, 50): [4, 3, 1, 2], (2, 50): [1, 2, 3, 4]})
    found = agreement(scores, layers=2)
    assert tuple(found.columns) == AGREEMENT_COLUMNS
    assert found[["epoch", "samples"]].to_numpy().tolist() == [[0, 10], [0, 50], [1, 50], [2, 50]]
    assert found["ranking"].tolist() == ["3 2 1 0", "0 1 2 3", "0 1 3 2", "3 2 1 0"]
    assert found["spearman"].tolist() == pytest.approx([-1.0, 1.0, 0.8, -1.0])
    assert found["spearman_previous_epoch"].tolist() == pytest.approx([np.nan, np.nan, 0.8, -0.8], nan_ok=True)
    assert found["shared_layers"].tolist() == [0, 2, 2, 0]
    assert agreement(scores, layers=9)["of"].unique() == [4]


def test_the_report_has_a_section_where_something_was_checked(tmp_path):
    layers = layer_agreements({("sst2", 3): table({(0, 50): [2, 1], (1, 50): [1, 2]})}, layers=1)
    rows = [("sst2", "mask", "seeds", "all", "spearman", np.nan, 0.9, 0.8, 1, 0.0)]
    write_stability(pd.DataFrame(rows, columns=list(STABILITY_COLUMNS)), layers, tmp_path)
    lines = (tmp_path / "stability.md").read_text().splitlines()
    assert "## Ranking of whole layers by Fisher information" in lines
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| sst2")]
    assert cells == [
        ["sst2", "3", "0", "50", "0 1", "1.00", "–", "1 of 1"],  # noqa: RUF001
        ["sst2", "3", "1", "50", "1 0", "-1.00", "-1.00", "0 of 1"],
    ]
    assert pd.read_csv(tmp_path / "layer_ranking.csv")["ranking"].tolist() == ["0 1", "1 0"]

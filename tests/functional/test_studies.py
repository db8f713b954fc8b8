"""The studies behind the defaults: their files are in step with the parameters, and one of them runs."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from sensibert.report.labels import NOTHING
from studies import dev_grid
from studies.summary import summary

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "studies").glob("*.yaml")))
def test_every_variant_of_a_study_has_good_parameters(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = yaml.safe_load((ROOT / "studies" / name).read_text(encoding="utf-8"))
    for variant in study["variants"].values():
        params = dev_grid.variant_params(study, variant)
        assert [cell for cell in params.cells() if cell.method in study.get("methods", [cell.method])]


def test_a_variant_changes_nothing_for_the_next_one(monkeypatch):
    monkeypatch.chdir(ROOT)
    study = {
        "base": "profiles/methods-small.yaml",
        "set": {
            "methods.spt_lora": {"learning_rate": 1e-3, "rank": 8, "threshold": None, "samples": 8, "batch_size": 4}
        },
    }
    for variant, rank in (({}, 8), ({"methods.spt_lora.rank": 2}, 2), ({}, 8)):
        assert dev_grid.variant_params(study, variant).settings_of("spt_lora").rank == rank


def test_a_study_computes_what_is_not_there_yet(glue_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    study = {
        "base": str(ROOT / "profiles" / "tiny.yaml"),
        "set": {"data.directory": str(glue_data), "methods.*.learning_rate": 2.0e-3},
        "methods": ["full", "sensitivity", "spt_lora"],
        "variants": {"default": {}, "in eights": {"masking.round_to": 8, "methods.sensitivity.learning_rate": 1.0e-3}},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study))
    dev_grid.run(tmp_path / "mine.yaml", part=1, parts=2)
    half = capsys.readouterr().out
    dev_grid.run(tmp_path / "mine.yaml", part=0, parts=1)
    table = pd.read_csv("reports/studies/mine.csv")
    assert tuple(table.columns) == dev_grid.COLUMNS
    assert table["variant"].tolist() == ["in eights"] * 3 + ["default"] * 3
    assert table["method"].tolist() == ["full", "spt_lora", "sensitivity"] * 2
    assert table["learning_rate"].tolist() == [2e-3, 2e-3, 1e-3, 2e-3, 2e-3, 2e-3]
    assert table["dev"].between(0, 100).all()
    # The same settings give the same row, and a row that is there is not computed again.
    assert table["dev"][0] == table["dev"][3]
    assert half.count("\n") == capsys.readouterr().out.count("\n") == 3


def test_a_summary_compares_ideas_at_their_best_rates_seed_by_seed():
    values = {
        ("plain", 1e-4): [50, 52],
        ("plain", 2e-4): [60, 62],
        ("better", 1e-4): [63, 64],
        ("better", 2e-4): [1, 2],
    }
    rows = pd.DataFrame(
        [
            {"variant": f"{idea}; rate {rate}", "task": "sst2", "method": "full", "budget": 1.0}
            | {"seed": seed, "learning_rate": rate, "dev": float(value)}
            for (idea, rate), of in values.items()
            for seed, value in enumerate(of)
        ]
    )
    table = summary(rows, versus="plain").set_index("Idea")
    assert table["Rate"].to_dict() == {"plain": "0.0002", "better": "0.0001"}
    assert table.loc["plain", "Dev"] == "61.0 ± 1.4"
    # Differences 3 and 2: 2.5, and t(0.975, 1) = 12.706 standard errors of 0.5.
    assert table.loc["better", "vs plain"] == "+2.5 [-3.9, +8.9]"


def test_an_idea_of_two_methods_is_compared_with_the_first_of_them():
    rows = pd.DataFrame(
        [
            {"variant": "plain", "task": "sst2", "method": method, "budget": 0.2, "learning_rate": 1e-4}
            | {"seed": seed, "dev": value + seed}
            for method, value in (("sensitivity", 60.0), ("magnitude", 50.0))
            for seed in (0, 1)
        ]
    )
    assert summary(rows, versus="plain")["vs plain"].tolist() == [NOTHING, "-10.0 [-10.0, -10.0]"]

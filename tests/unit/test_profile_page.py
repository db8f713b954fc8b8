"""What stands on the page of a profile."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pages import PROVENANCE, answers, history, mask, result
from sensibert.config.grid import Cell
from sensibert.config.params import load_params
from sensibert.config.paths import Paths
from sensibert.errors import ArtifactError
from sensibert.io import write_json, write_record
from sensibert.models.mask import ModuleKey, write_mask
from sensibert.report.comparison import comparison_table, significance_table
from sensibert.report.heat_maps import kept_table
from sensibert.report.labels import MINUS, TIMES
from sensibert.report.page.profile import profile_page, write_profile_page
from sensibert.report.page.profile_data import ProfileData, best_of, overlap_table, read_profile
from sensibert.report.page.render import rendered
from sensibert.report.plots import curve_table
from sensibert.report.trials import simple_table
from sensibert.results import Deployed, Effort, SimpleResult

ROOT = Path(__file__).parents[2]
NO_BREAK = "\N{NO-BREAK SPACE}"
SIMPLE = SimpleResult("sst2", "words", {"accuracy": 80.0}, "accuracy", 9, 500_000, "scikit-learn")


def profile_data(**changes):
    """Three methods on sst2, two budgets, two seeds; one of them deployed."""
    points = [("full", 1.0, 90.0)]
    points += [
        (method, budget, at) for method, at in (("sensitivity", 87.0), ("magnitude", 85.0)) for budget in (0.4, 0.2)
    ]
    results = [
        replace(
            result(("negative", "positive"), share=budget, accuracy=at + 2 * seed - (4 if budget == 0.2 else 0)),
            **{"task": "sst2", "method": method, "budget": budget, "seed": seed},
        )
        for method, budget, at in points
        for seed in (0, 1)
    ]
    efforts = {found.cell: Effort(10.0, 0.0, None) for found in results}
    deployed = [
        Deployed("sst2", method, budget, 0, runtime, size, {"accuracy": at}, {"1": seconds, "32": 8 * seconds})
        for method, budget, at in (points[0], points[2])
        for runtime, size, seconds in (("torch", 80_000_000, 0.01), ("onnx-int8", 20_000_000, 0.002))
    ]
    table = comparison_table(results, efforts, deployed)
    content = {
        "profile": "mine",
        "backbone": "tiny-bert",
        "budget_kind": "params",
        "table": table,
        "tests": significance_table(results, {}),
        "curve": curve_table(results),
        "kept": kept_table({found.cell: mask() for found in results if found.cell.is_pruned}),
        "overlaps": overlap_table({found.cell: mask() for found in results if found.cell.is_pruned}),
        "provenance": {
            **{name: [PROVENANCE[name]] for name in ("git", "packages", "hardware", "precision", "python")},
            "data_hash": {"sst2": ["0123456789abcdef"]},
            "params": {"profile": "mine", "model": {"backbone": "tiny-bert"}},
        },
        "simple": simple_table([SIMPLE], table),
        "deployed": deployed,
        "histories": {found.cell: history() for found in results},
        "predictions": {results[0].cell: answers(), Cell("sst2", "sensitivity", 0.2, 0): answers()},
    }
    return ProfileData(**{**content, **changes})


def titles(page):
    return [section.key for section in page.sections]


def test_a_profile_shows_every_part_of_it():
    page = profile_page(profile_data())
    assert titles(page) == ["results", "simple", "deployment", "kept", "answers", "training", "stability", "origin"]
    assert page.headline == (
        f"tiny-bert, pruned by sensitivity to 0.2{TIMES}, "
        f"reaches 84.0{NO_BREAK}% accuracy on sst2, 7.0 points below the dense model."
    )
    assert page.lead.endswith(f"A budget with {TIMES} is a fraction of the prunable parameters.")
    assert "multiply-accumulates" in profile_page(profile_data(budget_kind="macs")).lead
    html = rendered(page)
    assert len(html.encode()) < 500_000
    assert html == rendered(profile_page(profile_data()))


def test_the_table_holds_each_point_and_marks_the_best_of_each_budget():
    (table,) = [block for block in profile_page(profile_data()).sections[0].blocks if block.kind == "table"]
    shown = [(row.cells[0].text, row.cells[1].text, row.tag) for row in table.rows]
    assert shown == [
        ("full", "dense", ""), ("sensitivity", f"0.4{TIMES}", "best"), ("magnitude", f"0.4{TIMES}", ""),
        ("sensitivity", f"0.2{TIMES}", "best"), ("magnitude", f"0.2{TIMES}", ""),
    ]  # fmt: skip
    titles_of = [column.title for column in table.columns]
    assert "Task" not in titles_of  # there is one
    assert "Memory" not in titles_of  # it is not known
    assert table.rows[3].cells[titles_of.index("vs dense")].text == f"{MINUS}7.0"
    assert "p" not in titles_of  # every seed shows the same difference, which no test can judge


def test_a_model_that_another_one_beats_in_every_way_is_called_beaten():
    section = profile_page(profile_data()).sections[2]
    shown = {(row.cells[0].text, row.cells[1].text): row.cells[-1].text for row in section.blocks[-1].rows}
    assert shown == {
        ("dense, full", "PyTorch"): "yes", ("dense, full", "ONNX INT8"): "no",
        (f"sensitivity 0.2{TIMES}", "PyTorch"): "yes", (f"sensitivity 0.2{TIMES}", "ONNX INT8"): "yes",
    }  # fmt: skip


def test_simple_models_stand_beside_the_dense_one():
    (table,) = profile_page(profile_data()).sections[1].blocks
    (row,) = table.rows
    assert [cell.text for cell in row.cells] == [
        "TF-IDF, linear",
        "80.0",
        f"{MINUS}11.0",
        "0.5 MB",
        "scikit-learn",
    ]


def test_without_deployment_stability_or_pruning_there_is_still_a_page():
    data = profile_data()
    dense = {name: getattr(data, name) for name in ("table", "curve", "tests")}
    bare = profile_data(
        simple=data.simple.iloc[:0],
        deployed=[],
        overlaps=data.overlaps.iloc[:0],
        kept=data.kept.iloc[:0],
        histories={},
        predictions={},
        **{name: rows[rows["method"] == "full"] for name, rows in dense.items()},
    )
    page = profile_page(bare)
    assert titles(page) == ["results", "origin"]
    assert page.headline == "tiny-bert, tuned in full on sst2."
    assert rendered(page)


def test_masks_of_different_seeds_share_what_both_keep():
    one, other = mask(), mask()
    key = ModuleKey(0, "feed_forward")
    other.keep[key] = (np.arange(20) >= 3)[None] & (np.arange(20) < 8)[None]  # 3 to 7, where the one keeps 0 to 4
    point = Cell("sst2", "sensitivity", 0.4, 0)
    found = overlap_table({point: one, point._replace(seed=1): other, point._replace(method="mask"): one})
    assert found[["method", "pairs"]].to_numpy().tolist() == [["sensitivity", 1]]  # of the other there is one seed
    assert found["mean"][0] == found["min"][0] == pytest.approx((8 + 8 + 5 + 2) / (8 + 8 + 5 + 8))
    assert 0 < found["random"][0] < found["mean"][0]


def test_several_tasks_are_averaged():
    one = profile_data()
    other = one.table.assign(task="rte", vs_full=one.table["vs_full"] + 2)
    page = profile_page(profile_data(table=pd.concat([one.table, other], ignore_index=True)))
    assert page.headline.endswith("does best: 6.0 points below the dense model, on average over 2 tasks.")
    assert page.tiles == []


def test_the_best_is_that_of_the_smallest_budget():
    assert best_of(profile_data().table)[["method", "budget"]].tolist() == ["sensitivity", 0.2]
    assert np.isnan(profile_data().table["peak_memory"]).all()


def test_the_page_is_read_from_the_folder_whether_or_not_there_was_something_to_test(tmp_path):
    params = load_params(ROOT / "params.yaml").model_copy(
        update={
            "profile": "mine",
            "tasks": ["sst2"],
            "seeds": [0],
            "criteria": ["sensitivity"],
            "pruning": [],
            "simple_models": ["words"],
        }
    )
    data, paths = profile_data(), Paths("mine", tmp_path)
    paths.reports.mkdir(parents=True)
    tables = {
        "table": data.table,
        "significance": data.tests,
        "budget_curve": data.curve,
        "kept_dimensions": data.kept,
        "simple_models": data.simple,
    }
    for name, table in tables.items():
        table.to_csv(paths.reports / f"{name}.csv", index=False)
    write_json(paths.reports / "provenance.json", data.provenance)
    deployed = [
        replace(entry, budget=cell.budget, method=cell.method, task=cell.task)
        for entry in data.deployed
        for cell in params.deployed_cells()
    ]
    write_json(paths.bench, [asdict(entry) for entry in deployed])
    for cell in params.cells():
        write_record(paths.history(cell), history())
        if cell.is_pruned:
            write_mask(paths.mask(cell), mask())
    for cell in data.predictions:
        path = paths.predictions(cell)
        path.parent.mkdir(parents=True)
        answers().to_parquet(path)

    write_profile_page(paths, params)
    page = (paths.reports / "report.html").read_text(encoding="utf-8")
    assert "vs dense" in page

    for name in ("significance", "simple_models"):
        assert f'href="{name}.csv"' in page
        (paths.reports / f"{name}.csv").unlink()
    write_profile_page(paths, params)
    page = (paths.reports / "report.html").read_text(encoding="utf-8")
    assert "significance.csv" not in page
    assert "simple_models.csv" not in page


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"table\.csv is no table"):
        read_profile(Paths("mine", tmp_path), load_params(ROOT / "params.yaml"))

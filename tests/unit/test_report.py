"""Tables and plots: exact numbers, exact columns, equal bytes, and errors that name what is missing."""

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from sensibert.analysis.layer_agreement import layer_agreements
from sensibert.analysis.stability import Run, agreement, spearman_matrix
from sensibert.config.grid import Cell, Point, SearchedCell, TransferredCell
from sensibert.config.methods import METHODS
from sensibert.config.params import parse_params
from sensibert.config.paths import Paths
from sensibert.errors import ArtifactError, ParamsError
from sensibert.io import read_record, write_json, write_record
from sensibert.models.mask import MadeFor, Mask, ModuleKey, write_mask
from sensibert.report.comparison import COLUMNS, comparison_table, significance_table
from sensibert.report.formats import write_csv
from sensibert.report.gather import (
    gather,
    gather_correct,
    gather_deployed,
    gather_efforts,
    gather_masks,
    gather_searches,
    gather_transfers,
)
from sensibert.report.gather_stability import gather_scores
from sensibert.report.heat_maps import kept_table, write_kept_dimensions, write_stability_matrix
from sensibert.report.labels import TIMES
from sensibert.report.plots import write_budget_curve
from sensibert.report.rates import RATE_COLUMNS, write_rates
from sensibert.report.stability import write_stability
from sensibert.report.summary import summary
from sensibert.report.tables import write_tables
from sensibert.report.trials import TRANSFER_COLUMNS, search_table, simple_table, transfer_table
from sensibert.results import Cost, Deployed, Effort, RateCurve, Result, SimpleResult, Transferred, Trial, TriedRate
from sensibert.scoring.files import ScoreFile, ScoreOrigin, write_scores

PRUNABLE, OTHER = 10_000_000, 12_000_000
PRIMARY = {
    ("sst2", "full"): [90.0, 92.0],
    ("sst2", "bitfit"): [88.0, 89.0],
    ("sst2", "sensitivity", 0.4): [88.0, 89.0],
    ("sst2", "magnitude", 0.4): [85.0, 84.0],
    ("sst2", "sensitivity", 0.2): [86.0, 86.0],
    ("sst2", "magnitude", 0.2): [80.0, 81.0],
}


NOTHING_MORE = (search_table({}), transfer_table([]), pd.DataFrame())
"""Neither a search nor a transfer."""


def params(**changes):
    content = {
        "profile": "test",
        "tasks": ["sst2"],
        "seeds": [0, 1],
        "criteria": ["sensitivity", "magnitude"],
        "budgets": [0.2, 0.4],
        "tuning": ["full", "bitfit"],
        "data": {"source": "hub"},
        "model": {"backbone": "any"},
        "stability": {"tasks": ["sst2"], "seeds": [0, 1], "epochs": [1, 2]},
        **changes,
    }
    methods = [*content["criteria"], *content["tuning"], *content.get("peft", [])]
    return parse_params({**content, "methods": {name: {"learning_rate": 1e-4} for name in methods}})


def result_of(cell):
    values = PRIMARY.get((cell.task, cell.method, cell.budget)) or PRIMARY.get((cell.task, cell.method), [70.0, 72.0])
    total = OTHER + round(PRUNABLE * cell.budget)
    trainable = 3_330 if cell.method == "bitfit" else total
    metric = "matthews_correlation" if cell.task == "cola" else "accuracy"
    cost = Cost(
        trainable_parameters=trainable,
        stored_parameters=trainable,
        extra_passes=1.0 if cell.method == "sensitivity" else 0.0,
        prunable_parameters=PRUNABLE,
        prunable_kept=cell.budget,
        encoder_parameters=PRUNABLE,
        total_parameters=total,
        macs=1,
        tokens=20,
        model_bytes=4 * total,
    )
    return Result(*cell, {metric: values[cell.seed], "other": 1.0}, metric, 872, cost)


def effort_of(cell):
    seconds = (100.0 if cell.seed == 0 else 300.0) * (cell.budget if cell.is_pruned else 1.0)
    scoring = SCORING_SECONDS if cell.method in ("sensitivity", "mask", "fisher") else 0.0
    return Effort(seconds, scoring, peak_memory=2_000_000_000 + cell.seed)


SCORING_SECONDS = 30.0


def table_of(some_params):
    cells = some_params.cells()
    return comparison_table([result_of(cell) for cell in cells], {cell: effort_of(cell) for cell in cells})


def row_of(table, method, budget):
    return table[(table["method"] == method) & (table["budget"] == budget)].squeeze()


def masks_of(some_params):
    def mask(cell):
        keep = {
            ModuleKey(layer, group): np.arange(size).reshape(shape) < round(size * cell.budget) + cell.seed
            for layer in (0, 1)
            for group, size, shape in (("attention", 20, (2, 10)), ("feed_forward", 40, (1, 40)))
        }
        return Mask(keep, dict.fromkeys(keep, 1))

    return {cell: mask(cell) for cell in some_params.cells() if cell.is_pruned}


# ── the comparison table ──────────────────────────────────────────────────────────────────────────


def test_the_rows_and_columns_are_those_promised():
    table = table_of(params())
    assert list(table.columns) == [
        "task", "method", "budget", "metric", "mean", "std", "n", "vs_magnitude", "vs_full",
        "prunable_kept", "trainable_parameters", "stored_parameters", "total_parameters",
        "extra_passes", "relative_time", "relative_fine_tuning_time", "peak_memory",
        "model_bytes", "latency_ms", "int8_bytes", "int8_latency_ms", "int8_mean",
    ]  # fmt: skip
    assert list(zip(table["method"], table["budget"], strict=True)) == [
        ("full", 1.0), ("bitfit", 1.0),
        ("sensitivity", 0.4), ("magnitude", 0.4),
        ("sensitivity", 0.2), ("magnitude", 0.2),
    ]  # fmt: skip


def test_means_differences_and_costs_are_exact():
    row = row_of(table_of(params()), "sensitivity", 0.4)
    assert (row["task"], row["metric"], row["n"]) == ("sst2", "accuracy", 2)
    assert row["mean"] == 88.5
    assert row["std"] == pytest.approx(0.5**0.5)
    assert row["vs_magnitude"] == 4.0
    assert row["vs_full"] == -2.5
    assert row["prunable_kept"] == 0.4
    assert row["total_parameters"] == row["trainable_parameters"] == 16_000_000
    assert row["stored_parameters"] == 16_000_000
    assert row["relative_time"] == pytest.approx(0.55)
    assert row["relative_fine_tuning_time"] == pytest.approx(0.4)
    assert (row["extra_passes"], row["peak_memory"]) == (1.0, 2_000_000_000.5)


def test_methods_with_a_budget_of_trained_parameters_stand_behind_the_dense_ones(tmp_path):
    table = table_of(params(tasks=["sst2"], peft=["lora", "spt_lora"], peft_budgets=[0.0025, 0.01], seeds=[0]))
    assert list(zip(table["method"], table["budget"], strict=True))[:6] == [
        ("full", 1.0), ("bitfit", 1.0), ("lora", 0.01), ("spt_lora", 0.01), ("lora", 0.0025), ("spt_lora", 0.0025),
    ]  # fmt: skip
    assert table["vs_magnitude"][:6].isna().all()
    write_tables(table, *NOTHING_MORE, tmp_path)
    assert "| LoRA        |    0.25% |" in (tmp_path / "table.md").read_text()


def test_a_difference_that_does_not_apply_is_empty():
    table = table_of(params())
    assert np.isnan(row_of(table, "bitfit", 1.0)["vs_magnitude"])
    assert row_of(table, "magnitude", 0.4)["vs_magnitude"] == 0.0
    assert row_of(table, "full", 1.0)["vs_full"] == 0.0

    assert table_of(params(criteria=["sensitivity"]))["vs_magnitude"].isna().all()
    without_full = table_of(params(tuning=["bitfit"]))
    assert without_full["vs_full"].isna().all()
    assert without_full["relative_time"].isna().all()


def test_a_criterion_that_keeps_everything_is_not_taken_for_a_dense_method():
    table = table_of(params(budgets=[1.0]))
    assert list(table["method"]) == ["full", "bitfit", "sensitivity", "magnitude"]
    assert not np.isnan(row_of(table, "sensitivity", 1.0)["vs_magnitude"])


def test_one_seed_has_no_standard_deviation(tmp_path):
    table = table_of(params(seeds=[0]))
    assert table["std"].isna().all()
    write_tables(table, *NOTHING_MORE, tmp_path)
    assert "±" not in (tmp_path / "table.md").read_text()
    assert "One seed." in (tmp_path / "table.md").read_text()


def test_the_notes_say_what_a_budget_is_a_fraction_of(tmp_path):
    for kind, part in (
        ("params", "and kept are fractions of the prunable parameters"),
        ("size", "bytes of the weights"),
    ):
        write_tables(table_of(params()), *NOTHING_MORE, tmp_path, kind)
        assert part in (tmp_path / "table.md").read_text()


def test_the_csv_holds_the_table(tmp_path):
    table = table_of(params())
    write_tables(table, *NOTHING_MORE, tmp_path)
    read = pd.read_csv(tmp_path / "table.csv")
    assert tuple(read.columns) == COLUMNS
    pd.testing.assert_frame_equal(read, table, atol=1e-4, check_dtype=False)


def test_the_markdown_reads_well(tmp_path):
    table = table_of(params(tasks=["sst2", "cola"]))
    write_tables(table, *NOTHING_MORE, tmp_path)
    lines = (tmp_path / "table.md").read_text().splitlines()
    rows = [[field.strip() for field in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    headers = [row for row in rows if row[0] == "Method"]
    matthews = "Matthews correlation (\N{MULTIPLICATION SIGN}100)"
    overview, *of_tasks = headers
    assert overview[2:5] == ["sst2, accuracy (%)", f"cola, {matthews[0].lower()}{matthews[1:]}", "Mean"]
    assert [header[2] for header in of_tasks] == ["Accuracy (%)", "Trainable", matthews, "Trainable"]
    assert len(rows) - len(headers) == 2 * len(table) + len(table) // 2
    assert "## sst2" in lines
    assert "## cola" in lines
    for row in (
        "sensitivity|0.4×|**88.5 ± 0.7**|**71.0 ± 1.4**|79.8|−1.2|16.00 M|1|0.55×|0.40×",  # noqa: RUF001
        "BitFit|dense|88.5 ± 0.7|–|−2.5|100.0%|22.00 M|88.0 MB",  # noqa: RUF001
        "sensitivity|0.4×|**88.5 ± 0.7**|+4.0|−2.5|40.0%|16.00 M|64.0 MB",  # noqa: RUF001
        "BitFit|dense|3,330|3,330|0|1.00×|1.00×|2.00 GB",  # noqa: RUF001
        "sensitivity|0.4×|16.00 M|16.00 M|1|0.55×|0.40×|2.00 GB",  # noqa: RUF001
    ):
        assert row.split("|") in rows
    assert sum("fractions of the prunable parameters" in line for line in lines) == 2


def test_one_task_needs_no_overview(tmp_path):
    write_tables(table_of(params()), *NOTHING_MORE, tmp_path)
    assert "All tasks" not in (tmp_path / "table.md").read_text() + (tmp_path / "table.tex").read_text()


def test_simple_models_stand_beside_dense_fine_tuning(tmp_path):
    table = table_of(params())
    dense = table.loc[table["method"] == "full", "mean"].iloc[0]
    found = simple_table(
        [SimpleResult("sst2", "words", {"accuracy": 50.0}, "accuracy", 9, 2_000_000, "sklearn")], table
    )
    assert found["vs_full"].tolist() == [50.0 - dense]
    write_tables(table, *NOTHING_MORE[:2], found, tmp_path)
    _, row = table_rows(tmp_path / "table.md")["Simple models"]
    assert row[:4] == ["TF-IDF, linear", "sst2", "accuracy (%)", "50.0"]
    assert row[5:] == ["2.0 MB", "sklearn"]
    assert "TF-IDF, linear" in (tmp_path / "table.tex").read_text()


def test_the_latex_has_balanced_environments_and_escaped_text(tmp_path):
    table = table_of(params(tasks=["sst2", "cola"], tuning=["full", "bitfit_frozen_classifier"]))
    write_tables(table, *NOTHING_MORE, tmp_path)
    text = (tmp_path / "table.tex").read_text()
    assert text.startswith("\\begin{table}")
    opened, closed = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    assert sorted(opened) == sorted(closed) == 5 * ["table"] + 5 * ["tabular"]
    assert text.count("\\toprule") == text.count("\\midrule") == text.count("\\bottomrule") == 5
    assert text.isascii()
    body = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert len(body) == 2 * len(table) + len(table) // 2 + 5
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {9, 7}
    assert not any(re.search(r"(?<!\\)[_%]", line) for line in body)
    assert text.count("{") == text.count("}")


def table_rows(path):
    """The cells of every table row of a Markdown file, by the last heading before them."""
    rows, heading = {}, ""
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| "):
            rows.setdefault(heading, []).append([cell.strip() for cell in line.split("|")[1:-1]])
    return rows


def test_the_best_trial_of_each_search_is_shown_with_what_its_method_trains(tmp_path):
    trials = [
        Trial(0, 8, 1e-4, "pruned", [91.0]),
        Trial(1, 16, 3e-4, "complete", [70.0, 80.0]),
        Trial(2, 32, 5e-5, "complete", [75.0, 85.25]),
    ]
    searches = search_table(
        {
            SearchedCell("sst2", "bitfit", 0): (trials, {"accuracy": 84.5}),
            SearchedCell("sst2", "head_only", 1): (trials[1:2], {"accuracy": 79.0}),
        }
    )
    assert searches["batch_size"].tolist() == [32, 16, 8, 16]
    assert searches["dev_2"].isna().tolist() == [False, False, True, False]
    assert searches["validation"].isna().tolist() == [False, True, True, False]
    write_tables(table_of(params()), searches, *NOTHING_MORE[1:], tmp_path)
    assert table_rows(tmp_path / "table.md")["Searched hyper-parameters"][1:] == [
        ["sst2", "BitFit", "0", "3,330", "3", "32", "5e-05", "85.2", "84.5"],
        ["sst2", "head only", "1", "–", "1", "16", "0.0003", "80.0", "79.0"],  # noqa: RUF001
    ]
    assert r"\label{tab:search}" in (tmp_path / "table.tex").read_text()


def test_what_the_models_reach_on_other_tasks_is_shown_beside_the_names_of_both(tmp_path):
    rows = [
        ("sst2", "imdb", "full", 1.0, "accuracy", 81.0, 1.4, 2),
        ("sst2", "imdb", "sensitivity", 0.4, "accuracy", 80.0, math.nan, 1),
        ("rte", "wnli", "full", 1.0, "accuracy", 55.0, 0.5, 2),
    ]
    transfers = pd.DataFrame(rows, columns=list(TRANSFER_COLUMNS))
    write_tables(table_of(params()), NOTHING_MORE[0], transfers, NOTHING_MORE[2], tmp_path)
    assert table_rows(tmp_path / "table.md")["On tasks not tuned on"] == [
        ["Method", "Budget", "sst2 on imdb, accuracy (%)", "rte on wnli, accuracy (%)"],
        ["full", "dense", "81.0 ± 1.4", "55.0 ± 0.5"],
        ["sensitivity", "0.4×", "80.0", "–"],  # noqa: RUF001
    ]


def deployed_of(cell, runtime="torch", seconds=0.004):
    size = 10_000_000 if runtime == "onnx-int8" else 40_000_000
    return Deployed(*cell, runtime, size, {"accuracy": 80.0 + cell.seed}, {"1": seconds, "32": 10 * seconds})


def test_a_deployed_model_shows_its_latency_and_what_int8_makes_of_it(tmp_path):
    some = params(deployment={"tasks": ["sst2"], "criteria": ["sensitivity"], "tuning": ["full"], "seeds": [1]})
    cells = some.cells()
    names = {cell.name for cell in some.deployed_cells()}
    assert names == {"sst2-full-1", "sst2-sensitivity-0.2-1", "sst2-sensitivity-0.4-1"}
    deployed = [
        entry
        for cell in some.deployed_cells()
        for entry in (deployed_of(cell), deployed_of(cell, "onnx", 0.002), deployed_of(cell, "onnx-int8", 0.001))
    ]
    table = comparison_table(list(map(result_of, cells)), {cell: effort_of(cell) for cell in cells}, deployed)
    row = row_of(table, "sensitivity", 0.4)
    assert row[["latency_ms", "int8_bytes", "int8_latency_ms", "int8_mean"]].tolist() == [4.0, 10_000_000, 1.0, 81.0]
    write_tables(table, *NOTHING_MORE, tmp_path)
    text = (tmp_path / "table.md").read_text()
    for field in ("| Latency ", "| INT8 size ", "| INT8 accuracy (%) ", "| 4.0 ms ", "| 10.0 MB "):
        assert re.sub(" +", " ", field) in re.sub(" +", " ", text)


def test_the_latencies_of_deployed_cells_are_read_and_none_may_be_missing(tmp_path):
    some, paths = (
        params(deployment={"tasks": ["sst2"], "tuning": ["full", "bitfit"], "seeds": [0]}),
        Paths("test", tmp_path),
    )
    deployed = [deployed_of(cell) for cell in some.deployed_cells()]
    write_json(paths.bench, [asdict(entry) for entry in deployed])
    assert gather_deployed(paths, some) == deployed
    write_json(paths.bench, [asdict(entry) for entry in deployed[1:]])
    with pytest.raises(ArtifactError, match="has no latency of sst2-full-0; run `dvc repro`"):
        gather_deployed(paths, some)
    write_json(paths.bench, [{"model": "other"}])
    with pytest.raises(ArtifactError, match=r"bench\.json is no record of the kind list\[.*Deployed\] \(0\.task"):
        gather_deployed(paths, some)


@pytest.mark.parametrize("deployment", [{"tasks": ["cola"]}, {"criteria": ["mask"]}, {"seeds": [7]}])
def test_only_cells_of_the_grid_are_deployed(deployment):
    with pytest.raises(ParamsError, match=r"deployment\.(tasks|criteria|seeds): .* is not in"):
        params(deployment=deployment)


# ── tests of the differences ──────────────────────────────────────────────────────────────────────


def test_several_seeds_are_tested_by_a_paired_t_test():
    cells = params().cells()
    tests = significance_table([result_of(cell) for cell in cells], {})
    assert len(tests) == 1 + 2 * 3
    row = tests.query("method == 'sensitivity' and budget == 0.4 and versus == 'magnitude'").squeeze()
    # Differences 3 and 5: t = 4 at one degree of freedom.
    assert (row["difference"], row["test"]) == (4.0, "paired t-test")
    assert row["p_value"] == pytest.approx(1 - 2 * np.arctan(4) / np.pi)


def test_one_seed_is_tested_by_mcnemar_where_answers_are_right_or_wrong():
    cells = params(seeds=[0], tuning=["full"], budgets=[0.4]).cells()
    correct = {cell: np.arange(20) < (18 if cell.method == "sensitivity" else 12) for cell in cells if cell.is_pruned}
    tests = significance_table([result_of(cell) for cell in cells], correct)
    assert set(tests["test"]) == {"exact McNemar"}
    assert tests.query("versus == 'magnitude'")["p_value"].item() == pytest.approx(2 / 2**6)
    assert tests.query("versus == 'full'")["p_value"].isna().all()


# ── gathering the grid ────────────────────────────────────────────────────────────────────────────


def write_grid(paths, some_params):
    for cell in some_params.cells():
        write_record(paths.metrics(cell), result_of(cell))
        write_json(paths.provenance("finetune", cell.name), asdict(effort_of(cell)) | {"started": "today"})
        scoring = {"seconds": SCORING_SECONDS, "peak_memory": None}
        write_json(paths.provenance("score", f"{cell.task}-{cell.seed}"), scoring)


def test_the_grid_is_read_in_order_and_stale_files_are_ignored(tmp_path):
    paths, wanted = Paths("test", tmp_path), params()
    write_grid(paths, params(budgets=[0.2, 0.4, 0.8], seeds=[0, 1]))
    results = gather(paths, wanted)
    assert [result.cell for result in results] == wanted.cells()
    assert gather_efforts(paths, wanted) == {cell: effort_of(cell) for cell in wanted.cells()}


def test_the_time_of_a_run_that_went_on_after_a_kill_is_not_known(tmp_path):
    paths, wanted = Paths("test", tmp_path), params()
    write_grid(paths, wanted)
    ran_on = [cell for cell in wanted.cells() if cell.method == "bitfit"]
    for cell, mark in zip(ran_on, ({"resumed_at_step": 500}, {"resumed": True}), strict=True):
        write_json(paths.provenance("finetune", cell.name), asdict(effort_of(cell)) | mark)
    table = comparison_table(gather(paths, wanted), gather_efforts(paths, wanted))
    assert math.isnan(row_of(table, "bitfit", 1.0)["relative_time"])
    dense = next(cell for cell in wanted.cells() if cell.method == "full")
    write_json(paths.provenance("finetune", dense.name), asdict(effort_of(dense)) | {"resumed_at_step": 500})
    table = comparison_table(gather(paths, wanted), gather_efforts(paths, wanted))
    assert row_of(table, "magnitude", 0.4)["relative_time"] == 0.4


def test_all_missing_cells_are_named_at_once(tmp_path):
    paths, wanted = Paths("test", tmp_path), params()
    write_grid(paths, wanted)
    gone = [Cell("sst2", "magnitude", 0.2, 1), Cell("sst2", "bitfit", 1.0, 0)]
    for cell in gone:
        paths.metrics(cell).unlink()
    with pytest.raises(ArtifactError) as error:
        gather(paths, wanted)
    assert "no result for 2: " in str(error.value)
    assert all(cell.name in str(error.value) for cell in gone)
    assert "sensitivity" not in str(error.value)


def test_the_result_of_another_cell_is_refused(tmp_path):
    paths, wanted = Paths("test", tmp_path), params()
    write_grid(paths, wanted)
    first, second = wanted.cells()[:2]
    write_record(paths.metrics(first), result_of(second))
    with pytest.raises(ArtifactError, match=f"holds the result of {second.name}, not of {first.name}"):
        gather(paths, wanted)


@pytest.mark.parametrize("content", ['{"task": "sst2"}', "[]", '{"seconds": "soon"}'])
def test_damaged_files_are_named(tmp_path, content):
    paths, wanted = Paths("test", tmp_path), params()
    write_grid(paths, wanted)
    cell = wanted.cells()[0]
    paths.metrics(cell).write_text(content)
    paths.provenance("finetune", cell.name).write_text(content)
    with pytest.raises(ArtifactError, match=r"metrics\.json"):
        gather(paths, wanted)
    with pytest.raises(ArtifactError, match=f"{cell.name}.json is no provenance"):
        gather_efforts(paths, wanted)


def test_transfers_are_gathered_and_averaged(tmp_path):
    paths, wanted = (
        Paths("test", tmp_path),
        params(transfer={"tasks": ["sst2"], "to": ["imdb"]}, criteria=["magnitude"]),
    )
    cells = wanted.cells()
    first = TransferredCell(cells[0], "imdb")
    for cell in cells:
        entry = Transferred(*cell, "imdb", 80.0 + 2 * cell.seed, 500)
        write_record(paths.transfer(TransferredCell(cell, "imdb")), entry)
    gathered = gather_transfers(paths, wanted)
    assert [entry.cell for entry in gathered] == cells
    row, *others = transfer_table(gathered).to_dict("records")
    assert (row["task"], row["to"], row["method"], row["mean"], row["n"]) == ("sst2", "imdb", "full", 81.0, 2)
    assert row["std"] == pytest.approx(2**0.5, abs=1e-3)
    assert [(row["method"], row["budget"]) for row in others] == [
        ("bitfit", 1.0),
        ("magnitude", 0.2),
        ("magnitude", 0.4),
    ]
    paths.transfer(first).unlink()
    with pytest.raises(ArtifactError, match="no transfer for 1: sst2-full-0-imdb; run `dvc repro`"):
        gather_transfers(paths, wanted)


def test_searches_are_gathered_with_what_their_best_model_reaches(tmp_path):
    paths, wanted = Paths("test", tmp_path), params(search={"tasks": ["sst2"], "tuning": ["bitfit"], "seeds": [0, 1]})
    cells, trials = wanted.searched_cells(), [Trial(0, 8, 1e-4, "complete", [70.0])]
    write_json(paths.search(cells[0]) / "trials.json", [asdict(trial) for trial in trials])
    write_json(paths.search(cells[0]) / "metrics.json", {"accuracy": 84.5})
    with pytest.raises(ArtifactError, match="no search for 1: sst2-bitfit-1;"):
        gather_searches(paths, wanted)
    for name in ("trials.json", "metrics.json"):
        write_json(paths.search(cells[1]) / name, [])
    assert gather_searches(paths, wanted) == {cells[0]: (trials, {"accuracy": 84.5}), cells[1]: ([], [])}


def test_masks_scores_and_predictions_are_gathered_by_cell(tmp_path):
    paths, wanted = Paths("test", tmp_path), params()
    with pytest.raises(ArtifactError, match=r"no mask for 8: sst2-sensitivity-0\.2-0, "):
        gather_masks(paths, wanted)
    for cell, mask in masks_of(wanted).items():
        write_mask(paths.mask(cell), mask)
    assert list(gather_masks(paths, wanted)) == [cell for cell in wanted.cells() if cell.is_pruned]

    key = ModuleKey(0, "attention")
    origin = ScoreOrigin(MadeFor(task="sst2"), seed=0, tokens=20, epoch=1, passes=1)
    scores = ScoreFile({"sensitivity": {key: np.ones((2, 2))}}, {key: 3}, {}, {}, origin)
    for seed in (0, 1):
        write_scores(paths.rescored("sst2", seed, 1), scores)
    with pytest.raises(ArtifactError, match="no scores for 2: sst2 seed 0, epoch 2, sst2 seed 1, epoch 2;"):
        gather_scores(paths, wanted)
    for seed in (0, 1):
        write_scores(paths.rescored("sst2", seed, 2), scores)
    assert list(gather_scores(paths, wanted)["sst2"]) == [Run(0, 1), Run(0, 2), Run(1, 1), Run(1, 2)]

    for cell in wanted.cells():
        paths.predictions(cell).parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"label": [0, 1, 1], "prediction": [0, 0, 1]}).to_parquet(paths.predictions(cell))
    correct = gather_correct(paths, wanted)
    assert list(correct) == wanted.cells()
    assert all(answers.tolist() == [True, False, True] for answers in correct.values())
    by_f1 = params(tasks=["mrpc"], stability={"tasks": [], "seeds": [0, 1], "epochs": [1]})
    assert gather_correct(paths, by_f1) == {}, "its test would be one of the accuracy"
    paths.predictions(wanted.cells()[3]).write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match="is no table of predictions"):
        gather_correct(paths, wanted)


# ── plots ─────────────────────────────────────────────────────────────────────────────────────────


def texts_of(svg):
    return [element.text for element in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}text")]


def write_twice(tmp_path, write):
    """Write into two folders; every file must come out the same."""
    for name in ("first", "second"):
        write(tmp_path / name)
    files = sorted((tmp_path / "first").iterdir())
    assert files
    for file in files:
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes()
    return tmp_path / "first"


def test_the_budget_curve_names_its_lines_and_units(tmp_path):
    cells = params(tasks=["sst2", "cola"]).cells()
    folder = write_twice(tmp_path, lambda where: write_budget_curve([result_of(cell) for cell in cells], where))
    texts = texts_of(folder / "budget_curve.svg")
    for name in ("sensitivity", "magnitude", "dense, full", "dense, BitFit"):
        assert sum(text.endswith(f" {name}") for text in texts) == 2, "beside the panel of each task"
    assert {"sst2", "cola", "Accuracy (%)", f"1.0{TIMES}", f"0.2{TIMES}"} <= set(texts)
    assert f"Budget: kept fraction; dense is 1.0{TIMES}" in texts
    curve = pd.read_csv(folder / "budget_curve.csv")
    assert list(curve.columns) == ["task", "method", "budget", "seed", "metric", "value"]
    assert len(curve) == len(cells)


def test_the_kept_dimensions_are_means_over_the_seeds(tmp_path):
    masks = masks_of(params())
    kept = kept_table(masks)
    assert len(kept) == 2 * 2 * 2 * 2  # criteria, budgets, layers, groups
    attention = kept.query("criterion == 'magnitude' and budget == 0.4 and layer == 1 and group == 'attention'")
    assert attention["kept"].item() == pytest.approx((8 / 20 + 9 / 20) / 2)
    write_kept_dimensions(masks, tmp_path)
    texts = texts_of(tmp_path / "kept_dimensions.svg")
    assert {"sst2, attention", "sst2, feed-forward", "Layer", "41"} <= set(texts)
    rows = [f"{method} {budget}{TIMES}" for method in ("sensitivity", "magnitude") for budget in (0.4, 0.2)]
    assert [text for text in texts if text.endswith(TIMES)] == rows


def test_the_stability_report_shows_verdict_table_and_matrix(tmp_path):
    generator = np.random.default_rng(0)
    runs = {
        Run(seed, epoch): {ModuleKey(layer, "feed_forward"): generator.random((1, 30)) for layer in (0, 1)}
        for seed in (0, 1)
        for epoch in (1, 2)
    }

    def mask_of(scores, budget):
        return Mask({key: values > 1 - budget for key, values in scores.items()}, dict.fromkeys(scores, 1))

    table = agreement(runs, [0.4, 0.2], mask_of).assign(task="sst2", criterion="sensitivity")

    def write(where):
        write_stability(table, layer_agreements({}, 2), where)
        write_stability_matrix({("sst2", "sensitivity"): spearman_matrix(runs)}, where)

    folder = write_twice(tmp_path, write)
    text = (folder / "stability.md").read_text()
    assert "- **sst2, sensitivity**: Unstable: scores of different seeds agree with Spearman" in text
    assert text.count("Jaccard at 0.4") == 2
    assert len(pd.read_csv(folder / "stability.csv")) == len(table)
    assert texts_of(folder / "stability.svg").count("1.00") == 4
    assert len(pd.read_csv(folder / "stability_pairs.csv")) == 4 * 4
    assert not (folder / "layer_ranking.csv").exists(), "it was not checked"


def test_a_result_survives_its_file(tmp_path):
    result = result_of(Cell("sst2", "sensitivity", 0.4, 1))
    write_record(tmp_path / "metrics.json", result)
    assert read_record(tmp_path / "metrics.json", Result) == result
    assert result.primary == 89.0


CURVES = {
    Point("sst2", "full", 1.0): RateCurve(2e-4, [TriedRate(1e-4, [80.0, 82.0]), TriedRate(2e-4, [90.0, 91.0])]),
    Point("sst2", "magnitude", 0.4): RateCurve(1e-3, []),
    Point("sst2", "sensitivity", 0.4): RateCurve(4e-4, [TriedRate(4e-4, [85.0, 85.0]), TriedRate(8e-4, [1.0, -100.0])]),
    Point("sst2", "sensitivity", 0.2): RateCurve(8e-4, [TriedRate(4e-4, [80.0, 81.0]), TriedRate(8e-4, [83.0, 84.0])]),
    Point("cola", "kwon", 0.4): RateCurve(None, []),
}


def test_the_searched_rates_are_a_table_and_curves(tmp_path):
    write_rates(CURVES, tmp_path)
    table = pd.read_csv(tmp_path / "rates.csv")
    assert tuple(table.columns) == RATE_COLUMNS
    assert len(table) == 6, "a rate that was given was not tried"
    assert table.loc[table["chosen"], "learning_rate"].tolist() == [2e-4, 4e-4, 8e-4]
    assert table.iloc[0][["mean", "std", "n"]].tolist() == [81.0, pytest.approx(2**0.5), 2]
    diverged = table.query("budget == 0.4 and learning_rate == 8e-4").iloc[0]
    assert math.isnan(diverged["mean"])
    texts = texts_of(tmp_path / "rates.svg")
    assert {"sst2, full", "sst2, sensitivity", "Accuracy (%)"} <= set(texts)
    assert [text for text in texts if text.endswith(TIMES)] == [f"0.4{TIMES}", f"0.2{TIMES}"]


def test_what_a_grid_has_nothing_for_leaves_no_file(tmp_path):
    given = {point: RateCurve(1e-4, []) for point in CURVES}
    write_rates(CURVES, tmp_path)
    write_csv(transfer_table([Transferred("sst2", "full", 1.0, 0, "imdb", 80.0, 500)]), tmp_path / "transfer.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"rates.csv", "rates.svg", "rates.png", "transfer.csv"}
    for _ in range(2):  # what an earlier grid left goes, and there need not be any
        write_rates(given, tmp_path)
        write_csv(transfer_table([]), tmp_path / "transfer.csv")
        assert not list(tmp_path.iterdir())


def test_the_summary_holds_one_number_for_each_row_of_the_table():
    table = table_of(params(peft=["lora"], peft_budgets=[0.0025]))
    one = summary(table)
    assert one == {
        "full": 91.0,
        "bitfit": 88.5,
        "lora": {"0.0025": 71.0},
        "sensitivity": {"0.4": 88.5, "0.2": 86.0},
        "magnitude": {"0.4": 84.5, "0.2": 80.5},
    }
    two = summary(table_of(params(tasks=["sst2", "cola"], peft=["lora"], peft_budgets=[0.0025])))
    assert list(two) == ["sst2", "cola"]
    assert two["sst2"] == one


def test_tables_and_plots_name_a_method_by_its_title_and_files_by_its_name(tmp_path):
    some = params(
        criteria=["fisher", "mask"],
        tuning=["full", "bitfit_frozen_classifier"],
        peft=["spt_lora"],
        peft_budgets=[0.01],
        tasks=["sst2", "cola"],
    )
    names = ["fisher", "mask", "bitfit_frozen_classifier", "spt_lora"]
    titles = ["Fisher", "learned mask", "BitFit, frozen classifier", "SPT-LoRA"]
    assert [METHODS[name].title for name in names] == titles
    table = table_of(some)
    searches = search_table(
        {SearchedCell("sst2", names[2], 0): ([Trial(0, 8, 1e-4, "complete", [7.0])], {"accuracy": 8.0})}
    )
    transfers = transfer_table([Transferred("sst2", name, 1.0, 0, "imdb", 80.0, 500) for name in names])
    write_tables(table, searches, transfers, NOTHING_MORE[2], tmp_path)
    write_budget_curve([result_of(cell) for cell in some.cells()], tmp_path)
    write_kept_dimensions(masks_of(some), tmp_path)
    write_stability_matrix({("sst2", "mask"): pd.DataFrame([[1.0]], index=["0"], columns=["0"])}, tmp_path)

    for of_table in table_rows(tmp_path / "table.md").values():
        assert not {cell for row in of_table for cell in row} & set(names)
    for name in ("table.md", "table.tex"):
        assert all(title in (tmp_path / name).read_text() for title in titles)
    for name, texts in {
        "budget_curve": {"Fisher", "learned mask", "dense, BitFit, frozen classifier", "SPT-LoRA 1.00%"},
        "kept_dimensions": {f"Fisher 0.2{TIMES}", f"learned mask 0.4{TIMES}"},
        "stability": {"sst2, learned", "mask"},
    }.items():
        shown = {text.strip("●■▲◆▼✚✖ ") for text in texts_of(tmp_path / f"{name}.svg")}
        assert texts <= shown
    for name, column in (("table", "method"), ("budget_curve", "method"), ("kept_dimensions", "criterion")):
        assert set(pd.read_csv(tmp_path / f"{name}.csv")[column]) <= METHODS.keys()

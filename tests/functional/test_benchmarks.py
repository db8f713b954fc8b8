import importlib
import json
from pathlib import Path

import dvc.repo  # noqa: F401  # its log keeps the stream that it finds, which may not be one that ends with a test
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def measured(monkeypatch, tmp_path, capsys):
    """Run a benchmark's smoke run; gives its rows and what it wrote for people."""
    monkeypatch.syspath_prepend(ROOT)

    def run(name, *arguments):
        importlib.import_module(f"benchmarks.{name}").main(["--quick", "--out", str(tmp_path), *arguments])
        content = json.loads((tmp_path / f"{name}.json").read_text())
        page = (tmp_path / f"{name}.md").read_text()
        assert content["provenance"]["hardware"]["cpu"] in page
        assert all(str(word) in page for word in content["rows"][0])
        assert page.rpartition("\n\n")[2].strip() in capsys.readouterr().out
        return content["rows"], page

    return run


def test_step(measured, glue_directory):
    rows, page = measured("step", "--data", str(glue_directory), "--budgets", "0.3", "0.7", "--precisions", "fp32")
    assert [row["model"] for row in rows] == ["dense", "masked", "dense, prepared", "slim 0.3", "slim 0.7"]
    by_name = {row["model"]: row for row in rows}
    assert by_name["masked"]["times as fast as masked"] == by_name["dense"]["times as fast as dense"] == 1
    slim = by_name["slim 0.3"]
    assert slim["times as fast as masked"] == pytest.approx(by_name["masked"]["ms"] / slim["ms"])
    assert "--budgets 0.3 0.7" in page


def test_inference(measured):
    rows, _ = measured("inference", "--budget", "0.3")
    assert {(row["model"], row["runtime"]) for row in rows} == {
        ("masked", "torch"),
        *((model, runtime) for model in ("dense", "slim") for runtime in ("torch", "onnx", "onnx-int8")),
    }
    assert {(row["threads"], row["batch"], row["tokens"]) for row in rows} == {(1, 1, 16), (1, 4, 16)}
    assert all(
        row["times as fast as dense"] == 1 for row in rows if (row["model"], row["runtime"]) == ("dense", "torch")
    )


def test_cells(measured):
    (row,), _ = measured("cells")
    assert row["cells"] == 6
    assert row["stages"] == 24


def test_arithmetic(measured):
    rows, page = measured("arithmetic", "--round-to", "4")
    assert "--round-to 4" in page
    product = next(row for row in rows if row["work"] == "one large product")
    assert product["of one large product"] == 1
    assert product["GFLOP/s"] == pytest.approx(2 * 256**3 / product["ms"] / 1e6)
    assert {row["work"] for row in rows} - {"one large product"} == {
        f"{model}, {work}" for model in ("dense", "slim 0.4") for work in ("training", "inferring")
    }


def test_epoch(measured, glue_directory):
    rows, _ = measured("epoch", "--data", str(glue_directory), "--precisions", "fp32")
    plain, dense, slim, with_scoring = rows
    assert plain["run"] == "plain padded loop"
    assert plain["times as fast as plain"] == 1
    assert dense["sentences/s"] == pytest.approx(64 / dense["seconds"])
    assert with_scoring["seconds"] > slim["seconds"]
    assert all(0 <= row["accuracy"] <= 100 for row in rows)


def test_a_score_file_that_is_missing_is_named(measured):
    with pytest.raises(SystemExit, match=r"error: nowhere\.safetensors is missing"):
        measured("arithmetic", "--scores", "nowhere.safetensors")


@pytest.mark.parametrize("name", ["step", "inference", "arithmetic", "epoch", "grid"])
def test_help(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT)
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(f"benchmarks.{name}").main(["--help"])
    assert "--quick" in capsys.readouterr().out


def test_quantization(measured, glue_directory):
    rows, _ = measured("quantization", "--data", str(glue_directory))
    assert [row["file"] for row in rows] == ["fp32", "dynamic", "static, QDQ", "static, QOperator"]
    assert rows[0]["answers like PyTorch's (%)"] == 100
    assert all(0 < row["answers like PyTorch's (%)"] <= 100 and row["MB"] > 0 for row in rows)

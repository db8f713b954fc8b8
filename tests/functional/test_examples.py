"""What docs/api.md and examples/ show runs, with the tiny model in the place of the embedded one."""

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import sensibert as sb
from sensibert.cli import app

ROOT = Path(__file__).parents[2]
TOPICS = {"databases": "table", "networks": "layer", "statistics": "mean"}


@pytest.fixture
def sentences(tmp_path, monkeypatch):
    """The working folder, with a small file like that of examples/sentences.py."""
    rows = [{"sentence": f"the {word} {row}", "topic": topic} for row in range(30) for topic, word in TOPICS.items()]
    pd.DataFrame(rows).to_csv(tmp_path / "sentences.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_blocks_of_the_api_page_run(sentences):
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.+?)^```", page, flags=re.DOTALL | re.MULTILINE)
    code = "\n".join(blocks).replace("minilm-l6", "tiny-bert")
    quick = "budget=0.4, learning_rate=1e-3, training=sb.TrainingParams(epochs=1, min_steps=0))"
    assert "budget=0.4)\n" in code
    shown: dict = {}
    exec(code.replace("budget=0.4)\n", f"{quick}\n"), shown)
    assert shown["evidence"].after.cost.prunable_kept <= 0.4
    assert shown["logits"].shape == (1, 3)
    assert {budget: mask.kept_fraction <= budget for budget, mask in shown["masks"].items()} == {0.6: True, 0.4: True}
    assert shown["report"].onnx.max_difference < 1e-4
    for folder in ("small", "trimmed"):
        assert sb.load_model(sentences / folder).config.num_labels == 3


def run_notebook(path):
    """Run the cells of code one after the other, `!sensibert ...` in this process; gives what they define."""
    shown: dict = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if source.startswith("!sensibert "):
            result = CliRunner().invoke(app, shlex.split(source)[1:])
            assert result.exit_code == 0, result.output
        elif cell["cell_type"] == "code":
            exec(source, shown)
    return shown


def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.setenv("EXAMPLE_MODEL", "tiny-bert")
    monkeypatch.setenv("EXAMPLE_STEPS", "5")
    shown = run_notebook(ROOT / "examples/quickstart.ipynb")
    printed = capsys.readouterr().out
    assert shown["evidence"].after.examples == 120
    assert f"{shown['after'].cost.total_parameters:,}" in printed
    assert "made smaller for `sentences`" in printed
    assert (tmp_path / "small-onnx" / "predict.py").is_file()

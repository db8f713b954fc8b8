"""`sensibert export --to bf16`: weights of 16 bits, in a folder that Transformers loads."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, pipeline
from typer.testing import CliRunner

from sensibert.cli import app
from sensibert.data.tasks import TASKS
from sensibert.deploy.half import export_half
from sensibert.errors import ExportError
from sensibert.models.backbones import load_backbone, load_model, load_tokenizer
from sensibert.models.cost import weights_bytes
from sensibert.training.cell import save_model
from tests.functional.test_export import TEXTS, TOKENIZER, examples_of, slim_model


@pytest.fixture(scope="module")
def model():
    return slim_model(TASKS["sst2"])


@pytest.mark.parametrize(("number_format", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_the_folder_has_half_the_size_and_nearly_the_same_answers(model, tmp_path, number_format, dtype):
    save_model(model, TOKENIZER, tmp_path / "whole")
    given = examples_of(TEXTS), TOKENIZER, tmp_path / "half"
    fidelity, metrics = export_half(model, *given, number_format=number_format, task=TASKS["sst2"])
    assert fidelity.bytes == weights_bytes(tmp_path / "half") < 0.6 * weights_bytes(tmp_path / "whole")
    assert 0 < fidelity.max_difference < 0.1
    assert fidelity.agreement > 0.9
    assert fidelity.metrics.keys() == metrics.keys()
    assert load_model(tmp_path / "half").dtype == torch.float32
    assert next(model.parameters()).dtype == torch.float32
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "half")
    assert loaded.dtype == dtype
    assert pipeline("text-classification", loaded, tokenizer=load_tokenizer("tiny-bert"))(TEXTS[:2])


def test_weights_beyond_the_range_of_fp16_are_refused(tmp_path):
    model = load_backbone("tiny-bert", TASKS["sst2"], seed=0)
    with torch.no_grad():
        model.classifier.bias.fill_(1e6)
    with pytest.raises(ExportError, match="does not fit fp16"):
        export_half(model, examples_of(TEXTS), TOKENIZER, tmp_path / "half", number_format="fp16")
    assert not any(tmp_path.iterdir())


def test_the_command(model, tmp_path):
    save_model(model, TOKENIZER, tmp_path / "small")

    def export(*more):
        command = ("export", tmp_path / "small", "--to", "bf16", "--out", tmp_path / "half", *more)
        return CliRunner().invoke(app, [str(word) for word in command])

    refused = export("--int8")
    assert (refused.exit_code, "--int8 quantizes an ONNX file" in refused.output) == (1, True)
    done = export()
    assert done.exit_code == 0, done.output
    assert "bf16 weights: " in done.output
    again = export()
    assert again.exit_code == 1
    assert export("--overwrite").exit_code == 0

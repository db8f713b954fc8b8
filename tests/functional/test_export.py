import json
import shutil
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from datasets import Dataset
from packaging.requirements import Requirement

from sensibert.data.encoding import encode
from sensibert.data.tasks import TASKS
from sensibert.deploy.onnx import export
from sensibert.deploy.onnx.export import export_onnx, open_session, predict_onnx, to_onnx, why_int8_is_slow
from sensibert.deploy.onnx.onnx_predict import Model
from sensibert.errors import ExportError
from sensibert.evaluation.evaluate import predict
from sensibert.evaluation.metrics import compute_metrics
from sensibert.io import MARK
from sensibert.models.anatomy import costs_of, grains_of, layers_of, prunable_modules
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.models.mask import Mask
from sensibert.models.slim import slim
from sensibert.scoring.ranking import make_mask

TOKENIZER = load_tokenizer("tiny-bert")
GENERATOR = np.random.default_rng(0)
TEXTS = [" ".join(GENERATOR.choice(["a", "bad", "cat", "died", "eerily"], size)) for size in range(1, 21)]
LABELS = [size % 2 for size in range(20)]
MAX_LENGTH = 48
FILES = {MARK, "config.json", "export.json", "model.onnx", "model.int8.onnx", "predict.py", "tokenizer.json"}


def halved(model):
    """A slim model: half of the prunable parameters, chosen at random."""
    generator = np.random.default_rng(0)
    scores = {key: generator.random(module.shape) for key, module in prunable_modules(model).items()}
    return slim(model, make_mask(scores, costs_of(model), 0.5, grains=grains_of(model))).eval()


def slim_model(task):
    """A slim model whose logits differ between texts."""
    model = load_backbone("tiny-bert", task, seed=0)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.2)
    del layers_of(model)[1:]
    model.config.num_hidden_layers = 1
    return halved(model)


def examples_of(texts, labels=LABELS, **second):
    rows = {"text": texts, **second, "label": labels, "idx": range(len(texts))}
    return encode(Dataset.from_dict(rows), TOKENIZER, MAX_LENGTH)


def metrics_of(logits):
    return compute_metrics(TASKS["sst2"], logits.argmax(axis=1), np.array(LABELS))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def model():
    return slim_model(TASKS["sst2"])


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """The folder of an export, and its report."""
    out = tmp_path_factory.mktemp("export") / "onnx"
    given = model, examples_of(TEXTS), TOKENIZER, out
    return out, export_onnx(*given, max_length=MAX_LENGTH, texts=TEXTS, task=TASKS["sst2"], int8=True)


# Of models that are built of the same layers, one; BERT's are in `exported`.
@pytest.mark.parametrize(
    "tiny_model",
    ["deberta-v2", "gpt2", "modernbert", "mpnet", "vit"],  # each has attention of its own
    indirect=True,
)
def test_a_slim_model_of_every_architecture_gives_its_logits_at_every_size(tiny_model, batch, tmp_path):
    del layers_of(tiny_model)[1:]
    model, file = halved(tiny_model), tmp_path / "model.onnx"
    batch.pop("labels")
    to_onnx(model, batch, file)
    onnx.checker.check_model(file)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    session = open_session(file)
    if "pixel_values" in batch:
        others = [{"pixel_values": torch.randn(size, 3, 8, 8)} for size in (1, 7)]
    else:
        ids = torch.randint(1, 50, (2, 40))
        others = [
            {"input_ids": ids[:rows, :length], "attention_mask": torch.ones(rows, length, dtype=torch.long)}
            for rows, length in ((1, 1), (1, 40), (2, 17))
        ]
    for inputs in (batch, *others):
        with torch.no_grad():
            expected = model(**inputs).logits.numpy()
        (found,) = session.run(["logits"], {name: values.numpy() for name, values in inputs.items()})
        assert np.abs(found - expected).max() < 1e-4


def test_no_product_is_left_of_a_module_that_keeps_nothing(tmp_path):
    whole = load_backbone("tiny-bert", TASKS["sst2"], seed=0)  # of two layers
    kept = {(0, "attention"), (1, "feed_forward")}
    keep = {key: np.full(module.shape, key in kept) for key, module in prunable_modules(whole).items()}
    small, out = slim(whole, Mask(keep, costs_of(whole))).eval(), tmp_path / "out"
    report = export_onnx(small, examples_of(TEXTS), TOKENIZER, out, max_length=MAX_LENGTH, texts=TEXTS, int8=True)
    assert report.onnx.max_difference < 1e-5
    for file in ("model.onnx", "model.int8.onnx"):
        kinds = [node.op_type for node in onnx.load(out / file).graph.node]
        assert kinds.count("Softmax") == kinds.count("Gelu") == 1
    kinds = [node.op_type for node in onnx.load(out / "model.onnx").graph.node]
    assert kinds.count("MatMul") == 6 + 2  # what one attention and one feed-forward module need


def test_the_report_tells_how_close_the_files_are(exported, model):
    out, report = exported
    examples = examples_of(TEXTS)
    expected = predict(model, examples, TOKENIZER)
    assert np.ptp(expected, axis=0).min() > 0.1  # the texts are told apart, so the order of the rows was tested
    assert report.texts == 20
    assert report.pytorch_metrics == metrics_of(expected)
    for fidelity, limits in ((report.onnx, (0, 1e-5)), (report.int8, (1e-3, 1))):
        session = open_session(out / fidelity.file)
        alone = predict_onnx(session, examples, TOKENIZER)
        together = predict_onnx(session, examples, TOKENIZER, batch_size=32)
        differences = np.abs(np.stack([alone, together]) - expected)
        assert limits[0] <= fidelity.max_difference == differences.max() < limits[1]
        assert fidelity.mean_difference == pytest.approx(differences[0].mean())
        assert fidelity.agreement == (alone.argmax(1) == expected.argmax(1)).mean()
        assert fidelity.metrics == metrics_of(alone)
        assert fidelity.bytes == (out / fidelity.file).stat().st_size
    assert json.loads((out / "export.json").read_text())["int8"]["max_difference"] == report.int8.max_difference


def test_every_weight_matrix_is_quantized_to_seven_bits(exported):
    out, _ = exported
    graph = onnx.load(out / "model.int8.onnx").graph
    weights = {array.name: onnx.numpy_helper.to_array(array) for array in graph.initializer if len(array.dims) == 2}
    products = [node for node in graph.node if node.op_type == "MatMulInteger"]
    assert len(products) == 7  # six in the layer, and the classifier
    for node in products:
        assert weights[node.input[1]].dtype == np.int8
        assert np.abs(weights[node.input[1]]).max() <= 64
    assert not [name for name, weight in weights.items() if weight.dtype == np.float32]
    assert (out / "model.int8.onnx").stat().st_size < (out / "model.onnx").stat().st_size


def test_the_same_model_gives_the_same_bytes_in_place_of_an_earlier_export(exported, model, tmp_path):
    out, report = exported
    again = Path(shutil.copytree(out, tmp_path / "again"))
    (again / "stale").touch()
    options = {"max_length": MAX_LENGTH, "texts": TEXTS, "task": TASKS["sst2"], "int8": True}
    assert export_onnx(model, examples_of(TEXTS), TOKENIZER, again, **options) == report
    assert contents(again) == contents(out)
    assert contents(out).keys() == FILES


def test_the_model_itself_stays_as_it_was(exported, model):
    assert not model.training
    assert model.config._attn_implementation != "eager"
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_files_quote_no_path_of_this_machine(exported):
    out, _ = exported
    for name, content in contents(out).items():
        for place in (sys.prefix + "/", str(Path.home()) + "/", str(Path.cwd()) + "/", "site-packages", "stack_trace"):
            assert place.encode() not in content, (name, place)


@pytest.mark.parametrize(("option", "file"), [("tolerance", "model.onnx"), ("int8_tolerance", "model.int8.onnx")])
def test_an_export_beyond_the_tolerance_leaves_what_was_there(option, file, exported, model, tmp_path, monkeypatch):
    # The graph of the same model, so that it need not be traced anew.
    monkeypatch.setattr(export, "to_onnx", lambda _, __, to: shutil.copy(exported[0] / "model.onnx", to))
    out = Path(shutil.copytree(exported[0], tmp_path / "onnx"))
    before = contents(out)
    message = rf"{file} differs from PyTorch by up to \S+ in a logit \(mean .*% of the predictions agree; allowed: 0"
    with pytest.raises(ExportError, match=message):
        export_onnx(model, examples_of(TEXTS), TOKENIZER, out, max_length=MAX_LENGTH, int8=True, **{option: 0})
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["onnx"]


def test_a_regression_of_pairs(tmp_path):
    pairs, task, out = list(zip(TEXTS, TEXTS[::-1], strict=True)), TASKS["stsb"], tmp_path / "onnx"
    regression, examples = slim_model(task), examples_of(TEXTS, np.linspace(0, 5, 20), text_pair=TEXTS[::-1])
    report = export_onnx(regression, examples, TOKENIZER, out, max_length=MAX_LENGTH, texts=pairs, task=task)
    assert report.int8 is None
    assert report.onnx.agreement is None
    assert report.onnx.metrics == pytest.approx(report.pytorch_metrics, rel=1e-4)
    assert report.onnx.metrics.keys() == {"pearson", "spearman"}
    expected = predict(regression, examples, TOKENIZER)
    answering = Model(out)
    assert np.abs(answering.logits(pairs) - expected).max() < 1e-4
    assert answering.answer(pairs[3]) == {"score": pytest.approx(expected[3, 0], abs=1e-4)}


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """The interpreter of an environment with onnxruntime, tokenizers and what these need."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in needed_by("onnxruntime", "tokenizers"):
        files = distribution(name).files
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(distribution(name).locate_file(top))
    return folder / "bin" / "python"


def needed_by(*names):
    found, left = set(), list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            needs = map(Requirement, distribution(name).requires or [])
            left += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def run_bare(python, *arguments, **options):
    return subprocess.run([python, "-I", *arguments], capture_output=True, text=True, check=True, **options).stdout


def test_the_folder_answers_without_torch_transformers_and_this_package(bare_python, exported, model, tmp_path):
    out = Path(shutil.copytree(exported[0], tmp_path / "elsewhere"))
    probe = """
import importlib.util, json, runpy, sys
for name in ("torch", "transformers", "sensibert", "datasets", "safetensors"):
    assert importlib.util.find_spec(name) is None, name
model = runpy.run_path("predict.py")["Model"]
texts = json.load(sys.stdin)
print(json.dumps({file: model(file=file).logits(texts).tolist() for file in ("model.onnx", "model.int8.onnx")}))
"""
    answers = json.loads(run_bare(bare_python, "-c", probe, cwd=out, input=json.dumps(TEXTS)))
    expected = predict(model, examples_of(TEXTS), TOKENIZER)
    assert np.abs(np.array(answers["model.onnx"]) - expected).max() < 1e-4
    assert np.abs(np.array(answers["model.int8.onnx"]) - expected).max() < 1
    assert max(len(example["input_ids"]) for example in examples_of(TEXTS)) == MAX_LENGTH  # texts were cut

    answer = json.loads(run_bare(bare_python, out / "predict.py", TEXTS[4]))
    probabilities = torch.tensor(expected[4]).softmax(0)
    best = int(probabilities.argmax())
    assert answer == {
        "label": ("negative", "positive")[best],
        "probability": pytest.approx(probabilities[best].item(), abs=1e-4),
    }
    quantized = json.loads(run_bare(bare_python, out / "predict.py", TEXTS[4], "--model", "model.int8.onnx"))
    assert quantized.keys() == answer.keys()
    assert quantized != answer

    rows = pd.DataFrame({"id": range(len(TEXTS)), "review": TEXTS})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    options = ("--csv", tmp_path / "rows.csv", "--text", "review", "--batch-size", "2")
    (tmp_path / "answered.csv").write_text(run_bare(bare_python, out / "predict.py", *options), encoding="utf-8")
    answered = pd.read_csv(tmp_path / "answered.csv")
    assert answered[["id", "review"]].equals(rows)
    assert answered["predicted_label"].tolist() == [("negative", "positive")[best] for best in expected.argmax(axis=1)]
    assert answered["probability"].to_numpy() == pytest.approx(
        torch.tensor(expected).softmax(1).amax(1).numpy(), abs=1e-4
    )


def test_a_processor_without_instructions_for_int8_is_told(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", "avx2": True})
    assert "x86_64" in why_int8_is_slow()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", "avx_vnni": True})
    assert why_int8_is_slow() is None

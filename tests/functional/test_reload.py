"""A saved slim model loads wherever Transformers is: with this package, without it, and behind an MLflow server."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import urllib.request
import venv
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import torch
import transformers
import yaml
from mlflow.models import Model
from safetensors.torch import load_file, save_file
from servers import await_answer, free_port

from sensibert.data.tasks import TASKS
from sensibert.experiment.tracking.model_folder import lay_out
from sensibert.models.anatomy import costs_of, grains_of, prunable_modules
from sensibert.models.backbones import load_backbone, load_model, load_tokenizer
from sensibert.models.loading import TINY
from sensibert.models.slim import slim
from sensibert.scoring.ranking import make_mask

TEXTS = ["a warm and graceful film", "dull"]
REQUIREMENTS = ["torch", "transformers>=5.17,<6"]


def halved(model):
    torch.manual_seed(0)
    scores = {key: torch.rand(module.shape).numpy() for key, module in prunable_modules(model).items()}
    return slim(model, make_mask(scores, costs_of(model), 0.5, grains=grains_of(model)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A slim model and its tokenizer, as the pipeline leaves them."""
    folder = tmp_path_factory.mktemp("saved") / "slim"
    halved(load_backbone(TINY, TASKS["sst2"], seed=0)).save_pretrained(folder)
    load_tokenizer(TINY).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def answers(folder):
    """What the model says to `TEXTS`, asked in this process."""
    return transformers.pipeline("text-classification", str(folder))(TEXTS)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Run code or a command in an environment that has every installed package but this one."""
    root = tmp_path_factory.mktemp("clean")
    venv.create(root, symlinks=True)
    places = {name: Path(sysconfig.get_path(name, vars={"base": str(root)})) for name in ("purelib", "scripts")}
    for installed in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(installed).iterdir():
            # A .pth file may lead to the source of this package.
            if "sensibert" not in entry.name and entry.suffix != ".pth":
                (places["purelib"] / entry.name).symlink_to(entry)
    python = places["scripts"] / "python"
    uvicorn = places["scripts"] / "uvicorn"
    uvicorn.write_text(f"#!{python}\nfrom uvicorn.main import main\nmain()\n")
    uvicorn.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"HF_HOME": str(root / "hub"), "HF_HUB_OFFLINE": "1", "MLFLOW_TRACKING_URI": str(root / "runs")}
    environment["PATH"] = f"{places['scripts']}{os.pathsep}{environment['PATH']}"

    def start(*arguments, **options):
        return subprocess.Popen([python, *arguments], env=environment, cwd=root, text=True, **options)

    return start


def finish(process):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


def run(*arguments):
    return finish(subprocess.Popen([sys.executable, *arguments], text=True, stdout=-1, stderr=-1))


def test_importing_this_package_is_enough(folder):
    # Before Transformers; the tests of this file import it after Transformers.
    probe = f"""
import sensibert
from transformers import BertModel
import sys
from transformers import AutoModelForSequenceClassification
print(type(AutoModelForSequenceClassification.from_pretrained({str(folder)!r})))
assert not any(type(finder).__module__.startswith("sensibert") for finder in sys.meta_path)
"""
    expected = "<class 'sensibert.models.modeling_slim.SlimBertForSequenceClassification'>\n"
    assert run("-c", probe) == expected


def test_importing_this_package_is_light():
    probe = "import sys; before = {*sys.modules}; import sensibert; print({*sys.modules} - before)"
    loaded = {name.partition(".")[0] for name in eval(run("-c", probe))}
    assert loaded - sys.stdlib_module_names == {"sensibert"}


def test_looking_for_transformers_is_not_importing_it():
    probe = "import sensibert, sys; from importlib.util import find_spec; find_spec('transformers')"
    assert run("-c", f"{probe}; print('transformers' in sys.modules, 'torch' in sys.modules)") == "False False\n"


def logits_of(model, batch):
    with torch.no_grad():
        return model.eval()(**batch).logits


def test_every_architecture_loads_and_a_pipeline_answers_without_this_package(
    tiny_models, folder, answers, clean, tmp_path
):
    expected = {}
    for name, (model, batch) in tiny_models.items():
        small = halved(model)
        small.save_pretrained(tmp_path / "models" / name)
        save_file(batch, tmp_path / "models" / name / "batch.safetensors")
        expected[name] = logits_of(small, batch)
    probe = f"""
import importlib.util, pathlib, torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification, pipeline
assert importlib.util.find_spec("sensibert") is None
logits = {{}}
for folder in pathlib.Path({str(tmp_path / "models")!r}).iterdir():
    auto = AutoModelForImageClassification if folder.name == "vit" else AutoModelForSequenceClassification
    model = auto.from_pretrained(folder, trust_remote_code=True)
    with torch.no_grad():
        logits[folder.name] = model(**load_file(folder / "batch.safetensors")).logits
save_file(logits, {str(tmp_path / "logits.safetensors")!r})
print(pipeline("text-classification", {str(folder)!r}, trust_remote_code=True)({TEXTS!r}))
"""
    assert eval(finish(clean("-c", probe, stdout=-1, stderr=-1))) == answers
    found = load_file(tmp_path / "logits.safetensors")
    assert found.keys() == expected.keys()
    for name, logits in found.items():
        torch.testing.assert_close(logits, expected[name], atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def logged(folder, tmp_path_factory):
    """The model as MLflow keeps it."""
    path = tmp_path_factory.mktemp("mlflow") / "model"
    pipeline = transformers.pipeline("text-classification", str(folder))
    mlflow.transformers.save_model(pipeline, str(path), pip_requirements=REQUIREMENTS)
    return path


@pytest.fixture(scope="module")
def tracked(folder, tmp_path_factory):
    """The model as `sensibert track` logs it."""
    path = tmp_path_factory.mktemp("tracked") / "model"
    lay_out(folder, path, TASKS["sst2"], "m-1")
    return path


def test_a_tracked_model_is_what_mlflow_itself_would_write(folder, logged, tracked):
    theirs, ours = (Model.load(str(path)) for path in (logged, tracked))
    assert ours.flavors == {
        **theirs.flavors,
        "transformers": theirs.flavors["transformers"] | {"source_model_name": folder.name},
    }
    assert (ours.signature, ours.model_id) == (theirs.signature, "m-1")
    for path in ("model/config.json", "model/modeling_slim.py", "components/tokenizer/tokenizer.json"):
        assert (tracked / path).read_bytes() == (logged / path).read_bytes()
    assert (
        yaml.safe_load((tracked / "conda.yaml").read_text()).keys()
        == yaml.safe_load((logged / "conda.yaml").read_text()).keys()
    )


def test_a_tracked_model_loads_and_answers(folder, tracked, answers):
    assert mlflow.transformers.load_model(str(tracked))(TEXTS) == answers
    assert mlflow.pyfunc.load_model(str(tracked)).predict(TEXTS).to_dict("records") == [
        {"label": answer["label"], "score": pytest.approx(answer["score"])} for answer in answers
    ]


def test_a_tracked_model_for_pairs_of_texts_takes_two_columns(folder, tmp_path):
    lay_out(folder, tmp_path / "model", TASKS["mrpc"], "m-1")
    pairs = pd.DataFrame({"text": TEXTS, "text_pair": TEXTS[::-1]})
    expected = transformers.pipeline("text-classification", str(folder))(pairs.to_dict("records"))
    found = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(pairs)
    assert found["score"].tolist() == pytest.approx([answer["score"] for answer in expected])


def test_mlflow_gives_the_model_back(folder, logged):
    kept = mlflow.transformers.load_model(str(logged), return_type="components")
    ids = kept["tokenizer"](TEXTS, padding=True, return_tensors="pt")
    assert torch.equal(logits_of(kept["model"], ids), logits_of(load_model(folder), ids))


def test_an_mlflow_server_answers_without_this_package(logged, answers, clean, tmp_path):
    port = free_port()
    command = ["-m", "mlflow", "models", "serve", "-m", str(logged), "--env-manager", "local", "-p", str(port)]
    with (tmp_path / "log").open("w") as log:
        server = clean(*command, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        await_answer(f"{address}/ping", server, tmp_path / "log")
        body = json.dumps({"inputs": TEXTS}).encode()
        request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            assert json.load(response) == {"predictions": answers}
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def test_nothing_saved_is_a_pickle(folder, logged):
    for place in (folder, logged):
        suffixes = {file.suffix for file in place.rglob("*") if file.is_file()}
        assert ".safetensors" in suffixes
        assert suffixes <= {".safetensors", ".json", ".py", ".txt", ".yaml", ""}
    assert {file.name for file in logged.rglob("*") if file.is_file() and not file.suffix} == {"MLmodel"}

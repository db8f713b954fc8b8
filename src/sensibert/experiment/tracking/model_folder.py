"""A saved model as `mlflow.transformers` keeps one, so that MLflow loads and serves it.

Written here rather than by `mlflow.transformers.save_model`, which would load torch and the model first: ten seconds
for a folder that is there already.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from sensibert.data.tasks import Task
from sensibert.io import read_json
from sensibert.models.config_file import CONFIG

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

TASK_OF_PIPELINE = "text-classification"
_MODEL, _TOKENIZER = "model", "components/tokenizer"
_OF_MODEL = (".safetensors", ".py")
_PACKAGES = ("mlflow", "torch", "transformers")


def lay_out(source: Path, folder: Path, task: Task, model_id: str) -> None:
    """Write what describes a model to MLflow, and links to the files of the model itself.

    Args:
        source: The saved model with its tokenizer.
        folder: Where the model of MLflow goes; it is not there yet.
        task: Says whether a text or a pair of texts goes in.
        model_id: Of the model in MLflow.
    """
    from mlflow import pyfunc
    from mlflow.models import Model

    files = sorted(path for path in source.iterdir() if path.is_file() and not path.name.startswith("."))
    of_model = [path for path in files if path.name == CONFIG or path.suffix in _OF_MODEL]
    _link(of_model, folder / _MODEL)
    _link([path for path in files if path not in of_model], folder / _TOKENIZER)
    config, tokenizer = read_json(source / CONFIG), read_json(source / "tokenizer_config.json")
    described = Model(
        model_id=model_id,
        signature=_signature(task),
        model_size_bytes=sum(path.stat().st_size for path in files),
    )
    described.add_flavor(
        "transformers",
        task=TASK_OF_PIPELINE,
        instance_type="TextClassificationPipeline",
        pipeline_model_type=config["architectures"][0],
        source_model_name=source.name,
        model_binary=_MODEL,
        components=["tokenizer"],
        tokenizer_type=tokenizer["tokenizer_class"],
        torch_dtype="torch.float32",
        transformers_version=version("transformers"),
        code=None,
    )
    pyfunc.add_to_model(
        described, loader_module="mlflow.transformers", conda_env="conda.yaml", python_env="python_env.yaml"
    )
    _write_environment(folder)
    described.save(str(folder / "MLmodel"))


def _link(files: Iterable[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for path in files:
        (folder / path.name).symlink_to(path.resolve())


def _signature(task: Task) -> ModelSignature:
    """A text, or a pair of texts as two columns, gives a label and its score."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    texts = [ColSpec("string", "text"), ColSpec("string", "text_pair")] if task.is_pair else [ColSpec("string")]
    return ModelSignature(Schema([*texts]), Schema([ColSpec("string", "label"), ColSpec("double", "score")]))


def _write_environment(folder: Path) -> None:
    """The packages that a server needs, in the versions that are installed here."""
    from mlflow.utils.environment import _mlflow_conda_env, _PythonEnv

    packages = [f"{name}=={version(name).partition('+')[0]}" for name in _PACKAGES]
    (folder / "requirements.txt").write_text("\n".join(packages), encoding="utf-8")
    _mlflow_conda_env(str(folder / "conda.yaml"), additional_pip_deps=packages[1:])
    _PythonEnv.current().to_yaml(str(folder / "python_env.yaml"))

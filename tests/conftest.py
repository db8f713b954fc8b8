import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is imported; a test that asks for a model waits otherwise

_TINY = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ARCHITECTURES = {
    "bert": _TINY,
    "camembert": _TINY | _TOKENS,
    "deberta-v2": _TINY
    | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "share_att_key": True}
    | {"position_buckets": 4, "max_relative_positions": 8, "norm_rel_ebd": "layer_norm"},
    "deberta-v2 unshared": _TINY | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "distilbert": {"dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 20},
    "electra": _TINY | {"embedding_size": 16},
    "gpt2": {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_inner": 20, "n_positions": 64} | _TOKENS,
    "modernbert": _TINY | _TOKENS | {"cls_token_id": 1, "sep_token_id": 2, "attention_bias": True},
    "modernbert without biases": _TINY | _TOKENS | {"cls_token_id": 1, "sep_token_id": 2},
    "mpnet": _TINY,
    "roberta": _TINY | _TOKENS,
    "vit": _TINY | {"image_size": 8, "patch_size": 4},
    "xlm-roberta": _TINY | _TOKENS,
}
"""Model type (and variant) -> the config entries that make it tiny. The shared tests run on every row."""

TRAIN_ROWS, VALIDATION_ROWS = 80, 30

SUBJECTS = ("film", "story", "plot", "actor", "camera", "script", "music", "ending", "scene", "director")
PLACES = ("in the city", "at home", "on the stage", "by the river", "near the end", "from the start")
POSITIVE = ("bright", "moving", "clever", "warm", "graceful", "funny", "fresh", "gripping")
NEGATIVE = ("dull", "clumsy", "bland", "tired", "noisy", "stale", "hollow", "messy")
VERBS = ("meets", "follows", "ignores", "praises", "recalls", "copies", "answers", "avoids")


def _sentence(draw: np.random.Generator, adjectives: tuple[str, ...]) -> str:
    first, second = draw.choice(adjectives, 2, replace=False)
    subject, other = draw.choice(SUBJECTS, 2, replace=False)
    return f"the {first} {subject} {draw.choice(VERBS)} the {second} {other} {draw.choice(PLACES)}"


def _single(draw: np.random.Generator, label: int) -> tuple[str]:
    return (_sentence(draw, POSITIVE if label else NEGATIVE),)


def _pair(draw: np.random.Generator, shared: float) -> tuple[str, str]:
    """Two sentences, the second with about `shared` of the first one's words."""
    first = _sentence(draw, (*POSITIVE, *NEGATIVE)).split()
    other = _sentence(draw, (*POSITIVE, *NEGATIVE)).split()
    size = min(len(first), len(other))
    kept = draw.permutation(size) < round(shared * size)
    return " ".join(first), " ".join(first[i] if kept[i] else other[i] for i in range(size))


def _rows(task: str, count: int, draw: np.random.Generator) -> pd.DataFrame:
    texts: dict[tuple[str, ...], float] = {}
    while len(texts) < count:
        label = len(texts) % 2
        if task == "sst2":
            texts[_single(draw, label)] = label
        elif task == "mrpc":
            texts[_pair(draw, shared=0.9 if label else 0.1)] = label
        else:
            score = round(float(draw.uniform(0, 5)), 1)
            texts[_pair(draw, shared=score / 5)] = score
    columns = ["sentence"] if task == "sst2" else ["sentence1", "sentence2"]
    frame = pd.DataFrame(list(texts), columns=columns)
    return frame.assign(label=list(texts.values()), idx=range(count))


@pytest.fixture(scope="session")
def glue_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for `data.source: local` with a small, learnable sst2, mrpc and stsb; the same rows every time."""
    directory = tmp_path_factory.mktemp("glue")
    for number, task in enumerate(("sst2", "mrpc", "stsb")):
        rows = _rows(task, TRAIN_ROWS + VALIDATION_ROWS, np.random.default_rng(number))
        (directory / task).mkdir(parents=True)
        rows[:TRAIN_ROWS].to_parquet(directory / task / "train.parquet", index=False)
        validation = rows[TRAIN_ROWS:].assign(idx=range(VALIDATION_ROWS))
        validation.to_parquet(directory / task / "validation.parquet", index=False)
    return directory


@pytest.fixture
def glue_directory(glue_data: Path, tmp_path: Path) -> Path:
    """A copy of `glue_data` of the test's own."""
    return Path(shutil.copytree(glue_data, tmp_path / "glue"))


def _make_tiny_model(name):
    import torch
    from transformers import AutoConfig, AutoModelForImageClassification, AutoModelForSequenceClassification

    labels = {"id2label": dict(enumerate("abc")), "problem_type": "single_label_classification"}
    model_type = name.partition(" ")[0]
    is_image = model_type == "vit"
    vocabulary = {} if is_image else {"vocab_size": 50}
    config = AutoConfig.for_model(model_type, **vocabulary, **labels, **ARCHITECTURES[name])
    auto = AutoModelForImageClassification if is_image else AutoModelForSequenceClassification
    torch.manual_seed(0)
    model = auto.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.2)
    return model.eval()


def _make_batch(model):
    import torch

    torch.manual_seed(1)
    labels = torch.tensor([0, 1, 2, 1])
    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.randn(4, 3, 8, 8), "labels": labels}
    lengths = torch.tensor([9, 7, 4, 2])
    attention_mask = (torch.arange(9) < lengths[:, None]).long()
    ids = torch.randint(1, 50, (4, 9)) * attention_mask
    return {"input_ids": ids, "attention_mask": attention_mask, "labels": labels}


@pytest.fixture(params=ARCHITECTURES)
def tiny_model(request):
    """A random classifier of three classes, in eval mode; no weight, bias or norm is at its usual start value."""
    return _make_tiny_model(request.param)


@pytest.fixture
def batch(tiny_model):
    """Four texts of different lengths, padded, or four images, for `tiny_model`."""
    return _make_batch(tiny_model)


@pytest.fixture
def examples(batch):
    """The examples of `batch` one by one, without padding."""

    def alone(row):
        example = {name: values[row : row + 1] for name, values in batch.items()}
        if "attention_mask" in example:
            example["input_ids"] = example["input_ids"][:, : example.pop("attention_mask").sum()]
        return example

    return [alone(row) for row in range(len(batch["labels"]))]


@pytest.fixture
def tiny_models():
    """Every row of `ARCHITECTURES` at once: name -> `tiny_model` and `batch`."""
    models = {name: _make_tiny_model(name) for name in ARCHITECTURES}
    return {name: (model, _make_batch(model)) for name, model in models.items()}

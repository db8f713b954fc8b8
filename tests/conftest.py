import gc
import os
import shutil
from pathlib import Path

import pytest

from tiny_glue import write_tiny_glue

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


gc.disable()  # until everything is imported: a sixth of that time went into a search for garbage


def pytest_collection_finish() -> None:
    """Take what is imported by now out of the garbage collection, which every training starts with."""
    gc.freeze()
    gc.enable()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Do the same with what a file leaves: every training of a later one would look through it."""
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def glue_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for `data.source: local` with a small, learnable sst2, mrpc and stsb; the same rows every time."""
    directory = tmp_path_factory.mktemp("glue")
    write_tiny_glue(directory)
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


@pytest.fixture(scope="session")
def tiny_models():
    """Every row of `ARCHITECTURES` at once: name -> `tiny_model` and `batch`."""
    models = {name: _make_tiny_model(name) for name in ARCHITECTURES}
    return {name: (model, _make_batch(model)) for name, model in models.items()}

"""The whole recipe of Kwon et al. on a backbone: reproducible, and its model can be kept."""

import pytest
import torch

from sensibert.config.method_settings import KwonParams
from sensibert.data.encoding import draw
from sensibert.data.tasks import TASKS
from sensibert.models.backbones import load_backbone, load_model, load_tokenizer
from sensibert.models.mask import read_mask, write_mask
from sensibert.pruning.kwon.recipe import prune_model

TOKENIZER = load_tokenizer("tiny-bert")
EXAMPLES = [
    {"input_ids": [2, *range(10, 12 + row % 5), 10 + row % 3, 3], "labels": int(row % 3 == 0)} for row in range(40)
]
SETTINGS = KwonParams(samples=24, batch_size=8)


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits


@pytest.fixture(scope="module")
def classifier():
    return load_backbone("tiny-bert", TASKS["sst2"], 0).eval()


def test_the_same_seed_gives_the_same_bytes_and_another_one_another_sample(classifier, tmp_path):
    written = []
    for number, seed in enumerate((0, 0, 1)):
        pruned = prune_model(classifier, EXAMPLES, TOKENIZER, 0.5, SETTINGS, seed)
        pruned.model.save_pretrained(tmp_path / str(number))
        write_mask(tmp_path / f"{number}.mask", pruned.mask)
        weights = (tmp_path / str(number) / "model.safetensors").read_bytes()
        written.append((weights, (tmp_path / f"{number}.mask").read_bytes()))
    assert written[0] == written[1]
    assert written[0][0] != written[2][0]
    mask = read_mask(tmp_path / "0.mask")
    assert mask.origin == prune_model(classifier, EXAMPLES, TOKENIZER, 0.5, SETTINGS, 0).mask.origin


def test_the_pruned_model_can_be_saved_and_loaded(classifier, tmp_path):
    small = prune_model(classifier, EXAMPLES, TOKENIZER, 0.5, SETTINGS, 0).model
    small.save_pretrained(tmp_path)
    batch = {"input_ids": torch.tensor([EXAMPLES[3]["input_ids"]])}
    assert torch.equal(logits(load_model(tmp_path).eval(), batch), logits(small, batch))


def test_only_the_sample_decides(classifier):
    """Other examples count for nothing but the mean length."""
    sample = draw(EXAMPLES, SETTINGS.samples, seed=5)
    others = [
        {**example, "labels": 1 - example["labels"]} if example not in sample else example for example in EXAMPLES
    ]
    assert others != EXAMPLES
    one, two = (prune_model(classifier, examples, TOKENIZER, 0.5, SETTINGS, 5) for examples in (EXAMPLES, others))
    assert all(torch.equal(values, two.model.state_dict()[name]) for name, values in one.model.state_dict().items())

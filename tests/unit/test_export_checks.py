"""What an export refuses before it builds a graph, and the tokenizer that it takes along."""

import pytest
from tokenizers import Tokenizer
from transformers import CanineTokenizer

from sensibert.data.encoding import encode_texts
from sensibert.data.tasks import TASKS
from sensibert.deploy.onnx.export import export_onnx, portable_tokenizer
from sensibert.errors import ExportError
from sensibert.models.backbones import load_backbone, load_tokenizer

TEXTS = ["a bad cat", "cat died eerily", "a"]


@pytest.fixture(scope="module")
def model():
    return load_backbone("tiny-bert", TASKS["sst2"], seed=0)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("tiny-bert")


@pytest.fixture(scope="module")
def examples(tokenizer):
    return encode_texts(TEXTS, tokenizer, 16)


def test_a_tokenizer_in_python_is_refused():
    with pytest.raises(ExportError, match=r"CanineTokenizer is written in Python; .* tokenizer.json can hold"):
        portable_tokenizer(CanineTokenizer(), 16)


def test_the_portable_tokenizer_cuts_and_pads_as_the_original(tmp_path):
    original = load_tokenizer("minilm-l6")  # its tokenizer.json pads every text to 128 tokens
    pairs = [("short", "a second text"), ("a first text that is longer than the other " * 3, "short")]
    portable_tokenizer(original, 16).save(str(tmp_path / "tokenizer.json"))
    found = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode_batch(pairs)
    expected = original(*map(list, zip(*pairs, strict=True)), truncation=True, max_length=16, padding=True)
    assert [text.ids for text in found] == expected["input_ids"]
    assert [text.type_ids for text in found] == expected["token_type_ids"]
    assert [text.attention_mask for text in found] == expected["attention_mask"]
    assert len(found[0].ids) == 16


def test_texts_that_are_not_those_of_the_examples_are_refused(model, tokenizer, examples, tmp_path):
    with pytest.raises(ExportError, match="cuts a text into other tokens than the model's tokenizer: 'cat died"):
        export_onnx(model, examples, tokenizer, tmp_path / "onnx", max_length=16, texts=[TEXTS[0], TEXTS[1][:8], "a"])
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_files_is_left_alone(model, tokenizer, examples, tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(ExportError, match=f"{tmp_path} is there already and is no export; name a new folder"):
        export_onnx(model, examples, tokenizer, tmp_path, max_length=16)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("mine", "precious")]


def test_a_check_without_texts_is_refused(model, tokenizer, tmp_path):
    with pytest.raises(ExportError, match="no text to check the export with"):
        export_onnx(model, [], tokenizer, tmp_path / "onnx", max_length=16)


@pytest.mark.parametrize("tiny_model", ["vit"], indirect=True)
def test_a_model_of_images_is_referred_to_the_function_for_it(tiny_model, tokenizer, batch, tmp_path):
    with pytest.raises(ExportError, match="the model reads pixel_values, no texts; to_onnx exports it"):
        export_onnx(tiny_model, [batch], tokenizer, tmp_path / "onnx", max_length=16)

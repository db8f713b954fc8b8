"""Model folders that are damaged, absurd, or of another kind: refused by name before anything is made of them."""

import contextlib
import json
import os
import pickle
import shutil

import pytest
import torch
from hostile import by_command, change_json, run, to, with_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from sensibert.errors import BackboneError
from sensibert.models.backbones import class_names, load_model, load_tokenizer
from sensibert.models.config_file import read_config

MODELS = ("evaluate", "compress", "bench", "score", "export")
TOKENIZERS = ("evaluate", "compress", "score", "export")
NO_NUMBERS = ("32", -1, 0, 1.5, None, [3], True, {}, 10**9, 10**12)
SIZES = ("hidden_size", "num_attention_heads", "intermediate_size", "vocab_size", "max_position_embeddings")
QUERY = "bert.encoder.layer.0.attention.self.query"
HOLDER = "bert.encoder.layer.0.attention.self"


def sizes_that_are_none():
    for number, value in enumerate(NO_NUMBERS):
        for name in SIZES[number % 2 :: 2]:
            yield f"{name} {value!r}", ({name: value}, f"{name}: must be a whole number from 1 to 10,000,000 (found ")
        layers = "num_hidden_layers: must be a whole number from 1 to 1,000 (found "
        yield f"num_hidden_layers {value!r}", ({"num_hidden_layers": value}, layers)
    yield (
        "a million layers",
        ({"num_hidden_layers": 10**6}, "num_hidden_layers: must be a whole number from 1 to 1,000"),
    )
    yield "type_vocab_size", ({"type_vocab_size": -1}, "type_vocab_size: must be a whole number from 0 to ")


def slim(linears=None, attributes=None, **other):
    return {"model_type": "slim_bert", "slim_linears": linears or {}, "slim_attributes": attributes or {}, **other}


CONFIGS = dict(sizes_that_are_none()) | {
    "heads that do not divide": ({"num_attention_heads": 5}, "not a multiple of the number of attention heads"),
    "a table for the weights of another": ({"vocab_size": 9_000_000}, "config.json describes 288,0"),
    "wide for its weights": ({"hidden_size": 10_000}, "its sizes are not those of the weights"),
    "deep for its weights": ({"num_hidden_layers": 3}, "has no fitting weights for"),
    "an activation that is none": ({"hidden_act": "evil"}, "cannot load 'model': its files are damaged or of another"),
    "a dropout that is none": (
        {"hidden_dropout_prob": "x"},
        "cannot load 'model': Validation error for field 'hidden_",
    ),
    "too much dropout": ({"hidden_dropout_prob": 7}, "dropout probability has to be between 0 and 1"),
    "padding beyond the table": ({"pad_token_id": 99_999}, "Padding_idx must be within num_embeddings"),
    "a number format that is none": ({"dtype": "evil"}, "cannot load 'model'"),
    "whole numbers as weights": ({"dtype": "int8"}, "not a floating-point dtype"),
    "a kernel of somebody": ({"attn_implementation": "evil/kernel"}, "cannot load 'model'"),
    "unknown type": ({"model_type": "evil"}, "does not recognize this architecture"),
    "a path as type": ({"model_type": "../../x"}, "does not recognize this architecture"),
    "a number as type": ({"model_type": 3}, "model_type: must be a text (found 3)"),
    "a list as type": ({"model_type": ["bert"]}, "model_type: must be a text (found ['bert'])"),
    "a number as architectures": ({"architectures": 3}, "architectures: must be a list of texts (found 3)"),
    "a text as architectures": ({"architectures": "Bert"}, "architectures: must be a list of texts (found 'Bert')"),
    "an encoder-decoder": ({"model_type": "bart"}, "'model' is an encoder-decoder ('bart')"),
    "a model of speech": ({"model_type": "wav2vec2"}, "Unrecognized configuration class"),
    "weights of another type": ({"model_type": "distilbert"}, "has no fitting weights for"),
    "labels in a list": ({"id2label": ["a", "b"]}, "id2label: must map each class to its name (found ['a', 'b'])"),
    "labels in a text": ({"id2label": "ab"}, "id2label: must map each class to its name (found 'ab')"),
    "no labels": ({"id2label": {}}, "id2label: must map each class to its name (found {})"),
    "labels without numbers": ({"id2label": {"x": "a", "y": "b"}}, "classes must have the ids 0 to 1 (found 'x')"),
    "labels with a gap": ({"id2label": {"0": "a", "7": "b"}}, "classes must have the ids 0 to 1 (found '7')"),
    "labels from -1": ({"id2label": {"-1": "a", "0": "b"}}, "classes must have the ids 0 to 1 (found '-1')"),
    "labels twice": ({"id2label": {"0": "a", "00": "b"}}, "classes must have the ids 0 to 1 (found '00')"),
    "labels without names": ({"id2label": {"0": "a", "1": None}}, "id2label.1: must be a text (found None)"),
    "labels that are lists": ({"id2label": {"0": ["a"], "1": "b"}}, "id2label.0: must be a text (found ['a'])"),
    "fewer labels than classes": ({"num_labels": 3}, "num_labels: is 3, but id2label names 2 classes"),
    "less than no classes": ({"num_labels": -1}, "num_labels: must be a whole number from 1 to 100,000 (found -1)"),
    "ten milliard classes": ({"num_labels": 10**10}, "num_labels: must be a whole number from 1 to 100,000"),
    "slim without sizes": (
        {"model_type": "slim_bert"},
        "slim_linears: a slim model must say here how its layers differ",
    ),
    "slim of another type": ({"model_type": "slim_evil"}, "model_type: must be one of slim_bert, "),
    "slim, negative": (slim({QUERY: [-1, 3]}), f"slim_linears.{QUERY}: must be a whole number from 0"),
    "slim, huge": (slim({QUERY: [10**7, 10**7]}), "its sizes are not those of the weights"),
    "slim, no layers": (
        slim() | {"slim_layers": {"bert.encoder.layer": 0}},
        "slim_layers.bert.encoder.layer: must be a whole number from 1",
    ),
    "slim, other layers": (slim() | {"slim_layers": {"bert": 1}}, "slim_layers: 'bert' is no layer that can be slim"),
    "slim, three sizes": (slim({QUERY: [1, 2, 3]}), f"slim_linears.{QUERY}: must be a list of inputs and outputs"),
    "slim, texts": (slim({QUERY: "ab"}), f"slim_linears.{QUERY}: must be a list of inputs and outputs (found 'ab')"),
    "slim, no such layer": (
        slim({"bert.nothing": [1, 2]}),
        "slim_linears: 'bert.nothing' is no layer that can be slim",
    ),
    "slim embeddings": (
        slim({"bert.embeddings": [1, 2]}),
        "slim_linears: 'bert.embeddings' is no layer that can be slim",
    ),
    "slim, a list": (slim() | {"slim_linears": [1]}, "slim_linears: a slim model must say here how its layers differ"),
    "slim, null": (slim() | {"slim_attributes": None}, "slim_attributes: a slim model must say here how its layers"),
    "slim heads, a text": (
        slim({}, {HOLDER: {"num_attention_heads": "x"}}),
        "num_attention_heads: must be a whole number",
    ),
    "slim heads, none": (slim({}, {HOLDER: {"num_attention_heads": 0}}), "sizes that do not fit each other"),
    "slim heads of no size": (
        slim({}, {HOLDER: {"attention_head_size": 0}}),
        "attention_head_size: must be a whole number from 1",
    ),
    "slim heads that do not fit": (
        slim({}, {HOLDER: {"num_attention_heads": 3}}),
        "layer 0, attention, sizes that do not",
    ),
    "slim head size": (slim({}, {HOLDER: {"attention_head_size": 5}}), "layer 0, attention, sizes that do not fit"),
    "slim, code as a number": (
        slim({}, {HOLDER: {"forward": 3}}),
        "allowed are num_attention_heads, attention_head_size",
    ),
    "slim, a layer's own": (slim({}, {"bert": {"forward": 3}}), "slim_attributes: 'bert' is no layer that can be slim"),
    "adapters, a text": (slim(adapters={QUERY: "x"}), f"adapters.{QUERY}: must be a whole number"),
    "adapters nowhere": (slim(adapters={"bert.nothing": 3}), "cannot load 'model'"),
    "adapters on embeddings": (slim(adapters={"bert.embeddings": 3}), "cannot load 'model'"),
}


@pytest.mark.parametrize(("case", "command"), by_command(CONFIGS, MODELS))
def test_a_config_that_makes_no_model(refused, here, case, command):
    entries, says = case
    change_json(here / "model" / "config.json", **entries)
    refused(*with_model(command), *to(command), says=says)


NO_CONFIGS = {
    "a list": (b"[]", "config.json holds []; expected a JSON object"),
    "null": (b"null", "config.json holds None; expected a JSON object"),
    "a number": (b"NaN", "config.json holds nan; expected a JSON object"),
    "nothing": (b"", "config.json is damaged"),
    "deep": (b'{"a":' * 50_000, "config.json is damaged"),
    "no text": (b"\xff\xfe", "config.json is damaged ('utf-8' codec can't decode"),
    "a mark": (b"\xef\xbb\xbf{}", "config.json is damaged (Unexpected UTF-8 BOM"),
    "a long number": (b'{"hidden_size": ' + b"9" * 5000 + b"}", "config.json is damaged"),
    "an empty object": (b"{}", "Unrecognized model"),
}


@pytest.mark.parametrize(("case", "command"), by_command(NO_CONFIGS, MODELS))
def test_a_config_that_is_none(refused, here, case, command):
    content, says = case
    (here / "model" / "config.json").write_bytes(content)
    refused(*with_model(command), *to(command), says=says)


@pytest.mark.parametrize("command", MODELS)
def test_a_folder_in_the_place_of_the_config(refused, here, command):
    (here / "model" / "config.json").unlink()
    (here / "model" / "config.json").mkdir()
    refused(*with_model(command), *to(command), says="config.json cannot be read (Is a directory)")


class Code:
    """Pickled, it runs a command when it is read by a reader that allows that."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.system, (f"touch {self.place}",)


def as_pickle(folder, content=None):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights if content is None else content, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


@pytest.mark.parametrize("command", MODELS)
def test_code_in_pickled_weights_is_blocked(refused, here, command):
    as_pickle(here / "model", {"weight": Code(here.parent / "ran")})
    says = "pytorch_model.bin asks for code to be run as it is read. That was blocked"
    refused(*with_model(command), *to(command), says=says)
    assert not (here.parent / "ran").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_plain_pickle_is_blocked(refused, here, protocol):
    as_pickle(here / "model").write_bytes(pickle.dumps(Code(here.parent / "ran"), protocol=protocol))
    refused(*with_model("evaluate"), says="pytorch_model.bin")
    assert not (here.parent / "ran").exists()


NO_PICKLES = {"half": lambda content: content[: len(content) // 2], "text": lambda _: b"hello", "empty": lambda _: b""}


@pytest.mark.parametrize(("damage", "command"), by_command(NO_PICKLES, MODELS))
def test_damaged_pickled_weights(refused, here, damage, command):
    path = as_pickle(here / "model")
    path.write_bytes(damage(path.read_bytes()))
    refused(*with_model(command), *to(command), says="pytorch_model.bin is damaged or of another kind")


@pytest.mark.parametrize("content", [[1, 2], {"a": "b"}, torch.ones(3), "text", 3], ids=str)
def test_pickled_things_that_are_no_weights(refused, here, content):
    as_pickle(here / "model", content)
    refused(*with_model("evaluate"), says="pytorch_model.bin holds no weights by name")


def test_harmless_pickled_weights_are_read(here):
    as_pickle(here / "model")
    result = run(*with_model("evaluate"))
    assert result.exit_code == 0, result.output


NO_WEIGHTS = {
    "cut": (lambda content: content[:3000], "model.safetensors is damaged or of another kind"),
    "cut by one": (lambda content: content[:-1], "model.safetensors is damaged or of another kind"),
    "empty": (lambda _: b"", "model.safetensors is damaged or of another kind"),
    "text": (lambda _: b"hello hello hello", "model.safetensors is damaged or of another kind"),
    "huge header": (lambda _: (2**60).to_bytes(8, "little") + b"{}", "model.safetensors is damaged or of another kind"),
    "no arrays": (lambda _: (2).to_bytes(8, "little") + b"{}", "has no fitting weights for"),
}


@pytest.mark.parametrize(("case", "command"), by_command(NO_WEIGHTS, MODELS))
def test_damaged_weights(refused, here, case, command):
    damage, says = case
    path = here / "model" / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    refused(*with_model(command), *to(command), says=says)


@pytest.mark.parametrize("command", MODELS)
def test_no_weights(refused, here, command):
    (here / "model" / "model.safetensors").unlink()
    refused(
        *with_model(command), *to(command), says="model holds no weights: model.safetensors or pytorch_model.bin is"
    )


@pytest.mark.parametrize("lost", ["classifier.bias", "bert.embeddings.word_embeddings.weight"])
@pytest.mark.parametrize("command", ["evaluate", "bench", "export"])
def test_a_trained_model_without_some_of_its_weights(refused, here, command, lost):
    """Transformers would draw them anew and say nothing, and the metrics would be of a model that nobody trained."""
    path = here / "model" / "model.safetensors"
    weights = load_file(path)
    save_file({name: weights[name] for name in weights if name != lost}, path, metadata={"format": "pt"})
    refused(*with_model(command), *to(command), says=f"has no fitting weights for 1 parameters, {lost} among them")


INDICES = {
    "a file that is not there": (
        '{"weight_map": {"a": "gone.safetensors"}}',
        "'gone.safetensors', and there is no such",
    ),
    "a file outside": (
        '{"weight_map": {"a": "../rows.csv"}}',
        "names '../rows.csv'; allowed are files in the same folder",
    ),
    "a file far outside": ('{"weight_map": {"a": "../../x"}}', "names '../../x'; allowed are files in the same folder"),
    "a file of the system": ('{"weight_map": {"a": "/etc/passwd"}}', "names '/etc/passwd'; allowed are files in the"),
    "a number": ('{"weight_map": {"a": 3}}', "names '3', and there is no such file"),
    "the folder": ('{"weight_map": {"a": "."}}', "names '.'"),
    "an empty map": ('{"weight_map": {}}', "weight_map: must say which file holds each weight"),
    "no map": ("{}", "weight_map: must say which file holds each weight"),
    "a list": ("[]", "index.json holds []; expected a JSON object"),
    "damaged": ("{", "model.safetensors.index.json is damaged"),
}


@pytest.mark.parametrize(("case", "command"), by_command(INDICES, MODELS))
def test_an_index_of_shards(refused, here, case, command):
    content, says = case
    (here / "model" / "model.safetensors").rename(here / "model" / "other.safetensors")
    (here / "model" / "model.safetensors.index.json").write_text(content)
    refused(*with_model(command), *to(command), says=says)


def test_whole_shards_are_read(here):
    weights = load_file(here / "model" / "model.safetensors")
    names = {name: f"shard-{number % 2}.safetensors" for number, name in enumerate(sorted(weights))}
    for shard in set(names.values()):
        own = {name: weights[name] for name in weights if names[name] == shard}
        save_file(own, here / "model" / shard, metadata={"format": "pt"})
    (here / "model" / "model.safetensors").unlink()
    (here / "model" / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    result = run(*with_model("evaluate"))
    assert result.exit_code == 0, result.output


NO_TOKENIZERS = {
    "empty": ("tokenizer.json", b"", "cannot load the tokenizer (tokenizer.json"),
    "an empty object": ("tokenizer.json", b"{}", "cannot load the tokenizer (tokenizer.json"),
    "a list": ("tokenizer.json", b"[]", "cannot load the tokenizer (tokenizer.json"),
    "cut": ("tokenizer.json", b'{"version": "1.0", "model": {"ty', "cannot load the tokenizer (tokenizer.json"),
    "no text": ("tokenizer.json", b"\xff\xfe\x00", "cannot load the tokenizer (tokenizer.json"),
    "settings in a list": ("tokenizer_config.json", b"[]", "tokenizer_config.json holds []; expected a JSON object"),
    "settings cut": ("tokenizer_config.json", b"{", "tokenizer_config.json is damaged"),
    "a class that is a number": ("tokenizer_config.json", b'{"tokenizer_class": 3}', "cannot load the tokenizer ("),
    "code that is a text": ("tokenizer_config.json", b'{"auto_map": "evil.T"}', "cannot load the tokenizer ("),
    "code that is a number": (
        "tokenizer_config.json",
        b'{"auto_map": {"AutoTokenizer": 3}}',
        "cannot load the tokenizer (",
    ),
    "special tokens in a list": ("special_tokens_map.json", b"[]", "special_tokens_map.json holds []; expected"),
    "added tokens in a list": ("added_tokens.json", b"[1]", "added_tokens.json holds [1]; expected a JSON object"),
}


@pytest.mark.parametrize(("case", "command"), by_command(NO_TOKENIZERS, TOKENIZERS))
def test_a_damaged_tokenizer(refused, here, case, command):
    name, content, says = case
    (here / "model" / name).write_bytes(content)
    refused(*with_model(command), *to(command), says=says)


WISHES = {
    "tuples": {"return_dict": False},
    "attentions": {"output_attentions": True},
    "hidden states": {"output_hidden_states": True},
    "chunks": {"chunk_size_feed_forward": 7},
    "checkpoints": {"gradient_checkpointing": True},
}


@pytest.mark.parametrize(("wish", "command"), by_command(WISHES, ("evaluate", "score")))
def test_a_config_does_not_decide_how_a_model_answers(here, wish, command):
    plain = run(*with_model(command), *(("--out", "plain") if command == "score" else ()))
    change_json(here / "model" / "config.json", **wish)
    result = run(*with_model(command), *(("--out", "wished") if command == "score" else ()))
    assert result.exit_code == 0, result.output
    assert result.stdout.replace("wished", "plain") == plain.stdout


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES)
def test_a_model_with_wishes_can_be_trained_on(here, wish):
    change_json(here / "model" / "config.json", **wish)
    model = load_model(here / "model")
    model.train()
    model(input_ids=torch.zeros(2, 12, dtype=torch.long), labels=torch.tensor([0, 1])).loss.backward()
    model.save_pretrained(here / "again")


INPUTS = ([], ["attention_mask"], ["input_ids"], ["input_ids", "attention_mask", "evil"], "input_ids", 3, [[]])


@pytest.mark.parametrize(("names", "command"), by_command({str(names): names for names in INPUTS}, TOKENIZERS))
def test_inputs_that_models_do_not_read(refused, here, names, command):
    change_json(here / "model" / "tokenizer_config.json", model_input_names=names)
    says = "tokenizer_config.json: model_input_names: must be a list of input_ids and attention_mask"
    refused(*with_model(command), *to(command), says=says)


@pytest.mark.parametrize("command", TOKENIZERS)
def test_a_vocabulary_without_tokens(refused, here, command):
    (here / "model" / "tokenizer.json").unlink()
    (here / "model" / "vocab.txt").touch()
    refused(*with_model(command), *to(command), says="the tokenizer of 'model' has no vocabulary")


@pytest.mark.parametrize("command", TOKENIZERS)
@pytest.mark.parametrize("shift", [1, 500])
def test_a_tokenizer_larger_than_the_embeddings(refused, here, command, shift):
    path = here / "model" / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.get)
    vocabulary[last] += shift
    path.write_text(json.dumps(content))
    says = f"gives {last!r} the id {vocabulary[last]}, and the model has {len(vocabulary)} embeddings"
    refused(*with_model(command), *to(command), says=says)


def test_a_tokenizer_without_a_model_is_read(here):
    (here / "model" / "config.json").unlink()
    assert load_tokenizer(str(here / "model"))("good")["input_ids"]


def test_the_order_of_the_labels_in_the_file_does_not_count(here):
    change_json(here / "model" / "config.json", id2label={"1": "good", "0": "bad"})
    assert class_names(here / "model") == ("bad", "good")


def test_two_classes_of_one_name(refused, here):
    change_json(here / "model" / "config.json", id2label={"0": "bad", "1": "bad"})
    refused(*with_model("evaluate"), says="id2label: 'bad' is the name of more than one class")


ODD_NAMES = [
    "`",
    "a\nb",
    "<script>",
    "a|b",
    "😀" * 10,
    "x" * 5000,
    "{{ 7 * 7 }}",
    "../../x",
    "\x00",
    " ",
    "---",
    "\u202e",
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=range(len(ODD_NAMES)))
def test_names_of_classes_are_texts_of_any_kind(here, name):
    change_json(here / "model" / "config.json", id2label={"0": name, "1": "good"})
    assert class_names(here / "model") == (name, "good")
    result = run(*with_model("evaluate"))
    assert result.exit_code == 1, "the data call it `bad`"
    assert "Traceback" not in result.output


OTHERS = {
    "t5": {"d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 193},
    "bart": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 193},
    "vit": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "image_size": 8,
    },
}


@pytest.mark.parametrize(("settings_", "command"), by_command({name: (name, OTHERS[name]) for name in OTHERS}, MODELS))
def test_a_model_of_another_kind(refused, here, settings_, command):
    from transformers import AutoConfig, AutoModelForImageClassification, AutoModelForSequenceClassification

    name, sizes = settings_
    shutil.rmtree(here / "model")
    auto = AutoModelForImageClassification if name == "vit" else AutoModelForSequenceClassification
    auto.from_config(AutoConfig.for_model(name, **sizes)).save_pretrained(here / "model")
    load_tokenizer("tiny-bert").save_pretrained(here / "model")
    says = "" if name == "vit" else f"is an encoder-decoder ({name!r})"
    refused(*with_model(command), *to(command), says=says)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    [*SIZES, "num_hidden_layers", "id2label", "num_labels", "model_type", "slim_linears", "adapters"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.dictionaries(keys, json_values, max_size=4), slim_type=st.booleans())
def test_any_values_in_a_config_are_read_or_refused(here, entries, slim_type):
    """Never another error, and never more than a moment."""
    path = here / "model" / "config.json"
    whole = path.read_text()
    try:
        change_json(path, **{"model_type": "slim_bert" if slim_type else "bert", **entries})
        with contextlib.suppress(BackboneError):
            read_config(here / "model")
            load_model(here / "model")
    finally:
        path.write_text(whole)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from(["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]),
    data=st.data(),
)
def test_any_byte_that_was_changed_is_read_or_refused(here, file, data):
    path = here / "model" / file
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        path.write_bytes(damaged[: data.draw(st.integers(1, len(whole)))])
        with contextlib.suppress(BackboneError):
            load_model(here / "model")
            load_tokenizer(str(here / "model"))
    finally:
        path.write_bytes(whole)

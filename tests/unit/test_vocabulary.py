import argparse
import decimal
import difflib
import doctest
import json
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertTokenizer,
    CamembertTokenizer,
    GPT2Tokenizer,
    MPNetTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    ViTConfig,
    ViTForImageClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaTokenizer,
)
from transformers.tokenization_python import PreTrainedTokenizer

from sensibert.data.tasks import TASKS
from sensibert.deploy.vocabulary import TrimReport, coverage, trim_vocabulary
from sensibert.errors import BackboneError, DataError
from sensibert.models.anatomy import costs_of, grains_of, prunable_modules
from sensibert.models.backbones import load_backbone, load_model, load_tokenizer
from sensibert.models.loading import MINILM, TINY
from sensibert.models.slim import is_slim, slim
from sensibert.scoring.ranking import make_mask

FOREIGN = ["naïve café, où ça?", "Привет, мир", "東京 は 首都", "🙂 emoji 🙃", "a [MASK] <mask> b", "x" * 150, "", "  "]
LINES = [
    " ".join(line.split())
    for module in (argparse, decimal, difflib, doctest)
    for line in (module.__doc__ or "").splitlines()
    if line.strip()
]
COVERED, HELD_OUT = [*LINES[::3], *FOREIGN[:4]], [*LINES[1::3], *FOREIGN]

SPECIALS = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
NAMED = dict(zip(("cls_token", "pad_token", "sep_token", "unk_token", "mask_token"), SPECIALS, strict=True))


def trained(model, trainer, pre_tokenizer, decoder=None, normalizer=None):
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizer
    for name, part in {"decoder": decoder, "normalizer": normalizer}.items():
        if part is not None:
            setattr(backend, name, part)
    backend.train_from_iterator([*LINES, *FOREIGN[:4]], trainer)
    return backend


def model_of(backend):
    return json.loads(backend.to_str())["model"]


@cache
def wordpiece():
    trainer = trainers.WordPieceTrainer(vocab_size=900, special_tokens=SPECIALS, show_progress=False)
    return trained(
        models.WordPiece(unk_token="[UNK]"),
        trainer,
        pre_tokenizers.BertPreTokenizer(),
        decoders.WordPiece(),
        normalizers.BertNormalizer(lowercase=True),
    )


@cache
def byte_level(specials=tuple(ROBERTA)):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=list(specials), initial_alphabet=alphabet, show_progress=False
    )
    level = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return trained(models.BPE(), trainer, level, decoders.ByteLevel())


@cache
def unigram(specials=tuple(ROBERTA)):
    trainer = trainers.UnigramTrainer(
        vocab_size=700, special_tokens=list(specials), unk_token=specials[3], show_progress=False
    )
    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    return trained(models.Unigram(), trainer, split, decoders.Metaspace())


def bert():
    return BertTokenizer(vocab=model_of(wordpiece())["vocab"], model_max_length=64)


def bert_with_unused_tokens():
    """As the published BERT: the special tokens stand among unused ones."""
    pieces = [*SPECIALS[:1], "eeeee", "ttttt", *SPECIALS[1:]]
    pieces += [piece for piece in model_of(wordpiece())["vocab"] if piece not in SPECIALS]
    return BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, model_max_length=64)


def mpnet():
    named = {"bos_token": "[CLS]", "eos_token": "[SEP]"} | NAMED
    return MPNetTokenizer(vocab=model_of(wordpiece())["vocab"], **named)


def roberta():
    model = model_of(byte_level())
    return RobertaTokenizer(vocab=model["vocab"], merges=[tuple(m) for m in model["merges"]], add_prefix_space=True)


def gpt2():
    """The special token comes last, and the padding is added behind the vocabulary."""
    model = model_of(byte_level(("<|endoftext|>",)))
    vocabulary = {token: number - 1 for token, number in model["vocab"].items() if number} | {
        "<|endoftext|>": len(model["vocab"]) - 1
    }
    merges = [tuple(merge) for merge in model["merges"]]
    return GPT2Tokenizer(vocab=vocabulary, merges=merges, add_prefix_space=True, pad_token="<|pad|>")


def modernbert():
    """Byte-level BPE behind a normalizer, with added words, and special tokens that the model does not know."""
    backend = Tokenizer.from_str(byte_level(("<unused>",)).to_str())
    backend.normalizer = normalizers.NFC()
    backend.add_tokens([AddedToken("   ", normalized=False), AddedToken("doctest", normalized=True)])
    backend.add_special_tokens(SPECIALS)
    ids = backend.get_vocab()
    template = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
    )
    backend.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return PreTrainedTokenizerFast(tokenizer_object=backend, **NAMED)


def xlm_roberta():
    return XLMRobertaTokenizer(vocab=[tuple(entry) for entry in model_of(unigram())["vocab"]])


def camembert():
    """The padding stands behind an unused token, and has to stay there: positions count from its id."""
    names = ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>", "<mask>")
    return CamembertTokenizer(vocab=[tuple(entry) for entry in model_of(unigram(names))["vocab"]])


def deberta():
    """Unigram, with a mask token behind the vocabulary and the pairs of BertProcessing."""
    backend = Tokenizer.from_str(unigram(tuple(SPECIALS[:4])).to_str())
    backend.add_special_tokens(["[MASK]"])
    ids = backend.get_vocab()
    backend.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **NAMED)


def characters_with_suffix():
    """The BPE of words with an end mark, without bytes: some characters are unknown."""
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=SPECIALS, end_of_word_suffix="</w>", show_progress=False
    )
    backend = trained(
        models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"),
        trainer,
        pre_tokenizers.Whitespace(),
        decoders.BPEDecoder(suffix="</w>"),
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **NAMED)


def characters_with_prefix():
    """The BPE with a continuation mark, which a merge drops."""
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=SPECIALS, continuing_subword_prefix="##", show_progress=False
    )
    model = models.BPE(unk_token="[UNK]", continuing_subword_prefix="##", fuse_unk=True)
    backend = trained(model, trainer, pre_tokenizers.Whitespace(), decoders.WordPiece())
    return PreTrainedTokenizerFast(tokenizer_object=backend, **NAMED)


def whole_words_first():
    """`ignore_merges`: a word of the vocabulary is one token, whatever the merges say."""
    content = json.loads(byte_level().to_str())
    content["model"]["ignore_merges"] = True
    content["model"]["merges"] = content["model"]["merges"][:300]
    backend = Tokenizer.from_str(json.dumps(content))
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")


def byte_fallback():
    """Unigram that spells unknown characters in bytes."""
    content = json.loads(unigram(tuple(SPECIALS)).to_str())
    content["model"]["byte_fallback"] = True
    content["model"]["vocab"] += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
    content["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, content["decoder"]]}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)), **NAMED)


KINDS = {
    make.__name__: make
    for make in (
        bert,
        bert_with_unused_tokens,
        mpnet,
        roberta,
        gpt2,
        modernbert,
        xlm_roberta,
        camembert,
        deberta,
        characters_with_suffix,
        characters_with_prefix,
        whole_words_first,
        byte_fallback,
    )
}


def classifier(tokenizer, **settings):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **(sizes | settings))
    return BertForSequenceClassification(config).eval()


@dataclass(frozen=True)
class Case:
    original: PreTrainedTokenizerBase
    trimmed: PreTrainedTokenizerBase
    report: TrimReport


@cache
def case(kind):
    original = KINDS[kind]()
    found = trim_vocabulary(classifier(original), original, COVERED)
    return Case(original, found.tokenizer, found.report)


every_kind = pytest.mark.parametrize("kind", KINDS)


def tokens_of(tokenizer, text, pair=None):
    return tokenizer.convert_ids_to_tokens(tokenizer(text, pair)["input_ids"])


def unknown(tokenizer, text):
    return tokens_of(tokenizer, text).count(tokenizer.unk_token)


@every_kind
def test_the_texts_keep_their_tokens_alone_and_in_pairs(kind):
    both = case(kind)
    pairs = [None, *COVERED[:-1]]
    for text, pair in zip(COVERED * 2, [*pairs, *[None] * len(COVERED)], strict=True):
        assert tokens_of(both.original, text, pair) == tokens_of(both.trimmed, text, pair)


@every_kind
def test_the_vocabulary_shrinks_and_its_ids_have_no_gaps(kind):
    both = case(kind)
    ids = both.trimmed.get_vocab()
    assert sorted(ids.values()) == list(range(len(ids)))
    assert ids.keys() < both.original.get_vocab().keys()
    assert len(ids) == both.report.tokens_after < both.report.tokens_before == len(both.original)
    assert both.report.tokens_used <= both.report.tokens_after


@every_kind
def test_special_and_added_tokens_stay(kind):
    both = case(kind)
    assert both.trimmed.special_tokens_map == both.original.special_tokens_map
    added = {str(token): token for token in both.original.added_tokens_decoder.values()}
    assert {str(token): token for token in both.trimmed.added_tokens_decoder.values()} == added
    for token in both.original.all_special_tokens:
        old = both.original.convert_tokens_to_ids(token)
        if old < 10:
            assert both.trimmed.convert_tokens_to_ids(token) == old


@every_kind
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_text_of_covered_words_keeps_its_tokens(kind, data):
    both = case(kind)
    words = sorted({word for text in COVERED for word in text.split()})
    text = " ".join(data.draw(st.lists(st.sampled_from(words), max_size=8)))
    assert tokens_of(both.original, text) == tokens_of(both.trimmed, text)


CHARACTERS = sorted({character for text in [*LINES, *FOREIGN] for character in text})
ANY_TEXT = st.text(max_size=40) | st.text(CHARACTERS, max_size=40) | st.sampled_from(HELD_OUT)


@every_kind
@given(ANY_TEXT)
@settings(max_examples=40, deadline=None)
def test_any_text_tokenizes_without_new_unknowns_and_decodes_alike(kind, text):
    both = case(kind)
    assert unknown(both.trimmed, text) <= unknown(both.original, text)
    decoded = [
        tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"])
        for tokenizer in (both.original, both.trimmed)
    ]
    assert decoded[0] == decoded[1]


@pytest.mark.parametrize("make", [bert, roberta, xlm_roberta])
@given(texts=st.lists(st.sampled_from([*LINES, *FOREIGN]), min_size=1, max_size=12))
@settings(max_examples=6, deadline=None)
def test_it_is_exact_whatever_the_texts(make, texts):
    original = make()
    trimmed = trim_vocabulary(classifier(original), original, texts).tokenizer
    for text in texts:
        assert tokens_of(original, text) == tokens_of(trimmed, text)


@every_kind
def test_the_tokenizer_loads_with_and_without_transformers(kind, tmp_path):
    both = case(kind)
    both.trimmed.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    alone = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    alone.no_truncation()
    assert again.get_vocab() == both.trimmed.get_vocab()
    for text in HELD_OUT:
        expected = both.trimmed(text)["input_ids"]
        assert again(text)["input_ids"] == alone.encode(text).ids == expected


def logits(model, tokenizer, texts, pairs=None):
    with torch.no_grad():
        return model(**tokenizer(texts, pairs, padding=True, return_tensors="pt")).logits


def scores_of(model):
    generator = np.random.default_rng(0)
    return {key: generator.random(module.shape) for key, module in prunable_modules(model).items()}


def with_vocabulary(model, tokenizer):
    if model.main_input_name != "input_ids":
        pytest.skip("reads images")
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return model


TEXTS = [text for text in COVERED if len(text) < 60][:8]


def saved_and_loaded(found, folder):
    found.model.save_pretrained(folder)
    found.tokenizer.save_pretrained(folder)
    return load_model(folder).eval(), AutoTokenizer.from_pretrained(folder)


def test_the_logits_are_the_same_bits_and_a_slim_model_saves_and_loads(tiny_model, tmp_path):
    tokenizer = bert()
    dense = with_vocabulary(tiny_model, tokenizer)
    small = slim(dense, make_mask(scores_of(dense), costs_of(dense), 0.6, grains=grains_of(dense)))
    for model in (dense, small):
        found = trim_vocabulary(model, tokenizer, COVERED)
        for pairs in (None, TEXTS[::-1]):
            after, before = logits(found.model, found.tokenizer, TEXTS, pairs), logits(model, tokenizer, TEXTS, pairs)
            assert torch.equal(after, before)
    again, its_tokenizer = saved_and_loaded(found, tmp_path)
    assert is_slim(again)
    assert again.config.vocab_size == len(its_tokenizer) < len(tokenizer)
    assert torch.equal(logits(again, its_tokenizer, TEXTS), logits(small, tokenizer, TEXTS))


@every_kind
def test_a_dense_model_saves_and_loads(kind, tmp_path):
    tokenizer = KINDS[kind]()
    model = classifier(tokenizer)
    again, its_tokenizer = saved_and_loaded(trim_vocabulary(model, tokenizer, COVERED), tmp_path)
    assert again.config.vocab_size == len(its_tokenizer) < len(tokenizer)
    assert torch.equal(logits(again, its_tokenizer, TEXTS), logits(model, tokenizer, TEXTS))


@pytest.mark.parametrize("kind", ["bert_with_unused_tokens", "xlm_roberta", "camembert"])
def test_positions_that_count_from_the_padding_stay(kind):
    tokenizer = KINDS[kind]()
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    torch.manual_seed(0)
    config = XLMRobertaConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes)
    model = XLMRobertaForSequenceClassification(config).eval()
    found = trim_vocabulary(model, tokenizer, COVERED)
    assert found.model.config.pad_token_id == tokenizer.pad_token_id
    assert torch.equal(logits(found.model, found.tokenizer, TEXTS), logits(model, tokenizer, TEXTS))


def test_the_ids_of_the_config_and_of_the_padding_row_move():
    tokenizer = gpt2()
    names = "<|endoftext|>", "<|pad|>", min(tokenizer.get_vocab().keys() - case("gpt2").trimmed.get_vocab())
    end, pad, dropped = tokenizer.convert_tokens_to_ids(names)
    model = classifier(tokenizer, bos_token_id=end, eos_token_id=[end, dropped], decoder_start_token_id=None)
    found = trim_vocabulary(model, tokenizer, COVERED)
    end, pad, kept = found.tokenizer.convert_tokens_to_ids(names)
    config = found.model.config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (end, [end, kept], pad)
    assert config.decoder_start_token_id is None
    assert found.model.get_input_embeddings().padding_idx == pad
    assert (found.tokenizer.eos_token_id, found.tokenizer.pad_token_id) == (end, pad)


def test_the_report_counts_what_the_model_holds():
    tokenizer = bert()
    model = classifier(tokenizer)
    before = model.num_parameters()
    found = trim_vocabulary(model, tokenizer, COVERED)
    removed = (found.report.tokens_before - found.report.tokens_after) * 8
    assert found.report.parameters_removed == removed == before - found.model.num_parameters()
    used = {number for text in COVERED for number in tokenizer(text)["input_ids"]}
    assert found.report.tokens_used == len(used)


def test_the_originals_are_left_alone():
    tokenizer = bert()
    model = classifier(tokenizer)
    vocabulary, ids = tokenizer.get_vocab(), tokenizer(COVERED)["input_ids"]
    weight = model.get_input_embeddings().weight.clone()
    trim_vocabulary(model, tokenizer, COVERED)
    assert tokenizer.get_vocab() == vocabulary
    assert tokenizer(COVERED)["input_ids"] == ids
    assert torch.equal(model.get_input_embeddings().weight, weight)
    assert model.config.vocab_size == len(vocabulary)


@pytest.mark.parametrize("make", [bert, modernbert, camembert])
def test_the_same_texts_give_the_same_bytes(make, tmp_path):
    written = []
    for number, texts in enumerate([COVERED, [*reversed(COVERED), *COVERED[:3]]]):
        tokenizer = make()
        tokenizer(["a call", "that pads and cuts"], padding=True, truncation=True, max_length=4 + number)
        found = trim_vocabulary(classifier(tokenizer), tokenizer, texts)
        found.tokenizer.save_pretrained(tmp_path / str(number))
        found.model.save_pretrained(tmp_path / str(number))
        files = sorted((tmp_path / str(number)).iterdir())
        written.append({file.name: file.read_bytes() for file in files})
    assert {"tokenizer.json", "model.safetensors", "config.json"} <= written[0].keys()
    assert written[0] == written[1]


def test_a_text_longer_than_the_model_counts_in_full():
    tokenizer = bert()
    long = " ".join(LINES)
    assert len(tokenizer(long, verbose=False)["input_ids"]) > 2 * tokenizer.model_max_length
    tokenizer(long, truncation=True)  # the tokenizer remembers the cut
    found = trim_vocabulary(classifier(tokenizer), tokenizer, [long])
    assert all(tokens_of(tokenizer, line) == tokens_of(found.tokenizer, line) for line in LINES)


def test_pieces_whose_characters_are_no_pieces_stay():
    pieces = [*SPECIALS, "a", "b", "##b", "ab", "abz", "az", "##bz", "z"]
    tokenizer = BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)})
    found = trim_vocabulary(classifier(tokenizer), tokenizer, ["a b"])
    assert found.tokenizer.get_vocab().keys() == set(pieces) - {"ab"}
    assert tokens_of(found.tokenizer, "abz az") == tokens_of(tokenizer, "abz az")


def test_the_lowest_unigram_score_stays_since_it_prices_an_unknown_character():
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("▁", -2.0), ("a", -2.0)]
    pieces += [("▁aa", -4.0), ("aaaa", -30.0), ("b", -2.0), ("bb", -3.0), ("<mask>", 0.0)]
    tokenizer = XLMRobertaTokenizer(vocab=pieces)
    found = trim_vocabulary(classifier(tokenizer), tokenizer, ["a"])
    assert found.tokenizer.get_vocab().keys() == {piece for piece, _ in pieces} - {"▁aa", "bb"}


def test_minilm_is_trimmed_to_the_words_of_a_task():
    tokenizer, model = load_tokenizer(MINILM), load_backbone(MINILM, TASKS["sst2"], seed=0).eval()
    found = trim_vocabulary(model, tokenizer, COVERED)
    assert found.report.tokens_after < 3000
    assert found.report.parameters_removed == (30522 - found.report.tokens_after) * 384
    assert torch.equal(logits(found.model, found.tokenizer, TEXTS), logits(model, tokenizer, TEXTS))
    held_out = coverage(tokenizer, found.tokenizer, HELD_OUT)
    assert held_out.unknown_after == held_out.unknown_before
    assert held_out.growth > 1


def test_a_tokenizer_that_spells_has_nothing_to_trim():
    tokenizer, model = load_tokenizer(TINY), load_backbone(TINY, TASKS["sst2"], seed=0).eval()
    found = trim_vocabulary(model, tokenizer, ["a"])
    assert found.report.parameters_removed == 0
    assert torch.equal(logits(found.model, found.tokenizer, TEXTS), logits(model, tokenizer, TEXTS))


def test_coverage_is_full_on_the_texts_themselves():
    both = case("bert")
    found = coverage(both.original, both.trimmed, COVERED)
    assert (found.texts, found.unchanged, found.growth) == (len(COVERED), 1.0, 1.0)
    assert found.unknown_before == found.unknown_after


def test_coverage_counts_what_changed_on_other_texts():
    pieces = [*SPECIALS, "a", "b", "##a", "##b", "ab", "##ab", "aa"]
    tokenizer = BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)})
    trimmed = trim_vocabulary(classifier(tokenizer), tokenizer, ["ab b", "aa"]).tokenizer
    found = coverage(tokenizer, trimmed, ["ab", "abab", "c", "aa a a"])
    assert tokens_of(trimmed, "abab") == ["[CLS]", "ab", "##a", "##b", "[SEP]"]
    assert (found.texts, found.unchanged, found.growth) == (4, 0.75, 8 / 7)
    assert (found.unknown_before, found.unknown_after) == (1 / 7, 1 / 7)


def test_coverage_of_empty_texts():
    both = case("bert")
    found = coverage(both.original, both.trimmed, ["", " "])
    assert (found.unchanged, found.growth, found.unknown_before, found.unknown_after) == (1.0, 1.0, 0.0, 0.0)


def refusal(model, tokenizer, texts=("a",), error=BackboneError):
    with pytest.raises(error) as caught:
        trim_vocabulary(model, tokenizer, texts)
    return str(caught.value)


def test_no_texts_are_refused():
    tokenizer = bert()
    assert "no training texts" in refusal(classifier(tokenizer), tokenizer, [], DataError)
    with pytest.raises(DataError, match="none"):
        coverage(tokenizer, tokenizer, [])


class Slow(PreTrainedTokenizer):
    vocab_size = 1

    def get_vocab(self):
        return {"a": 0}


def test_a_slow_tokenizer_is_refused():
    assert "Slow cannot be trimmed: it is a slow tokenizer" in refusal(classifier(bert()), Slow())


def test_a_tokenizer_of_another_kind_is_refused():
    backend = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1, "[PAD]": 2}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]")
    message = refusal(classifier(tokenizer), tokenizer)
    assert "'WordLevel' cannot be trimmed; allowed: BPE, Unigram, WordPiece" in message


def test_a_tokenizer_of_another_model_is_refused():
    tokenizer = bert()
    model = classifier(tokenizer)
    model.resize_token_embeddings(len(tokenizer) - 1)
    message = refusal(model, tokenizer)
    assert f"ids go up to {len(tokenizer) - 1}" in message
    assert f"embeddings for {len(tokenizer) - 1}" in message


def test_rows_without_a_token_are_dropped():
    tokenizer = bert()
    model = classifier(tokenizer)
    model.resize_token_embeddings(len(tokenizer) + 7, mean_resizing=False)
    found = trim_vocabulary(model, tokenizer, COVERED)
    assert found.model.get_input_embeddings().num_embeddings == len(found.tokenizer)
    assert torch.equal(logits(found.model, found.tokenizer, TEXTS), logits(model, tokenizer, TEXTS))


def test_a_config_that_names_no_token_is_refused():
    tokenizer = bert()
    message = refusal(classifier(tokenizer, eos_token_id=50256), tokenizer)
    assert "eos_token_id is 50256, which is no token" in message


def test_models_without_a_vocabulary_or_with_a_head_over_it_are_refused():
    tokenizer = bert()
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    masked_lm = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **sizes))
    assert "predicts tokens" in refusal(masked_lm, tokenizer)
    image = ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, **sizes))
    assert "no token embeddings" in refusal(image, tokenizer)


def test_a_class_that_reads_tokenizer_json_in_its_own_way_is_refused():
    """XLM-R has the id of its unknown token in its code: 3."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("x", -1.0), ("<unk>", 0.0), ("▁", -2.0), ("yy", -2.0)]
    content = json.loads(unigram().to_str())
    content["model"] |= {"vocab": pieces, "unk_id": 4}
    tokenizer = XLMRobertaTokenizer(vocab=pieces)
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(content))
    assert "XLMRobertaTokenizer cannot be trimmed exactly" in refusal(classifier(tokenizer), tokenizer, ["q"])

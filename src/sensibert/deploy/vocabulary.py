"""Keep the tokens that the training texts use, and drop the embeddings of all others.

Exact on the texts that it was trimmed with: the same tokens and the same logits, bit for bit. Any other text still
tokenizes, into more pieces where a token is gone. docs/vocabulary.md gives the proof for each kind of tokenizer.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from sensibert.errors import BackboneError, DataError

IntArray = NDArray[np.integer[Any]]
_BATCH = 1000
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class TrimReport:
    """What trimming kept and saved."""

    tokens_before: int
    tokens_after: int
    tokens_used: int
    """Kept because the texts use them; the rest are special tokens, characters, and what spells the used ones."""
    parameters_before: int
    """Parameters of the entire model."""
    parameters_after: int

    @property
    def parameters_removed(self) -> int:
        """Parameters of the dropped embeddings."""
        return self.parameters_before - self.parameters_after


@dataclass(frozen=True)
class Trimmed:
    """A model and its tokenizer, over a smaller vocabulary."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    report: TrimReport


@dataclass(frozen=True)
class Coverage:
    """What a trimmed vocabulary does to texts that it was not trimmed with."""

    texts: int
    unchanged: float
    """Share of the texts that give the same tokens as before."""
    growth: float
    """Tokens after trimming, divided by tokens before."""
    unknown_before: float
    """Unknown tokens of the original tokenizer, divided by its tokens."""
    unknown_after: float
    """Unknown tokens of the trimmed tokenizer, divided by the tokens of the original."""


def trim_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> Trimmed:
    """A copy of a model and of its tokenizer with the tokens that the texts use.

    Also kept: special and added tokens, every character, and what a tokenizer needs to spell the used tokens.
    Special tokens keep their ids where the smaller vocabulary has them; all others move up, in their order.

    Args:
        model: A classifier, dense or slim.
        tokenizer: Its fast tokenizer: WordPiece, BPE or Unigram.
        texts: All training texts, both columns of a pair in any order. They are read whole, not truncated.

    Raises:
        DataError: there are no texts.
        BackboneError: the tokenizer is slow or of another kind, it does not fit the model, the model has no token
            embeddings or predicts tokens, or the tokenizer would not give the texts the same tokens.
    """
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        raise DataError("the vocabulary cannot be trimmed: there are no training texts")
    content = _content(tokenizer)
    ids = tokenizer.get_vocab()
    _check_fit(model, tokenizer, ids)

    encoded = _token_ids(tokenizer, distinct, special=True)
    used = np.unique(np.concatenate(encoded)).tolist()
    tokens = {number: token for token, number in ids.items()}
    in_config = {number for numbers in _named_ids(model.config).values() for number in numbers}
    special = _special(content) | {tokens[number] for number in in_config}
    new_ids = _new_ids(content, {tokens[number] for number in used}, special, ids)

    small_tokenizer = _rebuilt(tokenizer, _rewritten(content, new_ids))
    rows = _rows(ids, new_ids)
    _check_exact(small_tokenizer, new_ids, rows, distinct, encoded)
    small = _with_rows(model, rows)
    report = TrimReport(len(ids), len(rows), len(used), model.num_parameters(), small.num_parameters())
    return Trimmed(small, small_tokenizer, report)


def coverage(original: PreTrainedTokenizerBase, trimmed: PreTrainedTokenizerBase, texts: Iterable[str]) -> Coverage:
    """How the trimmed tokenizer splits texts, held-out ones above all, against the original.

    Raises:
        DataError: there are no texts.
    """
    listed = list(texts)
    if not listed:
        raise DataError("the coverage of a vocabulary needs texts, and there are none")
    before, after = (_token_ids(tokenizer, listed, special=False) for tokenizer in (original, trimmed))
    rows = _rows(original.get_vocab(), trimmed.get_vocab())
    total = max(sum(map(len, before)), 1)
    return Coverage(
        texts=len(listed),
        unchanged=sum(np.array_equal(rows[new], old) for old, new in zip(before, after, strict=True)) / len(listed),
        growth=max(sum(map(len, after)), 1) / total,
        unknown_before=_occurrences(original.unk_token_id, before) / total,
        unknown_after=_occurrences(trimmed.unk_token_id, after) / total,
    )


def _rows(ids: dict[str, int], new_ids: dict[str, int]) -> IntArray:
    """The old id of each new one."""
    return np.array([ids[token] for token in sorted(new_ids, key=new_ids.__getitem__)])


def _occurrences(number: int | None, encoded: list[IntArray]) -> int:
    return sum(int(np.count_nonzero(row == number)) for row in encoded)


def _content(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The content of tokenizer.json, without the padding and the truncation of the latest call."""
    if not tokenizer.is_fast:
        raise BackboneError(
            f"the vocabulary of {type(tokenizer).__name__} cannot be trimmed: it is a slow tokenizer, without a "
            "tokenizer.json"
        )
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    if (kind := content["model"]["type"]) not in _KEPT:
        raise BackboneError(f"a vocabulary of kind {kind!r} cannot be trimmed; allowed: {', '.join(_KEPT)}")
    return {**content, "padding": None, "truncation": None}


def _check_fit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: dict[str, int]) -> None:
    name, embeddings = type(model).__name__, model.get_input_embeddings()
    if not isinstance(embeddings, nn.Embedding):
        raise BackboneError(f"{name} has no token embeddings, so there is no vocabulary to trim")
    if model.get_output_embeddings() is not None:
        raise BackboneError(f"{name} predicts tokens and needs all of them; only a classifier's vocabulary is trimmed")
    if (highest := max(ids.values())) >= embeddings.num_embeddings:
        raise BackboneError(
            f"{type(tokenizer).__name__} does not fit {name}: its token ids go up to {highest}, and the model has "
            f"embeddings for {embeddings.num_embeddings}"
        )
    known = set(ids.values())
    for key, numbers in _named_ids(model.config).items():
        if missing := sorted(set(numbers) - known):
            raise BackboneError(
                f"{type(tokenizer).__name__} does not fit {name}: the config's {key} is {missing[0]}, which is no "
                "token of the tokenizer; set it to one, or to null"
            )


def _named_ids(config: PreTrainedConfig) -> dict[str, list[int]]:
    """The entries of a config that are token ids."""
    entries = {key: value for key, value in config.to_dict().items() if key.endswith("_token_id")}
    return {key: value if isinstance(value, list) else [value] for key, value in entries.items() if value is not None}


def _token_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str], *, special: bool) -> list[IntArray]:
    """The ids of each entire text; `special` says whether special tokens are put around it."""
    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.no_padding()
    backend.no_truncation()
    batches = (texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH))
    encoded = (backend.encode_batch_fast(batch, add_special_tokens=special) for batch in batches)
    return [np.array(encoding.ids, dtype=np.int32) for batch in encoded for encoding in batch]


def _special(content: dict[str, Any]) -> set[str]:
    """Added tokens, the unknown token, and what is put around a text."""
    special = {token["content"] for token in content["added_tokens"]} | _template_tokens(content["post_processor"])
    model = content["model"]
    unknown = _pieces(model)[model["unk_id"]] if model.get("unk_id") is not None else model.get("unk_token")
    return special | ({unknown} if unknown else set())


def _template_tokens(processor: dict[str, Any] | None) -> set[str]:
    if processor is None:
        return set()
    inner = (_template_tokens(each) for each in processor.get("processors", ()))
    in_templates = (entry["tokens"] for entry in processor.get("special_tokens", {}).values())
    in_pairs = (processor[name][:1] for name in ("cls", "sep") if name in processor)
    return set().union(*inner, *in_templates, *in_pairs)


def _pieces(model: dict[str, Any]) -> list[str]:
    """The tokens of a tokenizer's model, in the order of their ids."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        return [piece for piece, _ in vocabulary]
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _new_ids(content: dict[str, Any], used: set[str], special: set[str], ids: dict[str, int]) -> dict[str, int]:
    """Token -> new id."""
    pieces = _pieces(content["model"])
    kept = _KEPT[content["model"]["type"]](content["model"], used | special)
    in_order = [piece for piece in pieces if piece in kept]
    # Some classes have the id of a special token in their code (the unknown one of XLM-R, the padding of MPNet), and
    # RoBERTa counts its positions from the id of the padding.
    fixed = {ids[piece]: piece for piece in in_order if piece in special and ids[piece] < len(in_order)}
    others = iter([piece for piece in in_order if fixed.get(ids[piece]) != piece])
    numbered = [fixed[number] if number in fixed else next(others) for number in range(len(in_order))]
    # The tokenizers library numbers added tokens that its model does not know after those of the model.
    in_model = set(pieces)
    added = [token["content"] for token in content["added_tokens"] if token["content"] not in in_model]
    return {token: number for number, token in enumerate([*numbered, *sorted(added, key=ids.__getitem__)])}


def _kept_wordpiece(model: dict[str, Any], wanted: set[str]) -> set[str]:
    prefix = model["continuing_subword_prefix"]

    def units(piece: str) -> list[str]:
        if piece.startswith(prefix):
            return [prefix + character for character in piece.removeprefix(prefix)]
        return [piece[:1], *(prefix + character for character in piece[1:])]

    return _kept_with_characters(_pieces(model), wanted, units)


def _kept_unigram(model: dict[str, Any], wanted: set[str]) -> set[str]:
    pieces = _pieces(model)
    # The lowest score determines the score of an unknown character.
    lowest, _ = min(model["vocab"], key=lambda entry: entry[1])
    as_bytes = {piece for piece in pieces if _BYTE.fullmatch(piece)} if model.get("byte_fallback") else set()
    return _kept_with_characters(pieces, wanted | as_bytes | {lowest}, list)


def _kept_with_characters(pieces: list[str], wanted: set[str], units: Callable[[str], list[str]]) -> set[str]:
    """The wanted pieces, all single characters, and the pieces that cannot be spelled with those."""
    known = set(pieces)

    def needed(piece: str) -> bool:
        spelling = units(piece)
        return len(spelling) < 2 or not known.issuperset(spelling)

    return {piece for piece in pieces if piece in wanted or needed(piece)}


def _kept_bpe(model: dict[str, Any], wanted: set[str]) -> set[str]:
    """The wanted tokens, those that no merge makes (characters, bytes), and every token that leads to a kept one."""
    parts: dict[str, list[str]] = {}
    for merge in model["merges"]:
        parts.setdefault(_product(model, merge), []).extend(merge)
    vocabulary = set(model["vocab"])
    kept: set[str] = set()
    waiting = list((wanted & vocabulary) | (vocabulary - parts.keys()))
    while waiting:
        token = waiting.pop()
        if token not in kept:
            kept.add(token)
            waiting += parts.get(token, [])
    return kept


def _product(model: dict[str, Any], merge: list[str]) -> str:
    left, right = merge
    return left + right[len(model["continuing_subword_prefix"] or "") :]


_KEPT: dict[str, Callable[[dict[str, Any], set[str]], set[str]]] = {
    "BPE": _kept_bpe,
    "Unigram": _kept_unigram,
    "WordPiece": _kept_wordpiece,
}
"""Kind of a tokenizer's model -> which of its tokens stay, given those that must."""


def _rewritten(content: dict[str, Any], new_ids: dict[str, int]) -> dict[str, Any]:
    """A tokenizer.json with the new ids."""
    added = [{**token, "id": new_ids[token["content"]]} for token in content["added_tokens"]]
    return {
        **content,
        "added_tokens": sorted(added, key=lambda token: token["id"]),
        "post_processor": _renumbered_processor(content["post_processor"], new_ids),
        "model": _renumbered_model(content["model"], new_ids),
    }


def _renumbered_model(model: dict[str, Any], new_ids: dict[str, int]) -> dict[str, Any]:
    kept = sorted((piece for piece in _pieces(model) if piece in new_ids), key=new_ids.__getitem__)
    if model["type"] == "Unigram":
        scores = dict(model["vocab"])
        unknown = None if model["unk_id"] is None else new_ids[_pieces(model)[model["unk_id"]]]
        return {**model, "unk_id": unknown, "vocab": [[piece, scores[piece]] for piece in kept]}
    small = {**model, "vocab": {piece: new_ids[piece] for piece in kept}}
    if model["type"] == "BPE":
        small["merges"] = [merge for merge in model["merges"] if _product(model, merge) in small["vocab"]]
    return small


def _renumbered_processor(processor: dict[str, Any] | None, new_ids: dict[str, int]) -> dict[str, Any] | None:
    if processor is None:
        return None
    small = dict(processor)
    if "processors" in small:
        small["processors"] = [_renumbered_processor(each, new_ids) for each in small["processors"]]
    if "special_tokens" in small:
        small["special_tokens"] = {
            name: {**entry, "ids": [new_ids[token] for token in entry["tokens"]]}
            for name, entry in small["special_tokens"].items()
        }
    for name in ("cls", "sep"):
        if name in small:
            token, _ = small[name]
            small[name] = [token, new_ids[token]]
    return small


def _rebuilt(tokenizer: PreTrainedTokenizerBase, content: dict[str, Any]) -> PreTrainedTokenizerBase:
    """The tokenizer that loads from another tokenizer.json; through files, so that users will load exactly this one."""
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        Path(folder, "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
        small = type(tokenizer).from_pretrained(folder)
    small.name_or_path = tokenizer.name_or_path
    return small


def _check_exact(
    trimmed: PreTrainedTokenizerBase, new_ids: dict[str, int], rows: IntArray, texts: list[str], encoded: list[IntArray]
) -> None:
    """Refuse a tokenizer whose class does not do what its tokenizer.json says."""
    exact = trimmed.get_vocab() == new_ids and all(
        np.array_equal(rows[found], expected)
        for found, expected in zip(_token_ids(trimmed, texts, special=True), encoded, strict=True)
    )
    if not exact:
        raise BackboneError(
            f"the vocabulary of {type(trimmed).__name__} cannot be trimmed exactly: it reads the smaller "
            "tokenizer.json in a way of its own; leave the vocabulary as it is"
        )


def _with_rows(model: PreTrainedModel, rows: IntArray) -> PreTrainedModel:
    """A copy of the model with only these rows of its embeddings, and the token ids of its config renumbered."""
    small = copy.deepcopy(model)
    embeddings = small.get_input_embeddings()
    assert isinstance(embeddings, nn.Embedding)
    weight = embeddings.weight
    kept = weight.detach()[torch.from_numpy(rows).to(weight.device)]
    embeddings.weight = nn.Parameter(kept, requires_grad=weight.requires_grad)
    embeddings.num_embeddings = small.config.vocab_size = len(rows)
    renumbered = {old: new for new, old in enumerate(rows.tolist())}
    if embeddings.padding_idx is not None:
        embeddings.padding_idx = renumbered[embeddings.padding_idx]
    for key, numbers in _named_ids(small.config).items():
        new = [renumbered[number] for number in numbers]
        setattr(small.config, key, new if isinstance(getattr(small.config, key), list) else new[0])
    return small

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from sensibert.data.tasks import TASKS
from sensibert.sources.phrases import is_whole, is_within
from sensibert.sources.prepare import Carving, prepare_splits
from sensibert.sources.public import RawSplit

SENTENCES = [f"a {adjective} film about {thing}" for adjective in ("fine", "poor") for thing in "bcdefghij"]
texts = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(" ".join), min_size=1, max_size=12)


def holds(text, part):
    return f" {part} " in f" {text} "


@given(texts)
def test_a_text_is_whole_if_no_other_text_holds_it(rows):
    expected = [not any(holds(other, text) for other in rows if other != text) for text in rows]
    assert is_whole(pd.Series(rows)).tolist() == expected


@given(texts, texts)
def test_a_text_is_within_what_holds_it(rows, others):
    expected = [any(holds(other, text) for other in others) for text in rows]
    assert is_within(pd.Series(rows), pd.Series(others)).tolist() == expected


def test_a_phrase_is_made_of_whole_words():
    assert is_whole(pd.Series(["fine films", "fine film"])).tolist() == [True, True]


def phrases(sentence):
    words = sentence.split()
    return [" ".join(words[first:]) for first in range(1, len(words))]


def test_sst2s_dev_split_has_sentences_whose_phrases_are_not_trained_on():
    texts = [text for sentence in SENTENCES for text in (*phrases(sentence), sentence)]
    rows = pd.DataFrame({"sentence": texts, "label": [int(number % 2) for number in range(len(texts))]})
    validation = pd.DataFrame({"sentence": ["never seen", "nor this"], "label": [0, 1]})
    raw = {"train": RawSplit([rows]), "validation": RawSplit([validation])}
    dataset, audit = prepare_splits(TASKS["sst2"], raw, "local", Carving(max_dev=6, dev_fraction=0.5))
    held_out, train = dataset["dev"]["text"][:], dataset["train"]["text"][:]
    assert len(held_out) == 6
    assert set(held_out) <= set(SENTENCES)
    assert not [(text, of) for text in train for of in held_out if holds(of, text)]
    dropped = audit.splits["train"].dropped
    assert dropped["set_aside_for_dev"] == 6
    assert len(train) + 6 + dropped["also_in_dev"] == len(texts)

"""Data sets whose training rows are sentences and phrases of these sentences, as in SST-2.

Their validation rows are whole sentences, so a dev split of phrases would choose for another task; and a sentence
is no secret to a model that trained on its phrases.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd


def is_whole(texts: pd.Series) -> pd.Series:
    """Whether a text is no phrase of another one, for each text; words are compared, separated by spaces."""
    known = set(texts)
    contained: set[str] = set()
    for text in sorted(known, key=len, reverse=True):
        if text not in contained:  # else its phrases are known from the text that holds it
            contained.update(phrase for phrase in _phrases(text) if phrase in known)
    return ~texts.isin(contained)


def is_within(texts: pd.Series, others: pd.Series) -> pd.Series:
    """Whether a text is one of the others or a phrase of one of them, for each text."""
    phrases = {phrase for other in set(others) for phrase in _phrases(other)}
    return texts.isin(phrases | set(others))


def _phrases(text: str) -> Iterator[str]:
    """Every run of neighbouring words that is not the whole text."""
    words = text.split(" ")
    for first in range(len(words)):
        for end in range(first + 1, len(words) + 1):
            if end - first < len(words):
                yield " ".join(words[first:end])

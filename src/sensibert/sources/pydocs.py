"""The embedded data set: two tasks from the docstrings of packages that are installed anyway.

Real English without a network. The sources are parsed, never imported or run, in these steps:

    locate the packages -> parse their files -> clean the first sentences -> label them -> split by module

Every choice is made by a hash of the text itself and every listing is sorted, so the same Python and
the same installed versions give the same bytes. Nothing leaks between the splits: a module is in
one split only, near copies of a sentence are kept once, and `docs_match` uses each function name once.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import importlib.util
import logging
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from itertools import chain, starmap, takewhile
from multiprocessing import get_context
from pathlib import Path, PurePath
from typing import NamedTuple

import pandas as pd

from sensibert.data.tasks import TASKS
from sensibert.errors import DataError

PACKAGES: tuple[str, ...] = TASKS["docs_origin"].label_names
"""The distributions, in the order of their labels in `docs_origin`."""

_IMPORT_NAMES = {"scikit-learn": "sklearn"}

LARGEST_CLASS = 2600
"""Sentences kept of one distribution: about as many as the smallest has, so that no class dominates."""

VALIDATION_SHARE = 0.1
"""Share of each distribution's rows that is held out: about 2,000 rows of a task."""

WORDS = range(4, 41)
"""Lengths, in words, of the sentences that are kept."""

STAND_IN = "library"
"""The word that replaces the names of the packages."""

# Tests and copies of other people's code are not a package's own prose. Private folders (vendored code,
# the compiler of torch) and the model files of transformers (copied or generated from each other) would
# double the parsing time for sentences that `LARGEST_CLASS` drops anyway.
_SKIPPED_FOLDERS = frozenset({"tests", "test", "testing", "externals"})
_SKIPPED_PREFIXES = ("test_", "conftest", "modeling_", "modular_", "vendor")

_log = logging.getLogger(__name__)


class Sentence(NamedTuple):
    """The first sentence of one docstring."""

    distribution: str
    module: str
    """Path of the file inside its package: the unit of the split."""
    function: str
    """Name of the function as it is written; empty for a class or a module."""
    text: str


def read(task_name: str, packages: Sequence[str] = PACKAGES) -> dict[str, pd.DataFrame]:
    """Build one of the two tasks from the installed packages.

    Args:
        task_name: `docs_origin` (columns `sentence`, `label`: index of the distribution in `PACKAGES`)
            or `docs_match` (columns `sentence`, `function`, `label`: 1 if the sentence describes it).
        packages: distributions to read.

    Returns:
        The splits `train` and `validation`.

    Raises:
        DataError: the task or a package is unknown, or a package is not installed.
    """
    build = {"docs_origin": docs_origin, "docs_match": docs_match}.get(task_name)
    if build is None:
        raise DataError(f"no task {task_name!r} in the embedded data set; allowed: docs_match, docs_origin")
    return build(_installed_corpus(tuple(packages)))


# Parsing takes nearly all of the time, and both tasks start from the same sentences.
@lru_cache(maxsize=1)
def _installed_corpus(packages: tuple[str, ...]) -> tuple[Sentence, ...]:
    return tuple(corpus({distribution: locate(distribution) for distribution in packages}, parallel=True))


def locate(distribution: str) -> Path:
    """Folder of an installed distribution's package, found without importing it.

    Raises:
        DataError: the distribution is not one of `PACKAGES`, or is not installed.
    """
    if distribution not in PACKAGES:
        raise DataError(f"no package {distribution!r} in the embedded data set; allowed: {', '.join(PACKAGES)}")
    spec = importlib.util.find_spec(_IMPORT_NAMES.get(distribution, distribution))
    if spec is None or spec.origin is None:
        raise DataError(
            f"the embedded data set reads the docstrings of {distribution}, which is not installed;"
            " install it with: pip install 'sensibert[pipeline]'"
        )
    return Path(spec.origin).parent


def corpus(roots: Mapping[str, Path], *, parallel: bool = False) -> list[Sentence]:
    """Clean first sentences of all docstrings below the package folders, without near copies.

    Args:
        roots: package folder of each distribution.
        parallel: whether every core parses; worth its start-up for whole packages.

    Returns:
        At most `LARGEST_CLASS` sentences of each distribution, in the order of their hashes.
    """
    found = list(chain.from_iterable(_parse_in_parallel(roots) if parallel else starmap(parse, sorted(roots.items()))))
    counts: Counter[str] = Counter()
    kept = []
    for sentence in _without_copies(_shuffled(found)):
        counts[sentence.distribution] += 1
        if counts[sentence.distribution] <= LARGEST_CLASS:
            kept.append(sentence)
    return kept


def _parse_in_parallel(roots: Mapping[str, Path]) -> Iterator[list[Sentence]]:
    # Spawned, since a fork copies the locks of other threads. A tree has no cycles, so the collector of cycles finds
    # nothing in it and would take a third of the time.
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=gc.disable) as pool:
        yield from pool.map(parse, *zip(*sorted(roots.items()), strict=True))


def parse(distribution: str, root: Path) -> list[Sentence]:
    """First sentences of all docstrings below one package folder, in the order of the files.

    Files that do not parse are counted and skipped.
    """
    sentences = []
    failed = []
    for path in source_files(root):
        module = path.relative_to(root).as_posix()
        try:
            found = list(docstrings(path.read_bytes()))
        except (SyntaxError, ValueError):
            failed.append(module)
            continue
        for function, docstring in found:
            text = first_sentence(docstring)
            if text is not None:
                sentences.append(Sentence(distribution, module, function, text))
    if failed:
        _log.warning("%s: left out %d files that do not parse: %s", distribution, len(failed), ", ".join(failed))
    return sentences


def source_files(root: Path) -> list[Path]:
    """The Python files of a package that are worth reading, sorted."""
    return sorted(path for path in root.rglob("*.py") if not _is_skipped(path.relative_to(root)))


def _is_skipped(path: PurePath) -> bool:
    return any(folder.startswith("_") or folder in _SKIPPED_FOLDERS for folder in path.parts[:-1]) or any(
        part.startswith(_SKIPPED_PREFIXES) for part in path.parts
    )


def docstrings(source: bytes) -> Iterator[tuple[str, str]]:
    """The (function name, docstring) pairs of one file; the name is empty for a class or a module.

    Raises:
        SyntaxError: the source is not Python.
        ValueError: the source holds null bytes or cannot be decoded.
    """
    if b'"""' not in source and b"'''" not in source:  # not worth parsing
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's invalid escape sequences
        tree = ast.parse(source)
    for node in _statements(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node)
            if docstring:
                yield (node.name if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else ""), docstring


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements: `ast.walk` without the expressions, which are most of the nodes and define nothing."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for block in ("body", "orelse", "handlers", "finalbody", "cases"):
            waiting.extend(getattr(node, block, ()))


# A line that is not prose: blank, a section or its underline, a field, a directive, a list item, an example.
_NO_PROSE = re.compile(r"\s*($|[A-Z][\w ]*::?$|[-=~^*#\"]{3,}|\.\. |:\w[\w *]*:(?!`)|@|>>>|```|[-*+] |\d+[.)] |\|)")
_ENTRY = re.compile(r"\S+\s*(\(.*\))?\s*:\s")  # `name (type): ...`, `name : type`
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\b[A-Za-z]\.)(?<!\betc\.)(?<!\bvs\.)\s+(?=[A-Z\"'(])")
_BOILERPLATE = re.compile(
    r"(see|refer|same as|alias|synonym|todo|fixme|copyright|licensed|equivalent to|overrid\w+|inherit\w*)\b"
    r"|.*\b(deprecat\w*|docstrings?)\b",
    re.IGNORECASE,
)
_PLAIN_WORD = re.compile(r"[(\"']*[A-Za-z]+(['-][A-Za-z]+)*[\"')]*[,.;:]?[\"')]*")
_NO_TEXT = re.compile(r"[^\x20-\x7e]|[`\\{}=<>|$]|://")


def first_sentence(docstring: str) -> str | None:
    """The first sentence of a docstring as plain English, package names masked; None if there is none."""
    prose = takewhile(lambda line: not _NO_PROSE.match(line), docstring.splitlines())
    paragraph = " ".join(" ".join(prose).split())
    if _ENTRY.match(paragraph):
        return None
    sentence = mask_names(_SENTENCE_END.split(strip_markup(paragraph), maxsplit=1)[0]).rstrip(" .!;,")
    if sentence.endswith(":") or not is_prose(sentence):
        return None
    return sentence + "."


def is_prose(sentence: str) -> bool:
    """Whether this reads as a meaningful English sentence of a usual length."""
    words = sentence.split()
    plain = sum(bool(_PLAIN_WORD.fullmatch(word)) for word in words)
    return (
        len(words) in WORDS
        and plain >= 0.75 * len(words)
        and not _NO_TEXT.search(sentence)
        and not _BOILERPLATE.match(sentence)
    )


_MARKUP: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\s*\[\w+\]_"), ""),  # a citation
    (re.compile(r"\[([^\]]+)\]\([^)]*\)"), r"\1"),  # a Markdown link
    (re.compile(r"\[(`[^`]*`)\]"), r"\1"),  # a cross-reference in the docstrings of transformers
    (re.compile(r"(?<!\w):[a-zA-Z][\w:+-]*:(?=`)"), ""),  # the name of a role
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{0,2}"), r"\1"),  # a link or a role with a title
    (re.compile(r"`~[\w.]*\.(\w+[^`]*)`"), r"\1"),  # a target shortened to its last part
    (re.compile(r"`+[.!~_]?([^`]*)`+(?:__?\b)?"), r"\1"),  # code, or what is left of a role
    (re.compile(r"(?<![\w*])\*{1,2}(\w[^*]*)\*{1,2}(?![\w*])"), r"\1"),  # emphasis
)


def strip_markup(text: str) -> str:
    """The text without reStructuredText and Markdown: roles, links, code quotes, emphasis, citations."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text


# Any word with the name of a package in it (PyTorch, MlflowClient), and the usual short names.
NAMES = re.compile(
    r"\b\w*(?:matplotlib|mlflow|pandas|scikit[- ]?learn|sklearn|scipy|sql[- ]?alchemy|torch|transformers"
    r"|hugging[- ]?face)\w*"
    r"|\b(?:mpl|plt|pd|hf)\b",
    re.IGNORECASE,
)


def mask_names(text: str) -> str:
    """The text with the names of the packages replaced by `STAND_IN`."""
    return NAMES.sub(STAND_IN, text)


def function_words(name: str) -> str:
    """A function's name as lower-case words: `set_xlim` and `setXlim` give `set xlim`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+", " ", name)
    return mask_names(" ".join(spaced.lower().split()))


def fingerprint(text: str) -> tuple[str, ...]:
    """What near copies of a sentence share: its plain words, without names, numbers and order."""
    first, *rest = re.findall(r"\w+", text)
    return tuple(sorted({first.lower(), *(word for word in rest if word.isalpha() and word.islower())}))


def docs_origin(sentences: Iterable[Sentence]) -> dict[str, pd.DataFrame]:
    """Which package is this sentence from? Columns `sentence` and `label` (index in `PACKAGES`)."""
    rows = [(sentence, (sentence.text, PACKAGES.index(sentence.distribution))) for sentence in sentences]
    return _split(rows, ["sentence", "label"])


def docs_match(sentences: Iterable[Sentence]) -> dict[str, pd.DataFrame]:
    """Does this sentence describe this function? Columns `sentence`, `function` and `label` (1: it does).

    Each sentence and each name appears in one row with each label, so that neither says anything without
    the other. The wrong name is the next one of the module in alphabetical order: often a similar one.
    """
    modules: dict[tuple[str, str], list[Sentence]] = defaultdict(list)
    for sentence in _with_new_names(sentences):
        modules[sentence.distribution, sentence.module].append(sentence)
    rows = []
    for members in modules.values():
        if len(members) < 2:
            continue
        members.sort(key=lambda member: function_words(member.function))
        for right, wrong in zip(members, members[1:] + members[:1], strict=True):
            rows.append((right, (right.text, function_words(right.function), 1)))
            rows.append((right, (right.text, function_words(wrong.function), 0)))
    return _split(rows, ["sentence", "function", "label"])


def _with_new_names(sentences: Iterable[Sentence]) -> Iterator[Sentence]:
    """The first sentence of each function name; those that quote the name itself would be too easy."""
    seen = set()
    for sentence in sentences:
        words = function_words(sentence.function)
        bare = sentence.function.strip("_")
        quoted = "_" in bare and bare in sentence.text
        if any(len(word) > 2 for word in words.split()) and words not in seen and not quoted:
            seen.add(words)
            yield sentence


def _without_copies(sentences: Sequence[Sentence]) -> Iterator[Sentence]:
    """The first of each set of near copies; none of a set that several distributions share."""
    owners = defaultdict(set)
    for sentence in sentences:
        owners[fingerprint(sentence.text)].add(sentence.distribution)
    for sentence in sentences:
        if len(owners.pop(fingerprint(sentence.text), ())) == 1:  # popped: gone when the next copy comes
            yield sentence


def _split(rows: Sequence[tuple[Sentence, tuple[str | int, ...]]], columns: list[str]) -> dict[str, pd.DataFrame]:
    """Hold out whole modules, and shuffle both splits."""
    held_out = validation_modules(Counter((source.distribution, source.module) for source, _ in rows))
    sides: dict[str, list[tuple[str | int, ...]]] = {"train": [], "validation": []}
    for source, row in rows:
        sides["validation" if (source.distribution, source.module) in held_out else "train"].append(row)
    return {
        side: pd.DataFrame(sorted(content, key=lambda row: _digest(*map(str, row))), columns=columns)
        for side, content in sides.items()
    }


def validation_modules(sizes: Mapping[tuple[str, str], int]) -> set[tuple[str, str]]:
    """The modules to hold out: of each distribution, as close to `VALIDATION_SHARE` of the rows as possible.

    Args:
        sizes: number of rows of each (distribution, module).
    """
    totals: Counter[str] = Counter()
    for (distribution, _), size in sizes.items():
        totals[distribution] += size
    missing = {distribution: VALIDATION_SHARE * total for distribution, total in totals.items()}
    held_out = set()
    for key in sorted(sizes, key=lambda key: _digest(*key)):
        distribution = key[0]
        if sizes[key] < 2 * missing[distribution]:  # taking it brings the count closer
            missing[distribution] -= sizes[key]
            held_out.add(key)
    return held_out


def _shuffled(sentences: Iterable[Sentence]) -> list[Sentence]:
    return sorted(sentences, key=lambda sentence: (_digest(*sentence), sentence))


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()

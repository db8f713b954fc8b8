"""The embedded data set on a small tree of sources; on the packages that are installed: tests/functional."""

import ast
import sys

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensibert.errors import DataError
from sensibert.sources import pydocs

TASK_NAMES = ("docs_origin", "docs_match")
ANIMALS = ("badger", "otter", "falcon", "lizard", "beetle", "salmon", "walrus", "magpie")
VERBS = ("count", "weigh", "paint", "label", "draw", "move", "feed", "clean")
PLACES = {"pandas": "northern", "scipy": "southern"}


def function_source(verb, place, animal):
    return f'def {verb}_{place}_{animal}(x):\n    """{verb.title()} every {place} {animal} of the zoo. More."""\n'


def write_tree(root, distribution, order=1):
    """One module for each animal, one function for each verb, and files that must not be read."""
    package = root / distribution
    (package / "tests").mkdir(parents=True)
    for animal in ANIMALS[::order]:
        functions = [function_source(verb, PLACES[distribution], animal) for verb in VERBS]
        (package / f"{animal}.py").write_text("\n\n".join(functions))
    (package / "tests" / "helpers.py").write_text('"""Hidden sentence from a folder of tests."""\n')
    (package / "test_more.py").write_text('"""Hidden sentence from a file of tests."""\n')
    (package / "_vendored").mkdir()
    (package / "_vendored" / "other.py").write_text('"""Hidden sentence from a copy of other code."""\n')
    (package / "broken.py").write_text('"""Hidden sentence from a broken file."""\ndef (:\n')
    return package


@pytest.fixture
def roots(tmp_path):
    return {name: write_tree(tmp_path, name) for name in ("pandas", "scipy")}


def build(task_name, roots):
    return getattr(pydocs, task_name)(pydocs.corpus(roots))


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_two_copies_of_a_tree_give_identical_frames(tmp_path, roots, task_name):
    again = {name: write_tree(tmp_path / "again", name, order=-1) for name in reversed(roots)}
    first, second = build(task_name, roots), build(task_name, again)
    assert list(first) == ["train", "validation"]
    for split in first:
        pd.testing.assert_frame_equal(first[split], second[split])


def test_tests_and_vendored_code_are_left_out_and_broken_files_counted(roots, caplog):
    sentences = pydocs.parse("scipy", roots["scipy"])
    assert len(sentences) == len(ANIMALS) * len(VERBS)
    assert not any("Hidden" in sentence.text for sentence in sentences)
    assert "scipy: left out 1 files that do not parse: broken.py" in caplog.text


def test_docs_origin_labels_the_distribution(roots):
    for frame in build("docs_origin", roots).values():
        assert set(frame.columns) == {"sentence", "label"}
        assert set(frame["label"]) <= {pydocs.PACKAGES.index("pandas"), pydocs.PACKAGES.index("scipy")}


def test_docs_match_pairs_inside_a_module(roots):
    for frame in build("docs_match", roots).values():
        assert len(frame)
        for row in frame.itertuples():
            verb, _, place, animal, *_ = row.sentence.lower().split()
            assert row.function.split()[1:] == [place, animal]
            assert (row.function.split()[0] == verb) == bool(row.label)


def test_a_module_stands_on_one_side(roots):
    train, validation = (set(frame["function"].str.split(n=1).str[1]) for frame in build("docs_match", roots).values())
    assert len(validation) == len(roots)
    assert train.isdisjoint(validation)


def test_a_sentence_of_two_distributions_is_dropped_and_a_copy_kept_once(tmp_path):
    shared = '"""Return the number of rows."""\n'
    for name, own in (
        ("pandas", "Sort the columns by their BERT names."),
        ("scipy", "Invert the dense matrix in place."),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text(shared)
        (tmp_path / name / "b.py").write_text(f'"""{own}"""\n')
    (tmp_path / "pandas" / "c.py").write_text('"""Sort the columns by their RoBERTa2 names."""\n')
    kept = pydocs.corpus({"pandas": tmp_path / "pandas", "scipy": tmp_path / "scipy"})
    assert sorted(sentence.distribution for sentence in kept) == ["pandas", "scipy"]


def test_no_class_exceeds_the_cap(roots, monkeypatch):
    monkeypatch.setattr(pydocs, "LARGEST_CLASS", 10)
    kept = pydocs.corpus(roots)
    assert [sum(sentence.distribution == name for sentence in kept) for name in roots] == [10, 10]


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Return the sum of all rows.\n\nMore.", "Return the sum of all rows."),
        ("Return the sum\nof all rows. It is fast.", "Return the sum of all rows."),
        ("Return the sum of all rows\nArgs:\n    x: rows", "Return the sum of all rows."),
        ("Return the sum of all rows\n:param x: rows", "Return the sum of all rows."),
        ("Use a norm, e.g. The Frobenius norm. More.", "Use a norm, e.g. The Frobenius norm."),
        ("Draw a :class:`~matplotlib.lines.Line2D` on ``ax`` [1]_.", "Draw a Line2D on ax."),
        ("Wrap :py:meth:`the loader <a.b.load>` of [`~models.Bert`] here.", "Wrap the loader of Bert here."),
        ("Follow `this link <x.html>`_ or [that one](y.html) *now*.", "Follow this link or that one now."),
        ("Convert a PyTorch tensor with Scikit-Learn here.", "Convert a library tensor with library here."),
        ("Load it with torch.load through MlflowClient.", "Load it with library.load through library."),
        ("Scikit-learn Hugging Face transformers SQLAlchemy", "library library library library."),
        ("Too short now.", None),
        ("Return " + "very " * 40 + "much.", None),
        ("Parameters\n----------\nx : int\n    A number of rows.", None),
        ("loss (`torch.FloatTensor` of shape `(1,)`): The loss of the model.", None),
        ("See the documentation of the base class.", None),
        ("This function is deprecated since the first version.", None),
        ("The sum of all rows is one of:\n\n- a", None),
        ("Сумма всех строк в этой таблице.", None),
        ("Compute y = x + 1 for i in {0, 1}.", None),
        ("", None),
    ],
)  # fmt: skip
def test_first_sentence(docstring, expected):
    assert pydocs.first_sentence(docstring) == expected


@given(
    st.lists(st.sampled_from([*"aZ .:`*_~<>[]()\n", "word ", "torch", "Args:", ":class:", "é", "e.g. "])).map("".join)
)
def test_first_sentence_of_any_text_is_plain_or_none(docstring):
    sentence = pydocs.first_sentence(docstring)
    if sentence is not None:
        assert sentence.isascii()
        assert sentence.endswith(".")
        assert not set(sentence) & set("`<>\n")
        assert not pydocs.NAMES.search(sentence)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("set_xlim", "set xlim"),
        ("setXLim", "set x lim"),
        ("__init__", "init"),
        ("HTTPServer", "http server"),
        ("conv2d", "conv2d"),
        ("_to_pandas", "to library"),
    ],
)
def test_function_words(name, words):
    assert pydocs.function_words(name) == words


def test_docstrings_are_found_wherever_a_statement_can_stand():
    source = b'''"""Module."""
class A:
    """Class."""
    if True:
        def a(self): """One."""
    else:
        async def b(self): """Two."""
try:
    def c(): """Three."""
except ValueError:
    def d():
        """Four."""
        with x:
            def e(): """Five."""
finally:
    def f(): """Six."""
match x:
    case 1:
        def g(): """Seven."""
'''
    by_walk = [
        (node.name if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else "", ast.get_docstring(node))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    assert len(by_walk) == 9
    assert sorted(pydocs.docstrings(source)) == sorted(by_walk)


@given(st.dictionaries(st.tuples(st.sampled_from("abc"), st.text("xyz", min_size=1)), st.integers(1, 50), max_size=60))
def test_no_other_module_would_bring_the_held_out_share_closer(sizes):
    held_out = pydocs.validation_modules(sizes)
    assert held_out <= set(sizes)
    for distribution in {key[0] for key in sizes}:
        own = {key: size for key, size in sizes.items() if key[0] == distribution}
        quota = pydocs.VALIDATION_SHARE * sum(own.values())
        taken = sum(own[key] for key in held_out & set(own))
        assert taken < 2 * quota
        assert all(abs(taken + own[key] - quota) >= abs(taken - quota) for key in set(own) - held_out)


def test_unknown_task_and_package_are_named():
    with pytest.raises(DataError, match=r"'sst2'.*docs_match"):
        pydocs.read("sst2")
    with pytest.raises(DataError, match=r"'numpy'.*sqlalchemy"):
        pydocs.read("docs_origin", ("numpy",))


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)  # what importlib takes for "not installed"
    with pytest.raises(DataError, match=r"scikit-learn.*pip install 'sensibert\[pipeline\]'"):
        pydocs.locate("scikit-learn")

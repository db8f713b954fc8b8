"""The pages say what the code says: signatures, options, messages, figures."""

import ast
import inspect
import re
from pathlib import Path

import pytest
import yaml
from scipy.stats import norm

import sensibert as sb
from sensibert.compress.limits import BUDGETS, most_trials
from sensibert.compress.verdict import _TWO_MORE, bound_of
from tools import cli_tables

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def read(page):
    return (DOCS / page).read_text(encoding="utf-8")


# docs/README.md, CITATION.cff


def test_the_index_has_every_page():
    linked = set(re.findall(r"\]\((\w+\.md)\)", read("README.md")))
    assert linked == {page.name for page in DOCS.glob("*.md")} - {"README.md"}


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == sb.__version__
    assert f"version = {{{sb.__version__}}}" in read("README.md")
    assert citation["references"][0]["title"] in read("README.md")


# docs/cli.md


def test_the_option_tables_are_those_of_the_commands():
    page = read("cli.md")
    assert cli_tables.filled(page) == page, "docs/cli.md is stale: run `python tools/cli_tables.py`"
    assert cli_tables.unlisted(page) == set(), "docs/cli.md has no place for these options"
    assert all(f"sensibert {command}" in page for command in cli_tables.options())


def test_a_table_takes_defaults_and_lists_from_the_command():
    (option,) = [option for option in cli_tables.options()["bench"] if option.name == "--batch-size"]
    assert option == ("--batch-size N", "May be given again.", "1, 32")
    table = cli_tables.filled("<!-- shared options: --seed --precision -->\n| old |\n\nText\n")
    assert table.endswith(
        "| `--precision auto\\|fp32\\|bf16` | Number format of training. | `auto` | compress, score |\n\nText\n"
    )
    assert "| old |" not in table
    assert ("compress", "--seed") not in cli_tables.unlisted(table)
    assert ("compress", "--budget") in cli_tables.unlisted(table)


# docs/api.md


def signatures():
    """Public name -> the parameters that docs/api.md gives it, as `ast` reads them."""
    found = re.findall(r"\*\*`sb\.(\w+)(\(.*?\))`\*\*", read("api.md"), flags=re.DOTALL)
    return {name: ast.parse(f"def f{given}: ...").body[0].args for name, given in found}


def test_the_api_page_has_every_public_name():
    assert sorted(signatures()) == sorted(sb.API)


@pytest.mark.parametrize("name", sb.API)
def test_the_api_page_gives_the_signature_of(name):
    stated, meant = signatures()[name], getattr(sb, name)
    real = {key: one for key, one in inspect.signature(meant).parameters.items() if not key.startswith("_")}
    keywords = [arg.arg for arg in stated.kwonlyargs]
    names = [*(arg.arg for arg in stated.args), *keywords, *([stated.kwarg.arg] if stated.kwarg else [])]
    assert names == list(real)
    if not inspect.isclass(meant):
        assert keywords == [key for key, one in real.items() if one.kind is one.KEYWORD_ONLY]
    last = names[len(stated.args) - len(stated.defaults) :]
    given = zip(last, [*stated.defaults, *stated.kw_defaults], strict=False)
    defaults = {key: default for key, default in given if default is not None}
    assert list(defaults) == [key for key, one in real.items() if one.default is not one.empty]
    for key, default in defaults.items():
        if isinstance(default, ast.Constant):  # others are objects, or a name for a long list
            assert real[key].default == default.value


# docs/troubleshooting.md


def texts_of(path):
    """The texts of a module, those of f-strings with a mark where they take a value."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_the_messages_of_the_troubleshooting_page_are_those_of_the_code():
    texts = "\n".join(text for path in (ROOT / "src").rglob("*.py") for text in texts_of(path))
    messages = re.findall(r"^\| `(.+?)` \|", read("troubleshooting.md"), flags=re.MULTILINE)
    assert len(messages) > 25
    for message in messages:
        missing = [part for part in message.split("…") if part.strip() not in texts]
        assert not missing, f"no message says {missing[0]!r}, which {message!r} on the page does"


# docs/compress.md


def test_the_page_on_compress_names_the_budgets_that_are_walked():
    assert ", ".join(f"{budget:g}" for budget in BUDGETS) in " ".join(read("compress.md").split())


def test_the_page_on_compress_says_how_many_rows_prove_a_point():
    rows = re.findall(
        r"^\| ([\d,]+) \(.+?\) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", read("compress.md"), re.MULTILINE
    )
    assert len(rows) == 4
    for count, *points in rows:
        size = int(count.replace(",", ""))
        bound = 100 * norm.ppf((1 + bound_of(most_trials(len(BUDGETS)))) / 2)
        differ = [disagreement * size + len(_TWO_MORE) for disagreement in (0.02, 0.05, 0.1)]
        expected = [bound * rows_that_differ**0.5 / (size + len(_TWO_MORE)) for rows_that_differ in differ]
        assert points == [f"{point:.1f}" for point in expected]

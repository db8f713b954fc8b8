"""What one of several processes computes of tiny models: scores, a tuned model, its training curve."""

from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification, PreTrainedModel

from sensibert.compute import processes
from sensibert.config.method_settings import DistillationParams
from sensibert.config.settings import ScoringParams, TrainingParams
from sensibert.evaluation.evaluate import predict
from sensibert.models.backbones import load_tokenizer
from sensibert.scoring.scoring_pass import score
from sensibert.training.fine_tune import fine_tune

SCORING = {
    "scores": ScoringParams(epochs=1, batch_size=4, learning_rate=1e-3),
    "scores of frozen weights": ScoringParams(epochs=1, batch_size=4, learning_rate=0.0),
}
TRAINING = TrainingParams(epochs=1, batch_size=4, precision="fp32", min_steps=0, checkpoint_steps=2)
DISTILLATION = DistillationParams(learning_rate=1e-3, hidden_weight=1.0)


def work(folder: Path) -> None:
    """Score and tune each model of the folder; the first process writes what came out."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {path.name: of_model(path) for path in sorted((folder / "models").iterdir())}
    connections = psutil.Process().net_connections("inet")
    found["listening at"] = {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}
    if processes.is_first():
        torch.save(found, folder / f"{processes.count()}.found")


def of_model(folder: Path) -> dict[str, Any]:
    """The scores of a model, and its loss and its answers as it learned from labels and a teacher."""
    tokenizer = None if folder.name == "vit" else load_tokenizer("tiny-bert")
    examples, checkpoints = torch.load(folder / "examples"), folder.parents[1] / "checkpoints" / folder.name
    scores = {}
    for name, settings in SCORING.items():
        *_, found = score(load(folder), examples, tokenizer, settings, seed=0, precision="fp32")
        scores[name] = found.scores
    model = load(folder)
    how = {"method": "full", "options": DISTILLATION, "seed": 0, "checkpoints": checkpoints, "teacher": load(folder)}
    training = fine_tune(model, examples, tokenizer, TRAINING, **how)
    return {
        **scores,
        "logits": predict(model, examples, tokenizer),
        "loss": [point.loss for point in training.history.log],
    }


def load(folder: Path) -> PreTrainedModel:
    """A model from its folder."""
    auto = AutoModelForImageClassification if folder.name == "vit" else AutoModelForSequenceClassification
    return auto.from_pretrained(folder)

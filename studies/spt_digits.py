"""SPT on images: a small ViT learns five digits and is tuned to the other five, by several methods and budgets.

    python -m studies.spt_digits

Pre-trained ViT weights would need a network, so the study makes its own: a ViT is trained from scratch on the digits
0 to 4 of scikit-learn's data set (8 x 8 pixels) and tuned to 5 to 9. Half of the images are for training, the other
half for the accuracy. Rows go to reports/studies/spt_digits.csv.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm.auto import tqdm
from transformers import PreTrainedModel, ViTConfig, ViTForImageClassification, set_seed

from sensibert.config.grid import DENSE_BUDGET
from sensibert.config.method_settings import MethodParams, SptParams
from sensibert.config.methods import METHODS
from sensibert.config.settings import TrainingParams
from sensibert.data.encoding import Examples, labels_of
from sensibert.errors import TuningError
from sensibert.evaluation.evaluate import predict
from sensibert.io import replacing
from sensibert.results import History
from sensibert.training.fine_tune import fine_tune

OUT = Path("reports/studies/spt_digits.csv")
SEEDS = (0, 1, 2)
BUDGETS = (0.005, 0.01, 0.02, 0.05)
PRE_TRAINING = TrainingParams(epochs=40, batch_size=32, precision="fp32", min_steps=0)
TUNING = TrainingParams(epochs=30, batch_size=32, precision="fp32", min_steps=0)
RATE = {"full": 5e-4, "head_only": 1e-2, "bitfit": 5e-3}
PEFT_RATE = 5e-3
CONFIG = ViTConfig(
    image_size=8,
    patch_size=2,
    num_channels=1,
    hidden_size=64,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=128,
    id2label=dict(enumerate("01234")),
)


def images(digits: range, seed: int) -> tuple[Examples, Examples]:
    """Training and test images of some digits, standardized; the labels count from 0."""
    data = load_digits()
    chosen = np.isin(data.target, digits)
    pixels = ((data.images[chosen] - data.images.mean()) / data.images.std()).astype(np.float32)[:, None]
    rows = [
        {"pixel_values": image, "labels": int(label) - digits.start}
        for image, label in zip(pixels, data.target[chosen], strict=True)
    ]
    train, test = train_test_split(rows, test_size=0.5, random_state=seed, stratify=data.target[chosen])
    return train, test


def pre_trained(seed: int) -> PreTrainedModel:
    """A ViT that knows the digits 0 to 4, with a new classifier."""
    set_seed(seed)
    model = ViTForImageClassification(copy.deepcopy(CONFIG))
    tune(model, images(range(5), seed)[0], PRE_TRAINING, "full", DENSE_BUDGET, seed, rate=1e-3)
    set_seed(seed)
    fresh = ViTForImageClassification(copy.deepcopy(CONFIG))
    fresh.vit.load_state_dict(model.vit.state_dict())
    return fresh


def tune(
    model: PreTrainedModel,
    train: Examples,
    training: TrainingParams,
    method: str,
    budget: float,
    seed: int,
    rate: float,
) -> History:
    """Tune a model in place; returns how the training went."""
    is_spt = METHODS[method].settings is SptParams
    options = SptParams(learning_rate=rate, rank=2, samples=400) if is_spt else MethodParams(learning_rate=rate)
    with tempfile.TemporaryDirectory() as scratch:
        run = fine_tune(
            model,
            train,
            None,
            training,
            method=method,
            options=options,
            budget=budget,
            seed=seed,
            checkpoints=Path(scratch),
        )
    return run.history


def row(base: PreTrainedModel, method: str, budget: float, seed: int) -> dict[str, object]:
    """Tune a copy of the pre-trained model to the digits 5 to 9; returns a row of the table."""
    train, test = images(range(5, 10), seed)
    model = copy.deepcopy(base)
    done = tune(model, train, TUNING, method, budget, seed, RATE.get(method, PEFT_RATE))
    labels = labels_of(test)
    return {
        "method": method,
        "budget": budget,
        "seed": seed,
        "trained": done.trainable_parameters,
        "structured_matrices": len(done.chosen.get("structured", ())),
        "single_weights": sum(done.chosen.get("sparse", {}).values()),
        "accuracy": round(100 * float((predict(model, test, None).argmax(axis=1) == labels).mean()), 2),
    }


def main() -> None:
    """Write the table."""
    cells = [(method, DENSE_BUDGET) for method in RATE]
    cells += [(method, budget) for budget in BUDGETS for method in ("lora", "adapter", "spt_lora", "spt_adapter")]
    rows = []
    for seed in SEEDS:
        base = pre_trained(seed)
        for method, budget in tqdm(cells, desc=f"seed {seed}"):
            try:
                rows.append(row(base, method, budget, seed))
            except TuningError as error:
                print(f"{method} at {budget}: {error}")
    with replacing(OUT) as beside:
        pd.DataFrame(rows).to_csv(beside, index=False, lineterminator="\n")
    print(pd.DataFrame(rows).groupby(["method", "budget"], sort=False).mean(numeric_only=True).round(2).to_string())


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()

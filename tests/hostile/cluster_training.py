"""A small training, and the same one in many environments: `python cluster_training.py FOLDER ENVIRONMENTS`."""

import json
import os
import sys
from hashlib import sha256
from pathlib import Path

from sensibert.config.method_settings import MethodParams
from sensibert.config.settings import TrainingParams
from sensibert.data.tasks import TASKS
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.training.fine_tune import fine_tune


def train(folder: Path) -> str:
    """The hash of the weights after a training that uses the folder."""
    model, tokenizer = load_backbone("tiny-bert", TASKS["sst2"], 0), load_tokenizer("tiny-bert")
    encoded = [tokenizer(f"text {row}")["input_ids"] for row in range(8)]
    examples = [{"input_ids": ids, "labels": row % 2, "idx": row} for row, ids in enumerate(encoded)]
    settings = TrainingParams(epochs=1, batch_size=4, precision="fp32", min_steps=0)
    options = MethodParams(learning_rate=1e-3)
    how = {"method": "full", "options": options, "seed": 0, "checkpoints": folder / "checkpoints"}
    fine_tune(model, examples, tokenizer, settings, **how)
    return sha256(b"".join(values.numpy().tobytes() for values in model.state_dict().values())).hexdigest()


def main(folder: str, environments: str) -> None:
    """Print the hash of each environment, trained in a fork: with the libraries as they are after import."""
    by_name = json.loads(environments)
    variables = {variable for environment in by_name.values() for variable in environment}
    for name, environment in by_name.items():
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0, name
            continue
        for variable in variables - environment.keys():
            os.environ.pop(variable, None)
        os.environ.update(environment)
        print(name, train(Path(folder) / name), sep="=", flush=True)
        os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""python predict.py TEXT [SECOND TEXT OF A PAIR] [--model model.int8.onnx]: answer with the model in this folder."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

FIELDS = {"input_ids": "ids", "token_type_ids": "type_ids", "attention_mask": "attention_mask"}


class Model:
    """An export, with nothing but numpy, onnxruntime and tokenizers."""

    def __init__(
        self, folder: Path = Path(__file__).parent, file: str = "model.onnx", threads: int | None = None
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0  # 0: as many as there are cores
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.session = onnxruntime.InferenceSession(folder / file, options, providers=["CPUExecutionProvider"])

    def logits(self, texts: list[Any]) -> np.ndarray:
        """The logits [texts, classes] of texts, or of pairs of texts."""
        encoded = self.tokenizer.encode_batch(texts)
        names = self.config["inputs"]
        inputs = {name: np.array([getattr(text, FIELDS[name]) for text in encoded], dtype=np.int64) for name in names}
        return np.asarray(self.session.run(["logits"], inputs)[0])

    def answer(self, text: Any) -> dict[str, Any]:
        """The label of a text or pair and its probability, or the score of a regression."""
        (logits,) = self.logits([text]).astype(float)
        if self.config["problem_type"] == "regression":
            return {"score": logits[0]}
        best = logits.argmax()
        return {"label": self.config["id2label"][str(best)], "probability": 1 / np.exp(logits - logits[best]).sum()}


def main() -> None:
    """Print the answer to the texts of the command line."""
    parser = argparse.ArgumentParser(description="Answer with the exported model in this folder.")
    parser.add_argument("text", nargs="+", help="one text, or the two of a pair")
    parser.add_argument("--model", default="model.onnx", help="file of the model")
    given = parser.parse_args()
    if len(given.text) > 2:
        parser.error(f"{len(given.text)} texts; allowed: one, or the two of a pair (put a text in quotation marks)")
    try:
        answer = Model(file=given.model).answer(given.text[0] if len(given.text) == 1 else tuple(given.text))
    except Exception as error:  # a file is missing or damaged: each reader has errors of its own
        reason = (str(error).splitlines() or [""])[0]
        sys.exit(f"error: cannot answer with {Path(__file__).parent} ({type(error).__name__}: {reason})")
    print(json.dumps(answer))


if __name__ == "__main__":
    main()

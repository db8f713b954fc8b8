"""Answer with the model in this folder: a text, the two of a pair, or the rows of a CSV file.

python predict.py TEXT [SECOND TEXT OF A PAIR] [--model model.int8.onnx]
python predict.py --csv reviews.csv --text review [--text-pair COLUMN] [--batch-size 32] > answered.csv
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from itertools import islice
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
        return self.answers([text])[0]

    def answers(self, texts: list[Any]) -> list[dict[str, Any]]:
        """The same for several texts at once."""
        logits = self.logits(texts).astype(float)
        if self.config["problem_type"] == "regression":
            return [{"score": score} for score in logits[:, 0].tolist()]
        best = logits.argmax(axis=1)
        parts = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
        names = [self.config["id2label"][str(place)] for place in best]
        return [{"label": name, "probability": part} for name, part in zip(names, parts.tolist(), strict=True)]

    def answer_csv(self, path: str, columns: list[str], batch_size: int) -> Iterator[dict[str, Any]]:
        """The rows of a CSV file, some at a time, with the columns that an answer adds; `-` is stdin."""
        with sys.stdin if path == "-" else open(path, newline="", encoding="utf-8-sig") as file:  # noqa: PTH123
            rows = csv.DictReader(file)
            missing = [name for name in columns if name not in (rows.fieldnames or [])]
            if missing:
                raise ValueError(f"no column {missing[0]!r} in {path}; the columns are {rows.fieldnames}")
            while batch := list(islice(rows, batch_size)):
                texts = [tuple(row[name] for name in columns) if columns[1:] else row[columns[0]] for row in batch]
                for row, answer in zip(batch, self.answers(texts), strict=True):
                    yield row | {
                        f"predicted_{name}" if name != "probability" else name: answer[name] for name in answer
                    }


def main() -> None:
    """Print the answers."""
    parser = argparse.ArgumentParser(
        description="Answer with the exported model in this folder.",
        epilog="predict.py --csv FILE --text COLUMN writes the rows with their answers to stdout.",
    )
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="one text, or the two of a pair")
    parser.add_argument("--model", default="model.onnx", help="file of the model, such as model.int8.onnx")
    parser.add_argument("--threads", type=int, help="all cores without it")
    parser.add_argument("--csv", metavar="FILE", help="answer its rows instead; - is stdin")
    parser.add_argument("--text", default="text", metavar="COLUMN", help="the column of the texts")
    parser.add_argument("--text-pair", metavar="COLUMN", help="the column of the second texts, for pairs")
    parser.add_argument("--batch-size", type=int, default=32, help="rows that are answered at once")
    given = parser.parse_args()
    if len(given.texts) > 2:
        parser.error(f"{len(given.texts)} texts; allowed: one, or the two of a pair (put a text in quotation marks)")
    if bool(given.texts) == (given.csv is not None):
        parser.error("give a text or two, or --csv FILE")
    if given.batch_size < 1:
        parser.error("--batch-size: must be at least 1")
    try:
        model = Model(file=given.model, threads=given.threads)
        if given.csv is None:
            print(json.dumps(model.answer(given.texts[0] if len(given.texts) == 1 else tuple(given.texts))))
            return
        columns = [given.text, *([given.text_pair] if given.text_pair else [])]
        writer = None
        for row in model.answer_csv(given.csv, columns, given.batch_size):
            if writer is None:
                writer = csv.DictWriter(sys.stdout, row, lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)
    except Exception as error:  # a file is missing or damaged: each reader has errors of its own
        reason = (str(error).splitlines() or [""])[0]
        sys.exit(f"error: cannot answer with {Path(__file__).parent} ({type(error).__name__}: {reason})")


if __name__ == "__main__":
    main()

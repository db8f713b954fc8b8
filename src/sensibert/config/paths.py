"""Where one profile keeps its files: besides dvc.yaml, the only place that knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sensibert.config.grid import Cell, Point, SearchedCell, TransferredCell


@dataclass(frozen=True)
class Paths:
    """Where one profile keeps its files; dvc.yaml names the same places."""

    profile: str
    root: Path = Path()

    @property
    def data(self) -> Path:
        """Everything DVC caches for this profile."""
        return self.root / "data" / self.profile

    @property
    def reports(self) -> Path:
        """The committed tables and plots."""
        return self.root / "reports" / self.profile

    def raw(self, task: str) -> Path:
        """Folder of a normalized task: one parquet file per split, and audit.json."""
        return self.data / "raw" / task

    def transferred_raw(self, task: str) -> Path:
        """Folder of a task that models of another task are evaluated on."""
        return self.data / "raw_transferred" / task

    def transfer(self, transferred: TransferredCell) -> Path:
        """How well the model of one cell does on another task."""
        return self.data / "results" / f"transfer-{transferred.name}.json"

    def scores(self, task: str, seed: int) -> Path:
        """Scores of every criterion from one pass."""
        return self.data / "scores" / f"{task}-{seed}.safetensors"

    def rescored(self, task: str, seed: int, epoch: int) -> Path:
        """Scores of a stability pass after that many epochs."""
        return self.data / "rescored" / f"{task}-{seed}" / f"epoch-{epoch}.safetensors"

    def layer_scores(self, task: str, seed: int) -> Path:
        """Fisher scores of the layers during fine-tuning."""
        return self.data / "rescored" / f"{task}-{seed}-layers.csv"

    @property
    def rates(self) -> Path:
        """Folder of the peak rates: one file for each task, method and budget."""
        return self.data / "rates"

    def rate(self, point: Point) -> Path:
        """The peak rate of a method (`results.RateCurve`)."""
        return self.rates / f"{point.name}.json"

    @property
    def rate_scratch(self) -> Path:
        """What the trials of an unfinished search for rates reached; not an output of any stage."""
        return self.data / "rate-trials"

    def mask(self, cell: Cell) -> Path:
        """The mask of a pruned cell."""
        return self.data / "masks" / f"{cell.name}.safetensors"

    def model(self, cell: Cell) -> Path:
        """Folder of the fine-tuned model."""
        return self.data / "models" / cell.name

    def export(self, cell: Cell) -> Path:
        """Folder of the exported model (ONNX)."""
        return self.data / "results" / f"export-{cell.name}"

    @property
    def bench(self) -> Path:
        """Latencies of the deployed models; measured, so not deterministic."""
        return self.data / "bench.json"

    def history(self, cell: Cell) -> Path:
        """Training curve of a cell."""
        return self.data / "history" / f"{cell.name}.json"

    def metrics(self, cell: Cell) -> Path:
        """Metrics and costs of a cell (`results.Result`)."""
        return self.data / "results" / cell.name / "metrics.json"

    def predictions(self, cell: Cell) -> Path:
        """Per-example predictions of a cell."""
        return self.data / "results" / cell.name / "predictions.parquet"

    def provenance(self, stage: str, name: str) -> Path:
        """Times, versions and hardware of one stage run; the only file of a stage that is not deterministic."""
        return self.data / "provenance" / stage / f"{name}.json"

    def simple(self, task: str, name: str) -> Path:
        """How well a simple model does (`results.SimpleResult`)."""
        return self.data / "results" / f"simple-{task}-{name}.json"

    def search(self, cell: SearchedCell) -> Path:
        """Folder of a search: trials.json, the best model, its metrics and predictions."""
        return self.data / "results" / f"search-{cell.name}"

    def search_scratch(self, cell: SearchedCell) -> Path:
        """Scratch folder of an unfinished search; not an output of any stage."""
        return self.data / "checkpoints" / f"search-{cell.name}"

    def checkpoints(self, cell: Cell) -> Path:
        """Scratch folder of an unfinished fine-tuning run; not an output of any stage."""
        return self.data / "checkpoints" / cell.name

    def layer_checkpoints(self, task: str, seed: int) -> Path:
        """Scratch folder of the fine-tuning run that a check of the layer ranking follows."""
        return self.data / "checkpoints" / f"{task}-layers-{seed}"

"""A backbone and a task, ready to use: what every experiment on them starts with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from datasets import DatasetDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.compute.hardware import best_device
from sensibert.config.settings import ModelParams
from sensibert.data.encoding import Examples, encode, hash_rows
from sensibert.data.tasks import Task
from sensibert.models.anatomy import hash_weights
from sensibert.models.backbones import check_length, load_backbone, load_tokenizer
from sensibert.models.mask import MadeFor


@dataclass(frozen=True)
class Subject:
    """A backbone and the normalized data of a task. Each split is tokenized once, when it is first needed."""

    task: Task
    dataset: DatasetDict
    settings: ModelParams
    """Names the backbone, and the number of tokens at which texts are cut."""
    trust_remote_code: bool = False
    """Whether code that the backbone's folder brings may run."""
    _encoded: dict[str, Examples] = field(default_factory=dict, repr=False)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The backbone's tokenizer."""
        return load_tokenizer(self.settings.backbone, trust_remote_code=self.trust_remote_code)

    @property
    def train(self) -> Examples:
        """The training examples; nothing else is ever trained on or scored."""
        return self.examples("train")

    def examples(self, split: str) -> Examples:
        """The examples of a split."""
        if split not in self._encoded:
            self._encoded[split] = encode(self.dataset[split], self.tokenizer, self.settings.max_length)
        return self._encoded[split]

    def splits(self, names: Sequence[str]) -> dict[str, Examples]:
        """The examples of several splits."""
        return {name: self.examples(name) for name in names}

    def made_for(self, model: PreTrainedModel) -> MadeFor:
        """What scores of a new model are made for; its weights must not have been trained since."""
        names = self.task.name, list(self.task.label_names)
        return MadeFor(self.settings.backbone, hash_weights(model), *names, hash_rows(self.dataset["train"]))

    def new_model(self, seed: int) -> PreTrainedModel:
        """The backbone on the best device, with a classifier that the seed draws."""
        trust = self.trust_remote_code
        given = self.settings.backbone, self.task, seed
        model = load_backbone(*given, pooling=self.settings.pooling, trust_remote_code=trust)
        check_length(model.config, self.settings.max_length)
        return model.to(best_device())  # type: ignore[arg-type]

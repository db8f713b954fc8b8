"""Fine-tuning without the rows of the embedding table that no training text uses.

In a small encoder the table outweighs the layers, and its gradient is dense: every step fills, clips and updates
rows that never change except by weight decay. They are taken out during training and put back afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sensibert.data.encoding import Examples, tokens_in


@contextmanager
def compact_embeddings(model: PreTrainedModel, *splits: Examples) -> Iterator[None]:
    """Within the block, the embedding table of a model has only the rows of the tokens in `splits` and of padding.

    After it the whole table is back: the used rows as they were trained, the others as AdamW would have left
    them, only decayed. A model whose table does not train, or is shared, stays as it is.
    """
    table = model.get_input_embeddings()
    is_own = model.get_output_embeddings() is None
    if type(table) is not nn.Embedding or not table.weight.requires_grad or not is_own:
        yield
        return
    small = _CompactEmbedding(table, _used_rows(splits, model.config.pad_token_id, table))
    model.set_input_embeddings(small)
    try:
        yield
    finally:
        small.restore(table)
        model.set_input_embeddings(table)


def _used_rows(splits: Sequence[Examples], padding: int | None, table: nn.Embedding) -> Tensor:
    used = torch.zeros(table.num_embeddings, dtype=torch.bool)
    for examples in splits:
        used |= tokens_in(examples, table.num_embeddings)
    for row in (padding, table.padding_idx):
        if row is not None:
            used[row] = True
    return used.nonzero().squeeze(1)


class _CompactEmbedding(nn.Embedding):
    """Some rows of a table, looked up by their old numbers, and after them a row of ones that records the decay."""

    rows: Tensor
    place: Tensor

    def __init__(self, table: nn.Embedding, rows: Tensor) -> None:
        weight = table.weight.detach()
        rows = rows.to(weight.device)
        place = torch.zeros(table.num_embeddings, dtype=torch.long, device=weight.device)
        place[rows] = torch.arange(len(rows), device=weight.device)
        padding = None if table.padding_idx is None else int(place[table.padding_idx])
        kept = torch.cat([weight[rows], torch.ones_like(weight[:1])])
        super().__init__(len(kept), table.embedding_dim, padding, _weight=kept)
        # Buffers move with the model; they are not part of a checkpoint, since the examples determine them.
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("place", place, persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Look up tokens by their old numbers."""
        return super().forward(self.place[input])

    @torch.no_grad()
    def restore(self, table: nn.Embedding) -> None:
        """Write the trained rows back, and decay the others."""
        table.to(self.weight.device)
        table.weight.mul_(self.weight[-1])
        table.weight[self.rows] = self.weight[:-1]

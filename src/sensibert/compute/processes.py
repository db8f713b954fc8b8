"""Several processes that train one model: each computes its rows of every batch, and their gradients are summed.

The batches, their padding and the noise of dropout are those of one process. So the model is that of one process, up to
the rounding of a sum in another order, whatever their number; DistributedDataParallel, where each process has batches
and noise of its own, would train another model for each. torchrun or Accelerate launches the processes
(`joined_as_launched`), or `spawn` does it on one machine, where nothing listens beyond loopback.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import ProcessExitedException
from torch.multiprocessing.spawn import spawn as start

from sensibert.errors import ParamsError

Batch = dict[str, Any]


@contextmanager
def joined_as_launched() -> Iterator[None]:
    """Within the block this process is one of those that torchrun or Accelerate launched, as the environment says.

    Raises:
        ParamsError: neither of them launched it.
    """
    if missing := [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise ParamsError(
            f"--distributed is for one of the processes that torchrun or Accelerate launches, and {missing[0]} is not "
            f"in the environment; run `torchrun --nproc-per-node 2 -m ...`"
        )
    with _joined("env://", int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))):
        yield


def spawn(run: Callable[..., object], count: int, *arguments: Any) -> None:
    """Run a function in several new processes of this machine that have joined; nothing listens beyond loopback.

    Args:
        run: Called with `arguments` in each process; a function of a module.
        count: Processes.
        arguments: What can be pickled.

    Raises:
        SystemExit: a process ended with that code; the others are stopped.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // count)))
    with TemporaryDirectory(prefix="sensibert-") as folder:
        try:
            start(_spawned, (count, folder, run, arguments), nprocs=count)  # type: ignore[no-untyped-call]
        except ProcessExitedException as error:
            raise SystemExit(error.exit_code) from None


def _spawned(rank: int, count: int, folder: str, run: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK)
    with _joined(f"file://{Path(folder, 'store')}", rank, count, rank=rank, world_size=count):
        run(*arguments)


_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
_LEAD = 1
"""Seconds that the first process has to say why all of them end, before another does and it is stopped."""


@contextmanager
def _joined(where: str, local_rank: int, on_this_machine: int, **who: int) -> Iterator[None]:
    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(local_rank % gpus)
    backend = "nccl" if on_this_machine <= gpus else "gloo"  # NCCL wants a GPU for each process
    logging.getLogger("transformers.training_args").addFilter(_tells_nothing_about_processes)
    distributed.init_process_group(backend, init_method=where, **who)  # type: ignore[arg-type]
    try:
        yield
    except SystemExit as end:
        if is_first() or not end.code:
            raise
        time.sleep(_LEAD)
        raise SystemExit(1) from None
    finally:
        distributed.destroy_process_group()


def _tells_nothing_about_processes(record: logging.LogRecord) -> bool:
    """Whether a record is not the warning that the Trainer does not know of the other processes, as is wanted."""
    return "process group is initialized" not in record.getMessage()


def count() -> int:
    """How many processes train together; 1 for a process that joined no others."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def wait() -> None:
    """Wait until all processes are here."""
    if distributed.is_initialized():
        distributed.barrier()


@dataclass(frozen=True)
class Share:
    """What one process computes of a batch."""

    first: int = 0
    """Its first row."""
    size: int = 0
    """How many rows it has; one, with a weight of 0, if there are fewer rows than processes."""
    total: int = 0
    """Rows of the batch."""
    weight: float = 1.0
    """Factor of its mean over rows, so that the sum over the processes is the mean over the batch."""
    token_weight: float = 1.0
    """The same factor of a mean over real tokens."""

    @property
    def rows(self) -> slice:
        """Its rows."""
        return slice(self.first, self.first + self.size)


_current: Share | None = None


def current_share() -> Share | None:
    """The share of the step that is being computed; None outside of one, and in a process that joined no others."""
    return _current


@contextmanager
def sharing(batch: Batch) -> Iterator[tuple[Batch, Share]]:
    """Within the block this process computes its share of a batch: gives its rows of each tensor, and the share."""
    total = len(batch["labels"])
    if not distributed.is_initialized():
        yield batch, Share(0, total, total)
        return
    global _current
    share = _share_of(batch, total)
    _current = share
    try:
        yield {name: values[share.rows] for name, values in batch.items()}, share
    finally:
        _current = None


def _share_of(batch: Batch, total: int) -> Share:
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    first, stop = total * rank // ranks, total * (rank + 1) // ranks
    if first == stop:
        return Share(0, 1, total, 0.0, 0.0)
    weight = (stop - first) / total
    tokens = batch.get("attention_mask")
    token_weight = weight if tokens is None else float(tokens[first:stop].sum() / tokens.sum())
    return Share(first, stop - first, total, weight, token_weight)


def sum_gradients(model: nn.Module) -> None:
    """Replace the gradients of a model by their sums over the processes."""
    if not distributed.is_initialized():
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if not gradients:  # of a scoring pass that leaves the weights as they are
        return
    flat = torch.cat([gradient.reshape(-1).float() for gradient in gradients])
    distributed.all_reduce(flat)
    for gradient, values in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(values.view_as(gradient))


def summed(values: Tensor) -> Tensor:
    """The sum of a tensor over the processes."""
    if distributed.is_initialized():
        values = values.clone()
        distributed.all_reduce(values)
    return values


def all_rows(own: Iterable[Tensor], share: Share) -> list[Tensor]:
    """All rows of some tensors of which each process has its share, [rows, ...]; zeros stand in for no rows.

    One exchange serves all of them.
    """
    own = list(own)
    if not distributed.is_initialized():
        return own
    widths = [values.shape[1] for values in own]
    rows = torch.zeros((share.total, sum(widths)), dtype=own[0].dtype, device=own[0].device)
    if share.weight:
        rows[share.rows] = torch.cat(own, dim=1)
    distributed.all_reduce(rows)
    return list(rows.split(widths, dim=1))

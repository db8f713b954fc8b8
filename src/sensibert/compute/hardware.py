"""Which device and number format to compute with, and how to compute the same bytes every time."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from transformers import set_seed

from sensibert.config.settings import Precision

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Parameters of `mallopt`, from malloc.h."""
_OF_A_CLUSTER = (
    *("ACCELERATE_", "FSDP_", "MEGATRON_", "PARALLELISM_CONFIG_", "TORCHELASTIC_"),
    *("PMI_", "MPI_", "OMPI_", "MV2_COMM_"),
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "MASTER_ADDR", "MASTER_PORT"),
)
"""How the variables begin by which torchrun, MPI and Accelerate say that a process is one of several."""


def best_device() -> torch.device:
    """CUDA when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(wish: Precision, device: torch.device) -> Precision:
    """`auto` becomes bf16 where the device multiplies bf16 in hardware, fp32 elsewhere."""
    if wish != "auto":
        return wish
    return "bf16" if _multiplies_bf16(device) else "fp32"


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # oneDNN also "supports" bf16 by emulation on AVX-512 alone, which is slower than fp32.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Within the block, matrix products run in `precision`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")  # type: ignore[return-value]


def make_deterministic(seed: int) -> None:
    """Seed every generator and refuse operations that may differ between runs."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with it
    set_seed(seed)
    torch.use_deterministic_algorithms(True)
    # It would write NaN into every new tensor to catch reads of uninitialized memory: slow, and no help here.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def alone() -> Iterator[None]:
    """Within the block, the environment says nothing about other processes or about settings of Accelerate.

    A training here is always one process. What torchrun or a cluster left in the environment would make Accelerate
    wait for others that never come, or ask for packages that nobody needs.
    """
    earlier = {name: value for name, value in os.environ.items() if name.startswith(_OF_A_CLUSTER)}
    _remove_variables_of_a_cluster()
    try:
        yield
    finally:
        _remove_variables_of_a_cluster()  # Accelerate sets some by itself
        os.environ.update(earlier)


def _remove_variables_of_a_cluster() -> None:
    for name in [name for name in os.environ if name.startswith(_OF_A_CLUSTER)]:
        del os.environ[name]


def keep_for_reuse() -> None:
    """Let the process keep what each training step needs again; call it before the first matrix product."""
    _keep_freed_memory()
    _keep_compiled_kernels()


def _keep_freed_memory() -> None:
    # Under glibc every large tensor is mapped anew and its pages are cleared at first use, again in each step: the
    # gradient of an embedding table costs several times its arithmetic that way.
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


def _keep_compiled_kernels() -> None:
    # oneDNN compiles a kernel for each shape of a bf16 product and keeps 1,024 of them. The layers of a slim model
    # differ in shape, and so do batches in length: thousands of shapes, which would be compiled in every step again.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")

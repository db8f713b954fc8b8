"""Ray: it finds a place for every cell, and another one when a worker or a host is lost."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensibert.errors import GridError
from sensibert.grid.clones import Cache, Order, Report, compute
from sensibert.grid.pinned import Pinned

LOCAL = "local"
_REACHED_WITHIN = 5.0
"""Seconds, for a TCP connection to the cluster."""
_TICK = 1.0
"""Seconds between two looks at what is finished."""


@dataclass(frozen=True)
class Share:
    """What each cell gets of a cluster."""

    cpus: int
    """Also the threads of its command."""
    gpus: float | None
    """A whole number, or a fraction of one; None for one if the cluster has any."""
    retries: int
    """How often a cell whose worker or host is lost begins again."""
    at_once: int | None
    """Cells at the same time, at most; None for as many as fit."""


def require_ray() -> None:
    """Check that Ray and DVC are there, before anything else is looked at.

    Raises:
        GridError: they are not; the message says how to get them.
    """
    from importlib.util import find_spec

    missing = [title for name, title in (("ray", "Ray"), ("dvc", "DVC")) if find_spec(name) is None]
    if missing:
        raise GridError(
            f"{' and '.join(missing)} {'are' if missing[1:] else 'is'} not installed; pip install 'sensibert[ray]'"
        )


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """A cluster that is there (`auto`, `HOST:PORT`), or one on this machine alone that ends with the block.

    Of the latter nothing listens beyond loopback, and a token that nobody else has protects it from other users of the
    machine. There is no dashboard.

    Raises:
        GridError: it cannot be reached.
    """
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it reports to Ray's makers otherwise
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its default to be, without the warning
    if address == LOCAL:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # one host alone: it binds to loopback
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # not in a file in the home folder
    else:
        _check_reachable(address)
    import ray

    try:
        ray.init(
            address=address,
            include_dashboard=False if address == LOCAL else None,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:  # it has no class of its own for this
        raise GridError(f"--address {address}: {_first_line(error)}") from None
    try:
        yield Cluster(ray)
    finally:
        ray.shutdown()


class Cluster:
    """A Ray cluster that this process is connected to."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def describe(self) -> str:
        """Its size, for people."""
        nodes = self._nodes()
        total = {kind: sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU")}
        hosts = f"{len(nodes)} nodes" if len(nodes) > 1 else "one node"
        return f"{hosts} with {total['CPU']:g} CPUs" + (f" and {total['GPU']:g} GPUs" if total["GPU"] else "")

    def fit(self, share: Share) -> Share:
        """A share with its GPUs settled.

        Raises:
            GridError: no node has room for one cell; Ray would wait for ever.
        """
        nodes = self._nodes()
        gpus = share.gpus
        if gpus is None:
            gpus = 1.0 if any(node.get("GPU", 0) for node in nodes) else 0.0
        if not any(node.get("CPU", 0) >= share.cpus and node.get("GPU", 0) >= gpus for node in nodes):
            sizes = sorted({f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes})
            raise GridError(
                f"no node has room for a cell of {share.cpus} CPUs and {gpus:g} GPUs (--cpus-per-cell, "
                f"--gpus-per-cell); there are nodes with {', '.join(sizes) or 'nothing'}"
            )
        return Share(share.cpus, gpus, share.retries, share.at_once)

    def put(self, content: bytes) -> Any:
        """Leave bytes where each node gets them once."""
        return self._ray.put(content)

    def compute(
        self, orders: Sequence[Order], pinned: Pinned, cache: Cache, scratch: Path, share: Share, pack: Any
    ) -> Generator[Report | None, None, None]:
        """Compute cells; gives their reports as they come, and None now and then while none comes.

        Ending the iteration early, by Ctrl-C or otherwise, ends the cells that are at work.

        Args:
            orders: The cells.
            pinned: The commit that they are computed with.
            cache: Where the files are.
            scratch: The folder of the clones, on every host.
            share: What each gets, after `fit`.
            pack: What `put` gave for the snapshot of the commit.
        """
        ray = self._ray
        task = ray.remote(_compute)
        place = {"num_cpus": share.cpus, "num_gpus": share.gpus, "max_retries": share.retries}
        waiting = list(reversed(orders))
        running: dict[Any, str] = {}
        try:
            while waiting or running:
                while waiting and (share.at_once is None or len(running) < share.at_once):
                    order = waiting.pop()
                    # In a list, so that Ray does not load it for the clones that have it already.
                    arguments = (order, pinned, cache, scratch, share.cpus, [pack])
                    reference = task.options(name=order.stage, **place).remote(*arguments)
                    running[reference] = order.stage
                finished, _ = ray.wait(list(running), timeout=_TICK)
                for reference in finished:
                    yield self._report(reference, running.pop(reference))
                if not finished:
                    yield None
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def _report(self, reference: Any, stage: str) -> Report:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:  # a host without this package, or without a place to write
            return Report(stage, "a host", 0.0, None, False, str(error).strip().splitlines()[-1])
        except self._ray.exceptions.RayError as error:  # lost too often
            return Report(stage, "a host", 0.0, None, False, f"Ray: {_first_line(error)}")

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]


def _compute(order: Order, pinned: Pinned, cache: Cache, scratch: Path, threads: int, pack: list[Any]) -> Report:
    """What runs on a worker."""
    import ray

    return compute(order, pinned, cache, scratch, threads, lambda: ray.get(pack[0]))


def _check_reachable(address: str) -> None:
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in address:
        raise GridError(f"--address {address}: it is auto or HOST:PORT, as `ray start --head` prints it")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED_WITHIN).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise GridError(f"--address {address}: nobody answers there ({reason}); `ray status` says what runs") from None


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)

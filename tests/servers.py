"""A port that is free, and patience until a server answers."""

import socket
import subprocess
import time
import urllib.request
from pathlib import Path


def free_port() -> int:
    """A port on loopback that nothing listens to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def await_answer(address: str, server: "subprocess.Popen[str]", log: Path, seconds: float = 120) -> None:
    """Wait until a server that was just started answers; what it has logged where it ends or never does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            return urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(log.read_text())

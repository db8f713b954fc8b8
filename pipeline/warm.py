"""Run a command whose stages need not import their libraries: `python -m pipeline.warm dvc repro`.

A stage spends seconds on imports before it does anything, and an experiment has dozens of them. Here one process
imports the libraries once, and each `python -m pipeline.STAGE` that the command starts hands its work to a fork of it.
The code of this repository is imported by each stage anew, in its own folder and environment. A stage ends with the
process that started it, and gives it its exit status. Where the libraries would have read another environment, or there
is a GPU, which no fork may inherit, it runs as it always does.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

ADDRESS = "SENSIBERT_WARM"
"""In the environment of the command: where its stages find the process with the libraries."""

_LIBRARIES = (
    "torch", "accelerate", "annotated_types", "datasets", "evaluate", "filelock", "matplotlib.style",
    "matplotlib.figure", "optuna", "peft", "pydantic", "scipy.stats", "safetensors.torch", "sklearn.linear_model",
    "sklearn.pipeline", "torch.utils.flop_counter", "transformers.models.auto.modeling_auto",
    "transformers.models.bert.modeling_bert", "transformers.models.bert.tokenization_bert", "transformers.trainer",
    "yaml",
)  # fmt: skip
"""What stages import, apart from this repository; one that is missing here costs time and nothing else."""

_READ_AT_IMPORT = (
    "OMP_", "MKL_", "OPENBLAS_", "HF_", "TRANSFORMERS_", "TORCH", "PYTORCH", "CUDA", "LD_", "PYTHONHASHSEED",
)  # fmt: skip
"""Beginnings of the names of variables that libraries read when they are imported."""

_YES, _NO = "yes\n", "no\n"
"""Whether the process with the libraries takes a stage over; then comes its exit status."""

_AT_ONCE = 2**16
"""Bytes of a request that are read at once."""


def main() -> int:
    """Run the command of the arguments; returns its exit status."""
    if not sys.argv[1:]:
        sys.exit("usage: python -m pipeline.warm COMMAND [ARGUMENT ...], such as dvc repro")
    # Not a TemporaryDirectory: it would be gone as soon as the first stage, a fork, ends.
    folder = Path(tempfile.mkdtemp(prefix="sensibert-warm-"))
    server = _start(folder / "socket")
    try:
        command = subprocess.Popen(sys.argv[1:], env={**os.environ, ADDRESS: str(folder / "socket")})
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command gets it too, and ends when its stage has
        signal.signal(signal.SIGTERM, lambda *_: command.terminate())
        status = command.wait()
        return status if status >= 0 else 128 - status
    finally:
        if server:
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)
        shutil.rmtree(folder, ignore_errors=True)


def _start(address: Path) -> int | None:
    """Start the process with the libraries; None where it cannot be."""
    if sys.platform != "linux":  # elsewhere a fork of a process with these libraries may hang
        return None
    with socket.socket(socket.AF_UNIX) as listening:
        try:
            listening.bind(str(address))
        except OSError:  # a longer name than sockets have
            return None
        listening.listen()
        alive, held_here = os.pipe()
        server = os.fork()
        if not server:
            os.close(held_here)
            _serve(listening, alive)
        return server


def hand_over(address: str) -> None:
    """Let the process at an address run the stage that this one was started for, and exit with its status.

    Returns:
        If that process cannot: then this one has to.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
        except OSError:
            return
        asked = {
            "module": sys.orig_argv[sys.orig_argv.index("-m") + 1],
            "arguments": sys.argv[1:],
            "folder": str(Path.cwd()),
            "environment": dict(os.environ),
            "path": sys.path,
        }
        with connection.makefile("r") as answers:
            try:
                socket.send_fds(connection, [json.dumps(asked).encode() + b"\n"], [0, 1, 2])
                takes_over = answers.readline() == _YES
            except OSError:  # it is gone, or this process has no standard input
                return
            if takes_over:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stage gets it too, and says how it ended
                _exit_like(int(answers.readline() or -signal.SIGKILL))


def _exit_like(status: int) -> NoReturn:
    """End this process as another one ended: by an exit status, or if it is negative by a signal."""
    if status < 0:
        with contextlib.suppress(OSError):  # SIGKILL cannot be changed
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(abs(status))


def _serve(listening: socket.socket, alive: int) -> NoReturn:
    """Import the libraries when there is a request, and fork for each, until the other end of a pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stages end by it, and then the command
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    own = _read_at_import(os.environ)
    is_fit = None
    while True:
        if alive in select.select([listening.fileno(), alive], [], [])[0]:
            os._exit(0)
        connection, _ = listening.accept()
        if is_fit is None:
            is_fit = _import_libraries()
        if not os.fork():
            listening.close()
            os.close(alive)
            _answer(connection, own if is_fit else None)
        connection.close()


def _import_libraries() -> bool:
    """Import what stages import; returns whether a fork may go on from here, which it may not beside a GPU."""
    if importlib.import_module("torch").cuda.is_available():
        return False
    for name in _LIBRARIES:
        with contextlib.suppress(Exception):  # a stage that needs it says what is wrong with it
            importlib.import_module(name)
    with contextlib.suppress(ImportError):  # it compiles a thousand patterns, once for each process
        importlib.import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("bert")
    gc.collect()
    gc.freeze()
    return True


def _answer(connection: socket.socket, own: dict[str, str] | None) -> NoReturn:
    """Run the stage of a request in a child, and tell how it ended; it ends if the one that asks is gone."""
    message, descriptors, _, _ = socket.recv_fds(connection, _AT_ONCE, 3)
    while not message.endswith(b"\n"):
        if not (more := connection.recv(_AT_ONCE)):
            os._exit(0)  # the one that asked is gone
        message += more
    asked = json.loads(message)
    if _read_at_import(asked["environment"]) != own:
        connection.sendall(_NO.encode())
        os._exit(0)
    connection.sendall(_YES.encode())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    stage = os.fork()
    if not stage:
        connection.close()
        _become(asked, descriptors)
        _run(asked["module"])
    for descriptor in descriptors:
        os.close(descriptor)

    def end_with_the_one_that_asks() -> None:
        if not connection.recv(1):
            with contextlib.suppress(ProcessLookupError):
                os.kill(stage, signal.SIGTERM)

    threading.Thread(target=end_with_the_one_that_asks, daemon=True).start()
    _, status = os.waitpid(stage, 0)
    with contextlib.suppress(OSError):
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(asked: dict[str, Any], descriptors: array.array[int] | list[int]) -> None:
    """Make this process look as the one that asks does: where it is, what it reads and writes, what it was told."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (for the whole process)
    sys.stdout = open(1, "w", closefd=False, buffering=1 if os.isatty(1) else -1)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1, errors="backslashreplace")  # noqa: SIM115
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    del os.environ[ADDRESS]
    sys.path[:] = asked["path"]
    sys.argv[:] = ["-m", *asked["arguments"]]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("pipeline", "sensibert")]:
        del sys.modules[name]  # of the folder where the command was started


def _run(module: str) -> NoReturn:
    """Run a module as `python -m` does, to the very end: this process must not go on with what it was forked from."""
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        status = -signal.SIGINT
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    _exit_like(status)


def _read_at_import(environment: dict[str, str] | os._Environ[str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_IMPORT)}


if __name__ == "__main__":
    sys.exit(main())

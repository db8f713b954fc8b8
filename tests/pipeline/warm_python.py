"""A `python`, a `sensibert` and a `dvc` that have their libraries loaded already: many calls do not each import them.

    python tests/pipeline/warm_python.py SOCKET FOLDER [training]

serves on a Unix socket and writes to FOLDER these commands, which ask it. Each call is a fork of the server: its own
code is imported from its work tree, anew, and runs with the caller's arguments, environment, folder and streams. Only
what is not of this project is shared.
"""

import gc
import json
import os
import runpy
import signal
import socket
import sys
import traceback
from importlib import import_module
from pathlib import Path

from transformers.conversion_mapping import get_checkpoint_conversion_mapping

FOR_TRAINING = (
    *("dvc.cli.parser", "dvc.parsing", "dvc.repo", "dvc.repo.reproduce"),
    *("datasets", "pandas", "pydantic", "scipy.stats", "sklearn.metrics", "torch", "transformers"),
    *(f"transformers.models.{name}.modeling_{name}" for name in ("bert", "camembert", "deberta_v2", "distilbert")),
    *(f"transformers.models.{name}.modeling_{name}" for name in ("electra", "gpt2", "modernbert", "mpnet", "roberta")),
    *(f"transformers.models.{name}.modeling_{name}" for name in ("vit", "xlm_roberta")),
    *("transformers.models.bert.tokenization_bert", "transformers.trainer"),
)
FOR_THE_REST = (
    *("dvc.repo.experiments.run", "evaluate", "matplotlib.figure", "mlflow", "onnxruntime", "onnxruntime.quantization"),
    *("onnxscript", "optuna", "torch.onnx"),
)
CLIENT = """#!{python} -SE
import array, json, os, socket, sys
call = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    streams = array.array("i", [0, 1, 2]).tobytes()
    server.sendmsg([len(call).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
    server.sendall(call)
    code = server.recv(1)
sys.exit(code[0] if code else 1)  # no answer: the stage was killed
"""


def serve(address: str, folder: str, what_for: str = "everything") -> None:
    """Load the libraries, write the commands, and answer calls until the process is killed."""
    for library in (*FOR_TRAINING, *(() if what_for == "training" else FOR_THE_REST)):
        import_module(library)
    get_checkpoint_conversion_mapping("bert")  # compiles a thousand patterns, once for each process
    gc.freeze()  # a collection in a child would copy most of this process
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        for name in ("python", "sensibert", "dvc"):
            client = Path(folder) / name
            client.write_text(CLIENT.format(python=sys.executable, address=address))
            client.chmod(0o755)
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a child
        while True:
            caller, _ = server.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                server.close()
                answer(caller)
            caller.close()


def answer(caller: socket.socket) -> None:
    """Run a call in this process and tell how it ended."""
    size, streams, _, _ = socket.recv_fds(caller, 8, 3)
    rest = int.from_bytes(size, "big")
    call = b""
    while len(call) < rest:
        call += caller.recv(rest - len(call))
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
    code = 0
    try:
        run(*json.loads(call))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    caller.sendall(bytes([code]))
    os._exit(code)


def run(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """What `python -m MODULE ...`, `sensibert ...` or `dvc ...` does in a folder."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [folder, *environment.get("PYTHONPATH", "").split(os.pathsep)]
    if Path(arguments[0]).name == "dvc":
        sys.exit(import_module("dvc.cli").main(arguments[1:]))
    if Path(arguments[0]).name == "sensibert":
        sys.argv = arguments
        import_module("sensibert.cli").app()
        return
    assert arguments[1] == "-m", arguments
    sys.argv = arguments[2:]
    runpy.run_module(arguments[2], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])

"""Answer over HTTP with an exported model, with nothing but what its `predict.py` needs.

    python serve.py small-onnx --int8
    curl -d '{"texts": ["a text", "another"]}' http://127.0.0.1:8000

Each request has a thread of its own, and ONNX Runtime takes one thread per text unless --threads says otherwise.
"""

import argparse
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LARGEST = 2**20
"""Bytes of a request."""
EXPECTED = f'expected {{"texts": [...]}}, at most {LARGEST:,} bytes'


def load(folder: Path, *, int8: bool = False, threads: int = 1) -> Any:
    """The model of an export, by the code that lies beside it."""
    sys.path.insert(0, str(folder))
    from predict import Model

    return Model(folder, "model.int8.onnx" if int8 else "model.onnx", threads)


def handler_of(model: Any) -> type[BaseHTTPRequestHandler]:
    """What answers `{"texts": [...]}` with `{"answers": [...]}`; a pair is a list of two texts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                length = min(max(int(self.headers["Content-Length"]), 0), LARGEST)
                asked = json.loads(self.rfile.read(length))["texts"]
                answers = [model.answer(text if isinstance(text, str) else tuple(text)) for text in asked]
            except (ValueError, TypeError, KeyError) as error:
                self.send_error(400, f"{EXPECTED} ({type(error).__name__})")
                return
            content = json.dumps({"answers": answers}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Answer over HTTP with an exported model.")
    parser.add_argument("folder", type=Path, help="written by `sensibert export`")
    parser.add_argument("--int8", action="store_true", help="take the quantized file")
    parser.add_argument("--threads", type=int, default=1, help="of a single answer")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 to be reached from other machines")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    model = load(given.folder, int8=given.int8, threads=given.threads)
    with ThreadingHTTPServer((given.host, given.port), handler_of(model)) as server:
        print(f"listening on http://{given.host}:{server.server_port}")
        server.serve_forever()


if __name__ == "__main__":
    main()

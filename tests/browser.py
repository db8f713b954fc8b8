"""A headless Chromium, driven by the DevTools protocol over two pipes: real clicks, real keys, real layout."""

import json
import os
import select
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""The browser of this machine; None if it has none."""

HANGS_AFTER = 120
"""Seconds."""

_KEYS = {"Enter": ("\r", 13), " ": (" ", 32), "Tab": ("\t", 9)}


class Browser:
    """One page at a time."""

    def __init__(self, reading, writing):
        self._reading, self._writing = reading, writing
        self._last, self._session, self._rest = 0, None, b""
        self.complaints = []
        """What the page wrote to the console, exceptions and refused loads included."""
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")

    def open(self, path, width=1200, height=900, scheme="light"):
        """Show a file in a window of some size, in CSS pixels."""
        self.complaints.clear()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._send("Emulation.setDeviceMetricsOverride", **size)
        self._send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._send("Page.navigate", url=Path(path).resolve().as_uri())
        self.ask("new Promise((done) => document.readyState === 'complete' ? done() : addEventListener('load', done))")

    def ask(self, expression):
        """The value of an expression in the page."""
        options = {"awaitPromise": True, "returnByValue": True}
        found = self._send("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def click(self, selector):
        """Click on the middle of an element, wherever it is by then."""
        box = f"document.querySelector({json.dumps(selector)})"
        x, y = self.ask(
            f"{box}.scrollIntoView({{block: 'center', behavior: 'instant'}}), "
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({box}.getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key):
        """Press and release a key."""
        text, code = _KEYS[key]
        shared = {"key": key, "windowsVirtualKeyCode": code}
        self._send("Input.dispatchKeyEvent", type="keyDown", text=text, **shared)
        self._send("Input.dispatchKeyEvent", type="keyUp", **shared)

    def type(self, words):
        """Write into what has the focus."""
        self._send("Input.insertText", text=words)

    def _send(self, method, **params):
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def _receive(self):
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._reading], [], [], HANGS_AFTER)
            read = os.read(self._reading, 1 << 16) if ready else b""
            assert read, "the browser has ended, or hangs"
            self._rest += read
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event):
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled":
                self.complaints.append(str(params["args"]))
            case "Runtime.exceptionThrown":
                self.complaints.append(params["exceptionDetails"]["text"])
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Network.requestWillBeSent" if not params["request"]["url"].startswith("file:"):
                self.complaints.append(f"it asks for {params['request']['url']}")


@contextmanager
def browser(profile):
    """Start the browser with a folder for its own files, and end it."""
    (to_read, for_it_to_write), (for_it_to_read, to_write) = os.pipe(), os.pipe()
    # DevTools reads from descriptor 3 and writes to 4. There is no sandbox for root, and none is needed for own files.
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
    command += [f"--user-data-dir={profile}", "--no-first-run", "--disable-dev-shm-usage", "about:blank"]
    process = subprocess.Popen(
        ["bash", "-c", f'exec "$@" 3<&{for_it_to_read} 4>&{for_it_to_write}', "bash", *command],
        pass_fds=(for_it_to_read, for_it_to_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(for_it_to_read)
    os.close(for_it_to_write)
    try:
        yield Browser(to_read, to_write)
    finally:
        process.kill()
        process.wait()
        os.close(to_read)
        os.close(to_write)

"""A headless Chromium over its own debugging pipe: what a page asks for, complains about and shows."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager

NAMES = ("chromium", "chromium-headless-shell", "chrome-headless-shell", "google-chrome", "chromium-browser")
VARIABLE = "VTT_TEST_CHROMIUM"
PATIENCE_S = 60.0


def find_chromium():
    """The browser that the environment variable names, or one on PATH; None where there is none."""
    return os.environ.get(VARIABLE) or next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One tab. ``requests`` and ``complaints`` collect what happens from the first page on."""

    def __init__(self, send, receive):
        self._send, self._receive, self._buffer, self._id, self._session = send, receive, b"", 0, None
        self.requests, self.complaints, self._seen = [], [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def open(self, url, *, width=1280, height=900):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._seen.clear()
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._seen:
            self._next()

    def evaluate(self, expression):
        said = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def call(self, method, **params):
        self._id += 1
        message = {"id": self._id, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._id:
            pass
        assert "result" in answer, answer
        return answer["result"]

    def _next(self):
        deadline = time.monotonic() + PATIENCE_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._receive], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._receive, 1 << 20) if ready else b""
            assert data, "the browser does not answer"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method, params):
        self._seen.append(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.complaints.append(json.dumps(params))


@contextmanager
def headless(binary, profile):
    """A fresh browser with a fresh profile; ends with the block."""
    (ours, send), (receive, theirs) = os.pipe(), os.pipe()
    options = ["--headless", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
    options += ["--no-sandbox"] if os.geteuid() == 0 else []
    hears, speaks = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (ours, theirs))  # clear of 3 and 4, which it wants
    line = ["bash", "-c", f'exec "$@" 3<&{hears} 4>&{speaks}', "bash", binary, *options]
    process = subprocess.Popen(line, pass_fds=(hears, speaks), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for end in (ours, theirs, hears, speaks):
        os.close(end)
    try:
        yield Browser(send, receive)
    finally:
        os.close(send)
        os.close(receive)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

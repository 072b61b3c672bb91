"""A headless Chromium with the network off, driven through its DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/ has the methods and events that are named here.
"""

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-port=0", "--remote-allow-origins=*",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip
SECONDS = 30


def find_chromium():
    """Return the path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """A running Chromium with a profile of its own, gone when it is closed."""

    def __init__(self, path):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            [path, *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port_file = Path(self.profile.name) / "DevToolsActivePort"
        deadline = time.monotonic() + SECONDS
        while not (port_file.exists() and port_file.read_text().count("\n") >= 1):
            if time.monotonic() > deadline:
                self.close()
                raise TimeoutError(f"{path} did not start within {SECONDS} s")
            time.sleep(0.05)
        self.address = f"http://127.0.0.1:{port_file.read_text().split()[0]}"

    def open(self, url, width=1280, height=900):
        """Open a page in a new tab and wait until it is loaded and its mathematics is set."""
        request = urllib.request.Request(f"{self.address}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request) as answer:
            target = json.load(answer)
        return Page(target, url, width, height)

    def close(self):
        """End Chromium and remove its profile."""
        self.process.terminate()
        self.process.wait(SECONDS)
        self.profile.cleanup()


class Page:
    """One tab: what it asked for, what it complained about, and a hand to press keys with."""

    def __init__(self, target, url, width, height):
        self.socket = websocket.create_connection(target["webSocketDebuggerUrl"], timeout=SECONDS)
        self.count, self.errors, self.requests = 0, [], []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.send("Page.navigate", url=url)
        self.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")
        if self.evaluate("location.href").startswith("chrome-error:"):
            raise FileNotFoundError(f"{url} did not open")
        self.evaluate("window.MathJax?.startup?.promise.then(() => true)")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.send("Page.close")
        self.socket.close()

    def send(self, method, **params):
        """Call a method of the protocol and return its result."""
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.count:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]
            self._note(message.get("method"), message.get("params"))

    def _note(self, event, params):
        """Keep requests and complaints."""
        if event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(arg.get("value")) for arg in params["args"]))
        elif event == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def evaluate(self, script):
        """Return the value of a JavaScript expression; a promise is waited for."""
        answer = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']['exception']}")
        return answer["result"].get("value")

    def wait_for(self, script):
        """Wait until an expression holds and return its value."""
        deadline = time.monotonic() + SECONDS
        while not (value := self.evaluate(script)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{script} did not hold within {SECONDS} s")
            time.sleep(0.05)
        return value

    def press(self, key, code):
        """Press a key (its name and its Windows virtual key code), as a hand would."""
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def screenshot(self, path):
        """Write what is in the window as PNG."""
        data = self.send("Page.captureScreenshot")["data"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))

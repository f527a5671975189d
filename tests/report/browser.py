"""Just enough of the W3C WebDriver protocol to use a page as a person would."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def chromium() -> str | None:
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


class Browser:
    """Headless Chromium behind a local chromedriver; ``profile`` must be an empty folder."""

    def __init__(self, profile: Path, width: int, height: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._driver = subprocess.Popen(["chromedriver", f"--port={port}"], **silent)
        self._root = f"http://127.0.0.1:{port}"
        # No proxy: the driver is on this machine.
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self.downloads = profile / "downloads"
        try:
            self._wait_for_driver()
            self._session = self._start(profile, width, height)
        except BaseException:
            self._stop()
            raise

    def _wait_for_driver(self) -> None:
        for _ in range(100):
            try:
                self._call("GET", f"{self._root}/status")
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("chromedriver did not start within ten seconds")

    def _start(self, profile: Path, width: int, height: int) -> str:
        options: dict[str, Any] = {
            "binary": chromium(),
            "args": [*FLAGS, f"--user-data-dir={profile / 'user'}", f"--window-size={width},{height}"],
            "prefs": {"download.default_directory": str(self.downloads), "download.prompt_for_download": False},
        }
        if width < 500:  # a desktop window cannot be that narrow
            options["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1.0}}
        logs = {"browser": "ALL"}
        wanted = {"browserName": "chrome", "goog:loggingPrefs": logs, "goog:chromeOptions": options}
        made = self._call("POST", f"{self._root}/session", {"capabilities": {"alwaysMatch": wanted}})
        return f"{self._root}/session/{made['sessionId']}"

    def _call(self, method: str, url: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        try:
            with self._open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()[:600]) from None

    def open(self, path: Path) -> None:
        self._call("POST", f"{self._session}/url", {"url": path.as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def _find(self, selector: str) -> str:
        body = {"using": "css selector", "value": selector}
        return next(iter(self._call("POST", f"{self._session}/element", body).values()))

    def click(self, selector: str) -> None:
        """A real click: fails if something covers the element."""
        self._call("POST", f"{self._session}/element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        self._call("POST", f"{self._session}/element/{self._find(selector)}/value", {"text": text})

    def select(self, selector: str, value: str) -> None:
        script = """
          const element = document.querySelector(arguments[0]);
          element.value = arguments[1];
          for (const name of ["input", "change"]) element.dispatchEvent(new Event(name, {bubbles: true}));
        """
        self.run(script, selector, value)

    def console(self) -> list[str]:
        """Warnings and errors since the last call; a breach of the content policy is one."""
        entries = self._call("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", f"{self._session}/screenshot")))

    def wait(self, condition: str) -> None:
        """Until the script is true, at most ten seconds."""
        for _ in range(100):
            if self.run(f"return Boolean({condition})"):
                return
            time.sleep(0.1)
        raise AssertionError(f"never true: {condition}; console: {self.console()}")

    def _stop(self) -> None:
        self._driver.terminate()
        self._driver.wait(10)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._call("DELETE", self._session)
        finally:
            self._stop()

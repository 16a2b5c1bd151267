"""A coordinator as a process of its own, and a training that goes on as long as it is wanted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEMO = Path(__file__).resolve().parents[2] / "demo"
sys.path.insert(0, str(DEMO))

import data as hospitals_data  # noqa: E402
import network  # noqa: E402
from hospital import Hospital  # noqa: E402
from ledger import STEPS, Ledger  # noqa: E402
from xaynet_sdk import spawn_participant  # noqa: E402

SECONDS = 60.0
"""How long anything may take that takes a moment, on a machine that does other things as well."""


def chromium() -> str | None:
    """The browser: the one that CHROMIUM names, or the system's."""
    named = os.environ.get("CHROMIUM")
    names = ["chromium", "chromium-browser", "google-chrome"]
    return named or next(filter(None, map(shutil.which, names)), None)


def wait_until(done: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


class Server:
    """A running coordinator."""

    def __init__(
        self, binary: str, folder: Path, *arguments: str, bind: str = "127.0.0.1:0"
    ) -> None:
        port_file = folder / "port"
        port_file.unlink(missing_ok=True)
        command = [binary, "serve", "--ephemeral", "--bind", bind]
        command += ["--port-file", str(port_file), *arguments]
        self._log = (folder / "coordinator.log").open("ab")
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=self._log)
        try:
            wait_until(
                lambda: port_file.exists() or self._process.poll() is not None,
                "the coordinator listens",
            )
            self.address = port_file.read_text()
        except BaseException:
            self.stop()
            raise
        self.url = f"http://{self.address}"

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/status", timeout=SECONDS) as answer:
            status: dict[str, Any] = json.load(answer)
            return status

    def send_rubbish(self, messages: int) -> None:
        """Sends messages that do not open."""
        for _ in range(messages):
            request = urllib.request.Request(f"{self.url}/message", data=b"\0" * 300)
            urllib.request.urlopen(request, timeout=SECONDS).close()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


@contextmanager
def training(binary: str, folder: Path, failures: int = 0) -> Iterator[Server]:
    """A coordinator with which the demo's ten hospitals train, round after round.

    So many rounds fail before they come.
    """
    data = hospitals_data.load()
    length = len(network.initial_weights())
    settings = ["--config", str(DEMO / "coordinator.toml"), "--model-length", str(length)]
    server = Server(binary, folder, *settings)
    sizes = [len(hospital) for hospital in data.hospitals]
    scalars = [size / max(sizes) for size in sizes]
    ledger = Ledger(scalars, STEPS["Prime"])
    participants = []
    try:
        wait_until(lambda: len(server.status()["rounds"]) >= failures, "rounds without anyone fail")
        for number, (patients, scalar) in enumerate(zip(data.hospitals, scalars)):
            arguments = (number, patients, ledger)
            participants.append(
                spawn_participant(server.url, Hospital, args=arguments, scalar=scalar)
            )
        yield server
    finally:
        for participant in participants:
            participant.stop()
        server.stop()

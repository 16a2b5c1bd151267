"""Fixtures: a real coordinator with short phases, and fake ones that misbehave."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake import FakeCoordinator

try:
    from hypothesis import HealthCheck, settings
except ModuleNotFoundError:
    # The environment for Flower has none, and no test that needs it.
    pass
else:
    # How long an example takes is the machine's affair. And a check that a change has nothing to do with gives the same as
    # yesterday: who looks for new examples says `pytest --hypothesis-profile=search`.
    settings.register_profile(
        "same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.register_profile(
        "search", settings.get_profile("same"), derandomize=False, max_examples=5000
    )
    settings.load_profile("same")

ROOT = Path(__file__).resolve().parents[2]
# What takes longer does not happen.
SECONDS = 120.0


def coordinator_binary() -> Path:
    path = os.environ.get("PET_COORDINATOR")
    candidates = (
        [Path(path)]
        if path
        else [ROOT / "target" / profile / "pet-coordinator" for profile in ("release", "debug")]
    )
    found = [candidate for candidate in candidates if candidate.is_file()]
    if not found:
        pytest.fail(
            "no coordinator: run `cargo build -p pet-coordinator`, or set PET_COORDINATOR to its path",
            pytrace=False,
        )
    return max(found, key=lambda candidate: candidate.stat().st_mtime)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """For what nothing announces."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


@dataclass
class Coordinator:
    """A running coordinator process."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def start_coordinator(tmp_path: Path) -> Iterator[Callable[..., Coordinator]]:
    """Starts coordinators; they end with the test."""
    running: list[Coordinator] = []

    def start(length: int = 4, port: int = 0, **settings: object) -> Coordinator:
        name = f"coordinator-{len(running)}"
        port_file, log = tmp_path / f"{name}.port", tmp_path / f"{name}.log"
        values = {
            "pet.sum.prob": 0.3,
            "pet.sum.time.min": 0.5,
            "pet.sum.time.max": 3,
            "pet.update.prob": 1.0,
            "pet.update.time.min": 1.0,
            "pet.update.time.max": 10,
            "pet.sum2.time.min": 0.1,
            "pet.sum2.time.max": 5,
            **{key.replace("__", "."): value for key, value in settings.items()},
        }
        command = [str(coordinator_binary()), "serve", "--ephemeral", "--model-length", str(length)]
        command += ["--bind", f"127.0.0.1:{port}", "--port-file", str(port_file)]
        for key, value in values.items():
            command += ["--set", f"{key}={value}"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("XAYNET")}
        with log.open("wb") as stream:
            process = subprocess.Popen(command, stderr=stream, env=environment)
        coordinator = Coordinator("", process, log)
        running.append(coordinator)
        wait_until(
            lambda: port_file.exists() or process.poll() is not None, "the coordinator listens"
        )
        assert process.poll() is None, log.read_text()
        wait_until(lambda: ":" in port_file.read_text(), "the port file is written")
        coordinator.url = f"http://{port_file.read_text().strip()}"
        return coordinator

    yield start
    for coordinator in running:
        coordinator.stop()


@pytest.fixture
def fake() -> Iterator[FakeCoordinator]:
    coordinator = FakeCoordinator()
    yield coordinator
    coordinator.stop()


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Callable[[int], list[str]]:
    """The messages of the logger "participant", from a level on, without the participant's name before them."""
    caplog.set_level(logging.DEBUG, logger="participant")

    def messages(level: int) -> list[str]:
        return [
            re.sub(r"^\[[0-9a-f]{8}\] ", "", record.getMessage())
            for record in caplog.records
            if record.name == "participant" and record.levelno >= level
        ]

    return messages

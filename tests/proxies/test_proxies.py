"""Rounds through nginx and HAProxy, set up as docs/operations.md says, and through an nginx with its own limit."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import random
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import xaynet_sdk

ROOT = Path(__file__).resolve().parents[2]
# Where .ci/run unpacks Debian's packages.
UNPACKED = ROOT / "target" / "proxies"
SECONDS = 120.0
# 1.8 MB each, as messages.
WEIGHTS = 300_000


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(UNPACKED / "usr" / "sbin"))
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {name})")
    return found


def example(language: str) -> str:
    text = (ROOT / "docs" / "operations.md").read_text()
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 1, f"{language}: {len(blocks)} examples"
    return str(blocks[0])


def replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
    return text.replace(old, new)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        time.sleep(0.05)


def free_port() -> int:
    """Below those that the kernel gives out by itself: nobody gets it by chance before the proxy has it."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/params")
            return connection.getresponse().status == 200
        except OSError:
            return False


@contextlib.contextmanager
def running(command: list[str | Path], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    libraries = os.pathsep.join(map(str, UNPACKED.glob("usr/lib/*-linux-gnu")))
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[str]:
    """Where one listens."""
    port_file = tmp_path / "port"
    settings: dict[str, object] = {
        "api.trusted_proxies": "127.0.0.1",
        "pet.sum.prob": 0.3,
        "pet.sum.time.min": 0.5,
        "pet.sum.time.max": 3,
        "pet.update.time.min": 0.5,
        "pet.update.time.max": 20,
        "pet.sum2.time.min": 0.5,
    }
    command: list[str | Path] = [os.environ["PET_COORDINATOR"], "serve", "--ephemeral"]
    command += ["--model-length", str(WEIGHTS), "--bind", "127.0.0.1:0", "--port-file", port_file]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    with running(command, tmp_path / "coordinator.log"):
        wait_until(lambda: port_file.exists() and port_file.stat().st_size > 0, "it listens")
        yield f"127.0.0.1:{port_file.read_text().strip().rsplit(':', 1)[1]}"


@dataclass
class Proxy:
    port: int
    access_log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def statuses(self) -> list[str]:
        return self.access_log.read_text().split()


@contextlib.contextmanager
def nginx(folder: Path, coordinator: str, site: str) -> Iterator[Proxy]:
    binary = program("nginx")
    proxy = Proxy(free_port(), folder / "access.log")
    site = replaced(site, "listen 80;", f"listen 127.0.0.1:{proxy.port};")
    site = replaced(site, "127.0.0.1:8081", coordinator)
    kept = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\nlog_format status '$status';\naccess_log {proxy.access_log} status;\n{kept}{site}}}\n"
    )
    command: list[str | Path] = [binary, "-p", folder, "-e", "stderr", "-c", config]
    with running(command, folder / "nginx.log") as process:
        wait_until(
            lambda: answers(proxy.port) or process.poll() is not None, "nginx passes requests on"
        )
        assert process.poll() is None, (folder / "nginx.log").read_text()
        yield proxy


@contextlib.contextmanager
def haproxy(folder: Path, coordinator: str) -> Iterator[Proxy]:
    binary = program("haproxy")
    proxy = Proxy(free_port(), folder / "access.log")
    text = replaced(example("haproxy"), "bind :80", f"bind 127.0.0.1:{proxy.port}")
    config = folder / "haproxy.cfg"
    config.write_text(replaced(text, "127.0.0.1:8081", coordinator))
    with running([binary, "-db", "-f", config], folder / "haproxy.log") as process:
        wait_until(
            lambda: answers(proxy.port) or process.poll() is not None, "HAProxy passes requests on"
        )
        assert process.poll() is None, (folder / "haproxy.log").read_text()
        yield proxy


def take_part(url: str) -> None:
    """Eight participants, until there is a global model."""
    participants = [xaynet_sdk.spawn_async_participant(url)[0] for _ in range(8)]
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            for participant in participants:
                participant.set_local_model(np.full(WEIGHTS, 0.5, np.float32))
            model = participants[0].get_global_model(as_array=True)
            if model is not None:
                break
            assert time.monotonic() < deadline, "no global model"
            # Nothing tells of a global model but the next round.
            time.sleep(0.5)
        assert np.allclose(model, 0.5)
    finally:
        for participant in participants:
            participant.stop()


def events_come_at_once(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", "/events", headers={"accept": "text/event-stream"})
        assert connection.getresponse().readline()


def test_nginx_as_documented(tmp_path: Path, coordinator: str) -> None:
    with nginx(tmp_path, coordinator, example("nginx")) as proxy:
        take_part(proxy.url)
        events_come_at_once(proxy.port)
        assert "413" not in proxy.statuses()


def test_haproxy_as_documented(tmp_path: Path, coordinator: str) -> None:
    with haproxy(tmp_path, coordinator) as proxy:
        take_part(proxy.url)
        events_come_at_once(proxy.port)


def test_messages_beyond_the_limit_of_nginx_come_in_parts(
    tmp_path: Path, coordinator: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "participant")
    site = replaced(example("nginx"), "    client_max_body_size 0;\n", "")
    with nginx(tmp_path, coordinator, site) as proxy:
        take_part(proxy.url)
        refused = proxy.statuses().count("413")
    # Once for each participant: it remembers what is let through.
    assert 1 <= refused <= 8
    assert "client_max_body_size" in caplog.text
    assert "1048576 bytes" in caplog.text

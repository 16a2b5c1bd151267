"""Proxies, authorities and redirections, as the environment names them: both kinds of participants."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import queue
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fake as wire
import numpy as np
import pytest
from conftest import ROOT, wait_until
from fake import FakeCoordinator

import xaynet_sdk
from xaynet_sdk import aio

SECONDS = 60.0
TABLE = json.loads((ROOT / "network" / "tests" / "proxies.json").read_text())
VARIABLES = {name for row in TABLE for name in row["env"]} | {
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
}

Ask = Callable[[str], None]

# A connection that is given up in the middle of its beginning is left to the garbage collector by anyio.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield
    # Here, and not in a later test, which would be blamed.
    gc.collect()


class Listener:
    """Takes connections, says how each begins, answers, and ends it."""

    def __init__(
        self,
        name: str,
        told: queue.Queue[tuple[str, str]],
        answer: bytes = b"",
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        self.port = self._socket.getsockname()[1]
        self._name, self._told, self._answer = name, told, answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client:
                client.settimeout(SECONDS)
                try:
                    # A line, which may come in pieces, or something that is none.
                    begin = client.recv(4096)
                    while begin and b"\n" not in begin and begin[0] != 0x16:
                        begin += client.recv(4096)
                    line = begin.split(b"\r\n")[0].decode("latin-1")
                    self._told.put((self._name, line))
                    client.sendall(self._answer)
                except OSError:
                    pass

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def start(*args: Any, **kwargs: Any) -> Listener:
        listeners.append(Listener(*args, **kwargs))
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.close()


class Asking:
    """A participant that asks until the block's end."""

    def __init__(self, kind: str, url: str) -> None:
        self._kind, self._url = kind, url

    def __enter__(self) -> Asking:
        if self._kind == "thread":
            self._participant, _ = xaynet_sdk.spawn_async_participant(self._url)
            return self
        # What is wrong with the URL is raised here.
        participant = aio.connect(self._url)
        self._loop = asyncio.new_event_loop()

        async def take_part() -> None:
            async with participant:
                async for _ in participant.rounds():
                    pass

        self._task = self._loop.create_task(take_part())
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        finally:
            self._loop.close()

    def __exit__(self, *_: object) -> None:
        if self._kind == "thread":
            self._participant.stop()
            return
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()


@pytest.fixture(params=["thread", "aio"])
def asking(request: pytest.FixtureRequest) -> Callable[[str], Asking]:
    return lambda url: Asking(request.param, url)


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_the_environment_leads_where_the_table_says(
    asking: Callable[[str], Asking],
    listen: Callable[..., Listener],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = 0
    for row in TABLE:
        told: queue.Queue[tuple[str, str]] = queue.Queue()
        proxy, server = listen("proxy", told), listen("server", told)

        def fill(text: str, proxy: Listener = proxy, server: Listener = server) -> str:
            return text.replace("{proxy}", f"127.0.0.1:{proxy.port}").replace(
                "{port}", str(server.port)
            )

        url = fill(row["url"])
        host = urlsplit(url).hostname
        if row["asks"] == "server":
            if host == "::1" and has_ipv6():
                listen("server", told, host="::1", port=server.port)
            elif host not in ("127.0.0.1", "localhost"):
                # A name that does not exist is looked up in vain.
                continue
        tried += 1
        with monkeypatch.context() as environment:
            for name, value in row["env"].items():
                environment.setenv(name, fill(value))
            with asking(url):
                asked, line = told.get(timeout=SECONDS)
        assert asked == row["asks"], row
        shown = f"[{host}]" if host is not None and ":" in host else host
        if asked == "proxy":
            expected = (
                f"CONNECT {shown}:{server.port}" if url.startswith("https") else f"GET {url}/params"
            )
            # httpx forgets the brackets of IPv6 addresses.
            lines = [f"{expected} HTTP/1.1".lower()]
            lines.append(lines[0].replace("[", "").replace("]", ""))
            assert line.lower() in lines, row
        elif url.startswith("http:"):
            assert line == "GET /params HTTP/1.1"
    assert tried > 50


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[str], bool]:
    caplog.set_level(logging.WARNING, "participant")
    return lambda words: words in caplog.text


def test_redirections_are_told(
    asking: Callable[[str], Asking],
    listen: Callable[..., Listener],
    told: Callable[[str], bool],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for status in (301, 302, 303, 307, 308):
        caplog.clear()
        asked: queue.Queue[tuple[str, str]] = queue.Queue()
        answer = f"HTTP/1.1 {status} X\r\nLocation: https://coordinator.example/params\r\nContent-Length: 0\r\n\r\n"
        server = listen("server", asked, answer.encode())
        with asking(f"http://127.0.0.1:{server.port}"):
            words = "give https://coordinator.example as the coordinator's URL"
            wait_until(lambda words=words: told(words), f"{status} is told")  # type: ignore[misc]


def test_the_wrong_scheme_is_told(
    asking: Callable[[str], Asking], listen: Callable[..., Listener], told: Callable[[str], bool]
) -> None:
    plain = listen("plain", queue.Queue(), b"HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n")
    tls = listen("tls", queue.Queue(), b"\x15\x03\x03\x00\x02\x02\x46")
    with asking(f"https://localhost:{plain.port}"), asking(f"http://localhost:{tls.port}"):
        wait_until(lambda: told(f"give http://localhost:{plain.port} as"), "no TLS is told")
        wait_until(lambda: told(f"give https://localhost:{tls.port} as"), "TLS is told")


def test_a_wrong_path_is_told(
    asking: Callable[[str], Asking], listen: Callable[..., Listener], told: Callable[[str], bool]
) -> None:
    server = listen("server", queue.Queue(), b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
    with asking(f"http://127.0.0.1:{server.port}"):
        wait_until(lambda: told("there is no coordinator under this URL"), "404 is told")


def test_another_trouble_is_told_as_well(
    listen: Callable[..., Listener], told: Callable[[str], bool]
) -> None:
    """Not only the first since it last worked."""
    server = listen("server", queue.Queue(), b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
    with Asking("thread", f"http://127.0.0.1:{server.port}"):
        wait_until(lambda: told("404"), "404 is told")
        server._answer = b"HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n"
        wait_until(lambda: told("502"), "502 is told")


def test_proxies_that_refuse_are_told(
    asking: Callable[[str], Asking],
    listen: Callable[..., Listener],
    told: Callable[[str], bool],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxy = listen("proxy", queue.Queue(), b"HTTP/1.1 407 X\r\nContent-Length: 0\r\n\r\n")
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://me:secret@127.0.0.1:{proxy.port}")
    for scheme in ("http", "https"):
        caplog.clear()
        with asking(f"{scheme}://coordinator.example"):
            wait_until(
                lambda: told("wants a user name and a password"), f"407 over {scheme} is told"
            )
        assert f"http://127.0.0.1:{proxy.port} ({scheme}_proxy)" in caplog.text
        assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1",
        "http://::1",
        "http://[::1]x",
        "http://h:0",
        "http://h%",
        "http://h:+1",
        "ftp://h",
        "",
        "http://",
    ],
)
def test_bad_urls_are_refused_at_once(url: str) -> None:
    for make in (xaynet_sdk.spawn_async_participant, aio.connect):
        with pytest.raises(xaynet_sdk.ParticipantInit, match="is not a coordinator's URL: "):
            make(url)


def test_bad_environments_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("https_proxy", "socks5://127.0.0.1:1"),
        ("https_proxy", "http://[::1"),
        ("SSL_CERT_FILE", "/nowhere.pem"),
    ):
        with monkeypatch.context() as environment:
            environment.setenv(name, value)
            for make in (xaynet_sdk.spawn_async_participant, aio.connect):
                with pytest.raises(xaynet_sdk.ParticipantInit, match=name):
                    make("https://127.0.0.1:1")


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.mark.parametrize("kind", ["CA:TRUE", "CA:FALSE"])
def test_certificates_that_sign_themselves_work_or_are_explained(
    kind: str,
    tmp_path: Path,
    told: Callable[[str], bool],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    certificate, key = tmp_path / "self.pem", tmp_path / "self.key"
    options = ["-addext", "basicConstraints=critical,CA:FALSE"] if kind == "CA:FALSE" else []
    options += ["-addext", "subjectAltName=DNS:localhost", "-subj", "/CN=localhost", "-days", "3"]
    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        certificate,
        *options,
    )
    settings = {"api.tls_certificate": certificate, "api.tls_key": key}
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with xaynet_sdk.Coordinator(4, settings=settings) as coordinator:
        url = coordinator.url.replace("127.0.0.1", "localhost")
        participant, heard = xaynet_sdk.spawn_async_participant(url)
        with participant:
            if kind == "CA:FALSE":
                assert heard.wait(SECONDS)
            else:
                wait_until(lambda: told("CA:FALSE"), "it is explained")

        async def first_round() -> None:
            async with aio.connect(url) as participant:
                async for _ in participant.rounds():
                    return

        asyncio.run(asyncio.wait_for(first_round(), SECONDS))


def test_unknown_authorities_are_told(
    asking: Callable[[str], Asking], tmp_path: Path, told: Callable[[str], bool]
) -> None:
    certificate, key = tmp_path / "self.pem", tmp_path / "self.key"
    options = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"]
    options += ["-subj", "/CN=localhost", "-days", "3"]
    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        certificate,
        *options,
    )
    settings = {"api.tls_certificate": certificate, "api.tls_key": key}
    with (
        xaynet_sdk.Coordinator(4, settings=settings) as coordinator,
        asking(coordinator.url.replace("127.0.0.1", "localhost")),
    ):
        wait_until(lambda: told("SSL_CERT_FILE"), "it says what to do")


def test_the_size_of_parts_is_a_setting_everywhere() -> None:
    class Participant(xaynet_sdk.ParticipantABC[Any, Any]):
        def train_round(self, training_input: Any) -> Any:
            return None

        def serialize_training_result(self, training_result: Any) -> Any:
            return np.zeros(4, np.float32)

        def deserialize_training_input(self, global_model: Any) -> Any:
            return global_model

    url = "http://127.0.0.1:1"
    for make in (
        lambda size: xaynet_sdk.spawn_participant(url, Participant, max_message_size=size),
        lambda size: xaynet_sdk.spawn_async_participant(url, max_message_size=size)[0],
        lambda size: aio.connect(url, max_message_size=size),
        lambda size: xaynet_sdk.protocol.ParticipantMachine(max_message_size=size),
    ):
        with pytest.raises(xaynet_sdk.ParticipantInit, match="at least 185 are needed"):
            make(184)
        running = make(100_000)
        if hasattr(running, "stop") and not isinstance(running, aio.Participant):
            running.stop()


@pytest.fixture
def narrow(fake: FakeCoordinator) -> FakeCoordinator:
    """A round of updates of 1.2 MB, behind something that takes 1 MiB."""
    fake.set("/params", wire.parameters(1, length=200_000))
    fake.set("/sums", wire.sum_dict())
    fake.limit = 1 << 20
    return fake


def test_messages_that_are_not_let_through_are_split(
    narrow: FakeCoordinator, told: Callable[[str], bool]
) -> None:
    participant, _ = xaynet_sdk.spawn_async_participant(narrow.url)
    with participant:
        participant.set_local_model(np.full(200_000, 0.5, np.float32))
        narrow.wait_for(lambda: len(narrow.messages) == 2, "both parts")
        wait_until(lambda: told("client_max_body_size"), "it is told")
    assert len(narrow.refused) == 1
    assert told(f"{narrow.refused[0]} bytes")


def test_messages_that_are_not_let_through_are_split_by_aio(
    narrow: FakeCoordinator, told: Callable[[str], bool]
) -> None:
    async def take_part() -> bool:
        async with aio.connect(narrow.url) as participant:
            return await participant.submit(np.full(200_000, 0.5, np.float32))

    assert asyncio.run(asyncio.wait_for(take_part(), SECONDS))
    assert len(narrow.messages) == 2
    assert len(narrow.refused) == 1
    assert told("client_max_body_size")


def test_a_size_that_is_set_saves_the_attempts(narrow: FakeCoordinator) -> None:
    participant, _ = xaynet_sdk.spawn_async_participant(narrow.url, max_message_size=500_000)
    with participant:
        participant.set_local_model(np.full(200_000, 0.5, np.float32))
        narrow.wait_for(lambda: len(narrow.messages) == 3, "all parts")
    assert narrow.refused == []
    assert max(map(len, narrow.messages)) == 500_000

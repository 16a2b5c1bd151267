"""A coordinator of our own making: it says what a test wants, or nothing at all."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GROUPS = {"Integer": 0, "Prime": 1, "Power2": 2}
DATA_TYPES = {"F32": 0, "F64": 1, "I32": 2, "I64": 3}
BOUNDS = {"B0": 0, "B2": 1, "B4": 2, "B6": 3, "Bmax": 4}

# Both are valid X25519 and Ed25519 public keys, of nobody.
SOMEBODY = bytes.fromhex("ca29367e946ee929926704ce704780e76dc80a5effc1a1c751d4d985a638fac0")
ROUND_KEY = bytes.fromhex("07fdc6f2816ea09bae75f7e01b1e3f1fc08aea3dee0f3dce925eb1cbaf924b35")


def key(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def parameters(
    round_number: int = 1,
    task: str = "update",
    length: int = 4,
    data_type: str = "F32",
    bound: str = "B0",
) -> bytes:
    """The round parameters, by which every participant has the same task."""
    sum_prob, update_prob = {"sum": (2.0, 0.0), "update": (-1.0, 2.0), "none": (-1.0, -1.0)}[task]
    config = struct.pack("<IIII", GROUPS["Prime"], DATA_TYPES[data_type], BOUNDS[bound], 0)
    return (
        key(ROUND_KEY)
        + struct.pack("<dd", sum_prob, update_prob)
        + key(round_number.to_bytes(32, "little"))
        + config * 2
        + struct.pack("<Q", length)
    )


def sum_dict() -> bytes:
    return struct.pack("<Q", 1) + key(SOMEBODY) + key(ROUND_KEY)


def model(weights: list[Fraction | int]) -> bytes:
    def integer(value: int) -> bytes:
        sign = (value > 0) - (value < 0)
        digits = []
        value = abs(value)
        while value:
            value, digit = divmod(value, 1 << 32)
            digits.append(digit)
        return struct.pack("<bQ", sign, len(digits)) + struct.pack(f"<{len(digits)}I", *digits)

    body = struct.pack("<Q", len(weights))
    for weight in map(Fraction, weights):
        body += integer(weight.numerator) + integer(weight.denominator)
    return body


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""


@dataclass
class FakeCoordinator:
    """Answers by path; a path that is not there is answered with 204, a silent one not at all.

    The next request for a path that is held gets the answer of when it came, once it is let go.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    #: Longer bodies are refused, as by a proxy.
    limit: int | None = None
    held: dict[str, threading.Event] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.requests: list[str] = []
        self.messages: list[bytes] = []
        self.refused: list[int] = []
        self._changed = threading.Condition()
        self._released = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                fake._answer(self, b"")

            def do_POST(self) -> None:
                fake._answer(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def set(self, path: str, body: bytes, status: int = 200) -> None:
        with self._changed:
            self.answers[path] = Answer(status, body)

    def new_round(self, number: int, **settings: object) -> None:
        self.set("/params", parameters(number, **settings))  # type: ignore[arg-type]

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
        """Waits for a condition on `requests` and `messages`."""
        with self._changed:
            assert self._changed.wait_for(condition, seconds), f"not within {seconds} s: {what}"

    def wait_for_request(self, path: str, times: int = 1) -> None:
        self.wait_for(lambda: self.requests.count(path) >= times, f"{times} requests for {path}")

    def wait_for_message(self) -> bytes:
        self.wait_for(lambda: bool(self.messages), "a message")
        return self.messages[-1]

    def _answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        path = handler.path.split("?")[0]
        with self._changed:
            self.requests.append(path)
            refused = self.limit is not None and len(body) > self.limit
            if refused:
                self.refused.append(len(body))
            elif body:
                self.messages.append(body)
            silent = path in self.silent
            held = self.held.pop(path, None)
            answer = self.answers.get(path, Answer(200 if body else 204))
            if refused:
                answer = Answer(413, b"<html>413 Request Entity Too Large</html>")
            self._changed.notify_all()
        if held is not None:
            held.wait(120)
        if silent:
            self._released.wait()
            handler.close_connection = True
            return
        handler.send_response(answer.status)
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body)

    def stop(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

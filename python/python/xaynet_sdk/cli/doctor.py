"""``xaynet doctor``: why nothing progresses, one step after the other, and what to do about it."""

from __future__ import annotations

import argparse
import email.utils
import os
import platform
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from xaynet_sdk import protocol
from xaynet_sdk.cli.options import add_url, say, tls_of
from xaynet_sdk.coordinator import summary
from xaynet_sdk.following import FollowError, Viewer
from xaynet_sdk.tls import Tls
from xaynet_sdk.xaynet_sdk import ParticipantInit, __version__, _advice

# The longest wait for a connection or an answer, in seconds.
_WAIT = 10.0
# Clocks that differ by more are told: credentials and certificates have dates.
_SKEW = 60.0


def add(commands: Any) -> None:
    """The command that looks for what is wrong."""
    doctor = commands.add_parser(
        "doctor",
        help="why nothing progresses, and what to do",
        description="Looks at the way to a coordinator and at its rounds, step by step, and says what is wrong and what to do. "
        "Ends with status 1 if something is.",
    )
    add_url(doctor)
    doctor.add_argument("--model-length", type=int, help="how many weights your model has")
    doctor.set_defaults(run=_doctor)


@dataclass(frozen=True)
class Finding:
    """What one step has found."""

    #: ``ok``, ``warning`` or ``wrong``.
    level: str
    text: str
    #: What to do about it.
    advice: str = ""


def _doctor(chosen: argparse.Namespace) -> int:
    marks = {"ok": "ok     ", "warning": "look   ", "wrong": "WRONG  "}
    worst = 0
    for finding in examine(chosen.url, tls_of(chosen), chosen.model_length):
        say(f"{marks[finding.level]}{finding.text}")
        if finding.advice:
            say(f"       -> {finding.advice}")
        worst = max(worst, int(finding.level == "wrong"))
    say("something is wrong: see above" if worst else "nothing is wrong that can be seen from here")
    return worst


def examine(url: str, tls: Tls | None, model_length: int | None) -> Iterator[Finding]:
    """One step after the other; those that need what is missing are left out."""
    yield Finding("ok", f"xaynet-sdk {__version__}, Python {platform.python_version()}")
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield Finding("wrong", f"{url!r} is no URL", "give one such as http://127.0.0.1:8081")
        return
    if (parts.scheme == "http") != (tls is None) and parts.scheme == "http":
        yield Finding("warning", "certificates were given, and the URL is http", "say https")
    steps: list[Callable[[], Iterator[Finding]]] = [
        lambda: _connect(parts, tls),
        lambda: _parameters(url, tls, model_length),
        lambda: _rounds(url, tls),
    ]
    for step in steps:
        for finding in step():
            yield finding
            if finding.level == "wrong":
                return


def _connect(parts: urllib.parse.SplitResult, tls: Tls | None) -> Iterator[Finding]:
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    proxies = [name for name in names if os.environ.get(name) or os.environ.get(name.lower())]
    if proxies:
        yield Finding(
            "warning",
            f"{' and '.join(proxies)} is set: requests may go through a proxy, this connection does not",
            f"NO_PROXY={host} goes around it",
        )
    try:
        began = time.perf_counter()
        connection = socket.create_connection((host, port), timeout=_WAIT)
    except socket.gaierror as error:
        yield Finding(
            "wrong", f"the name {host} cannot be found: {error}", "check the URL, and DNS"
        )
        return
    except OSError as error:
        yield Finding(
            "wrong",
            f"nobody listens at {host}:{port}, or a firewall is in between: {error}",
            "is the coordinator running, and bound to an address that can be reached from here (api.bind_address)?",
        )
        return
    with connection:
        took = (time.perf_counter() - began) * 1000
        yield Finding("ok", f"{host}:{port} can be reached ({took:.0f} ms)")
        if parts.scheme != "https":
            return
        try:
            context = (tls or Tls())._context()
            with context.wrap_socket(connection, server_hostname=host) as wrapped:
                yield Finding("ok", f"{wrapped.version()}, and the certificate is trusted")
        except ssl.SSLCertVerificationError as error:
            yield Finding(
                "wrong",
                f"the certificate is not trusted: {error.verify_message}",
                "give the authority with --ca FILE, or ask the operator",
            )
        except (ssl.SSLError, OSError) as error:
            yield Finding(
                "wrong",
                f"no TLS: {error}",
                "does the coordinator speak https at all? One that wants to see certificates needs --certificate and --key",
            )
        except ParticipantInit as error:
            yield Finding("wrong", str(error))


def _parameters(url: str, tls: Tls | None, model_length: int | None) -> Iterator[Finding]:
    """As a participant asks for them, with a machine of its own."""
    try:
        body, headers = Viewer(url, tls).get("/params")
    except FollowError as error:
        yield Finding(
            "wrong", str(error), "is it a coordinator that is at this URL, with its path?"
        )
        return
    date = email.utils.parsedate_to_datetime(headers["date"]) if headers.get("date") else None
    if date is not None and abs(date.timestamp() - time.time()) > _SKEW:
        yield Finding(
            "warning",
            f"the coordinator's clock and this one's differ by {date.timestamp() - time.time():.0f} s",
            "set the clocks by NTP: certificates, credentials and version 2 go by the date",
        )
    machine = protocol.ParticipantMachine(None)
    machine.handle_input(0.0, protocol.Tick())
    request = machine.poll_output()
    if not isinstance(request, protocol.Request):
        raise AssertionError(f"a new participant asks for the round, and not {request!r}")
    machine.handle_input(0.0, protocol.Response(request.id, 200, body))
    told = machine.poll_output()
    if not isinstance(told, protocol.NewRound):
        reason = (
            told.reason if isinstance(told, protocol.Trouble) else "the answer is of another kind"
        )
        yield Finding("wrong", f"what is at {url}/params are no parameters of a round: {reason}")
        return
    known = told.parameters
    yield Finding(
        "ok",
        f"a round for models of {known.model_length} weights ({known.dtype}), masked with {known.mask_config}; "
        f"{known.sum_prob:.0%} sum",
    )
    if model_length is not None and model_length != known.model_length:
        yield Finding(
            "wrong",
            f"your model has {model_length} weights, and the coordinator's {known.model_length}",
            "set model.length of the coordinator (with an aggregation: aggregation.length(...)), and start it anew",
        )


def _rounds(url: str, tls: Tls | None) -> Iterator[Finding]:
    try:
        status = Viewer(url, tls).status(8)
    except FollowError as error:
        yield Finding("warning", str(error), "its rounds cannot be looked at: its log tells more")
        return
    ended = status["rounds"]
    failed = [each for each in ended if each["failure"] is not None]
    completed = len(ended) - len(failed)
    yield Finding("ok", f"{summary(status)}")
    if failed and not completed:
        failure = failed[0]["failure"]
        yield Finding(
            "wrong",
            f"the last {len(failed)} rounds have all failed, at last because {failure['message']}",
            _advice(failure["reason"]),
        )
    elif failed:
        yield Finding("warning", f"{len(failed)} of the last {len(ended)} rounds have failed")
    rejected = status["messages"]["rejected"]
    total = sum(rejected.values())
    if total:
        reasons = ", ".join(f"{count} {label}" for label, count in sorted(rejected.items()))
        yield Finding(
            "warning",
            f"{total} messages were rejected: {reasons}",
            "messages that come late or twice are nothing unusual; the coordinator's monitoring page explains each",
        )

"""Runs a real coordinator as a process of its own, and reads in its log how the rounds go."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

START_SECONDS = 120.0
STOP_SECONDS = 10.0


class CoordinatorFailed(Exception):
    """The coordinator did not start, or has ended."""


@dataclass(frozen=True)
class Phase:
    """A phase that has ended: how long it took, in seconds, and how many messages were accepted."""

    seconds: float
    accepted: int


@dataclass
class Round:
    """A round as the coordinator's log tells it. Times are in seconds since the epoch."""

    number: int
    began: float
    ended: float = 0.0
    phases: dict[str, Phase] = field(default_factory=dict)
    # Why it failed, or None.
    failure: str | None = None
    # What was strange: names, and the same for people.
    notes: list[tuple[str, str]] = field(default_factory=list)


class Coordinator:
    """A running coordinator."""

    def __init__(
        self, binary: Path, model_length: int, settings: Path, options: Mapping[str, str]
    ) -> None:
        self._log = Log()
        self._rounds: list[Round] = []
        self._round_ended = threading.Condition()
        self._tail: deque[str] = deque(maxlen=20)
        self._directory = tempfile.TemporaryDirectory(prefix="pet-demo-")
        self._port_file = Path(self._directory.name, "port")
        command = [
            str(binary),
            "serve",
            "--ephemeral",
            "--config",
            str(settings),
            "--model-length",
            str(model_length),
        ]
        command += ["--bind", "127.0.0.1:0", "--port-file", str(self._port_file)]
        for key, value in options.items():
            command += ["--set", f"{key}={value}"]
        command += ["--log", "info", "--log-format", "json"]
        try:
            # A session of its own: Ctrl-C is for the demo alone, which then stops everything.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            self._directory.cleanup()
            raise CoordinatorFailed(f"cannot run the coordinator {binary}: {error}") from error
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.url = self._wait_for_url()
        except BaseException:
            self.stop()
            raise

    def _wait_for_url(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        # The file appears in one step, with the whole address in it.
        while not self._port_file.exists():
            self.check()
            if time.monotonic() > deadline:
                raise CoordinatorFailed(
                    f"the coordinator does not listen after {START_SECONDS:.0f} s"
                )
            time.sleep(0.01)
        return f"http://{self._port_file.read_text()}"

    def check(self) -> None:
        """Raises CoordinatorFailed, with the end of its log, if it does not run any more."""
        if self._process.poll() is not None:
            self._reader.join(STOP_SECONDS)
            raise CoordinatorFailed(
                f"the coordinator ended with status {self._process.returncode}:\n{self.log()}"
            )

    def log(self) -> str:
        """The end of its log."""
        return "\n".join(f"    {line}" for line in list(self._tail))

    def round(self, index: int, seconds: float, check: Callable[[], None]) -> Round:
        """Waits for the round with this index, from 0, to be completed or to fail.

        Calls `check` now and then, which may raise.
        """
        deadline = time.monotonic() + seconds
        with self._round_ended:
            while len(self._rounds) <= index:
                check()
                if time.monotonic() > deadline:
                    raise CoordinatorFailed(f"no round has ended within {seconds:.0f} s")
                self._round_ended.wait(0.2)
            return self._rounds[index]

    def time_of_next_model(self, index: int) -> float:
        """When the global model of the round with this index was replaced; infinity if not yet."""
        with self._round_ended:
            later = (round.ended for round in self._rounds[index + 1 :] if round.failure is None)
            return next(later, math.inf)

    def under_way(self) -> tuple[int, str]:
        """The round and its phase."""
        return self._log.under_way

    def completed(self, number: int, seconds: float) -> Round:
        """The round with this number, of which somebody has the certificate: the log may come a little later."""
        deadline = time.monotonic() + seconds
        with self._round_ended:
            while True:
                for round in self._rounds:
                    if round.number == number and round.failure is None:
                        return round
                self.check()
                if time.monotonic() > deadline:
                    raise CoordinatorFailed(
                        f"the log does not say that round {number} is completed:\n{self.log()}"
                    )
                self._round_ended.wait(0.1)

    def failures(self) -> list[Round]:
        """The rounds that have failed."""
        with self._round_ended:
            return [round for round in self._rounds if round.failure is not None]

    def get(self, path: str) -> bytes:
        """What it answers to a request."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=STOP_SECONDS) as answer:
                return bytes(answer.read())
        except OSError as error:
            self.check()
            raise CoordinatorFailed(f"the coordinator does not answer {path}: {error}") from error

    def stop(self) -> None:
        """Interrupts it and waits for its end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_SECONDS)
        self._directory.cleanup()

    def _read(self) -> None:
        assert self._process.stderr is not None
        log = self._log
        for line in self._process.stderr:
            self._tail.append(line.rstrip())
            try:
                entry = json.loads(line)
            except ValueError:
                # An error message, which is for people.
                continue
            ended = log.read(entry)
            if ended is not None:
                with self._round_ended:
                    self._rounds.append(ended)
                    self._round_ended.notify_all()


class Log:
    """Puts rounds together from the lines of the coordinator's log."""

    def __init__(self) -> None:
        self._round: Round | None = None
        self._phase_began = 0.0
        #: The round and its phase.
        self.under_way = (0, "")

    def read(self, entry: dict[str, Any]) -> Round | None:
        """Takes one line; gives the round that has ended with it, if any."""
        if "round" not in entry:
            return None
        now = datetime.fromisoformat(entry["timestamp"]).timestamp()
        number, message = int(entry["round"]), str(entry["message"])
        if message == "phase begins":
            self._phase_began = now
            self.under_way = (number, str(entry["phase"]))
            # A failure's aftermath belongs to a round that is over.
            if entry["phase"] not in ("failure", "failed", "idle") and (
                self._round is None or self._round.number != number
            ):
                self._round = Round(number, began=now)
        round = self._round
        if round is None or round.number != number:
            return None
        if message == "phase ends":
            round.phases[str(entry["phase"])] = Phase(
                now - self._phase_began, int(entry["accepted"])
            )
        elif message.startswith("round completed"):
            # Nobody sends anything in the last phase.
            round.phases["unmask"] = Phase(now - self._phase_began, 0)
            round.ended = now
            return round
        elif message == "round failed":
            round.ended = now
            round.failure = f"{entry['phase']}: {entry['reason']}"
            return round
        elif "name" in entry:
            round.notes.append((str(entry["name"]), message))
        return None

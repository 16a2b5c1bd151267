"""Processes under test, and what they and the coordinator's endpoints report, in one place to wait on."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import models
import wire

HERE = Path(__file__).resolve().parent
STOP_SECONDS = 120.0
POLL_SECONDS = 0.05


class Events:
    """Wakes whoever waits for a condition when anything has happened."""

    def __init__(self) -> None:
        self._condition = threading.Condition()

    def happened(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def wait_until(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        with self._condition:
            while not done():
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise AssertionError(f"not within {seconds} s: {what}")
                # Some conditions (a process's end) are not announced: look again now and then.
                self._condition.wait(min(remaining, 0.2))


class Process:
    """A child process whose output goes to files that are shown when a test fails."""

    def __init__(self, name: str, command: Sequence[str], directory: Path, events: Events) -> None:
        self.name = name
        self.events = events
        self.log = directory / f"{name}.log"
        self.lines: list[str] = []
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("XAYNET")
        }
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                cwd=directory,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        with self.log.open("a") as log:
            for raw in self.child.stdout:
                line = raw.decode(errors="replace").rstrip("\n")
                log.write(line[:400] + "\n")
                log.flush()
                self.lines.append(line)
                self.events.happened()

    @property
    def running(self) -> bool:
        return self.child.poll() is None

    def finish(self) -> int:
        """Waits for the end after the process was told to end; the exit code."""
        try:
            code = self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {STOP_SECONDS} s") from None
        self._close()
        return code

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()
        self._close()

    def _close(self) -> None:
        self._reader.join(STOP_SECONDS)
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()

    def tail(self, lines: int = 80) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@dataclass(frozen=True)
class Phase:
    """Limits of a phase. Times are in seconds."""

    min_count: int
    min_time: float
    max_time: float
    max_count: int = 100

    def toml(self) -> str:
        return (
            f"count = {{ min = {self.min_count}, max = {self.max_count} }}\n"
            f"time = {{ min = {self.min_time}, max = {self.max_time} }}\n"
        )


@dataclass(frozen=True)
class Settings:
    """A coordinator's settings: short phases, and many more participants than a round needs."""

    config: models.Config
    length: int
    sum_probability: float = 0.3
    sum: Phase = Phase(min_count=1, min_time=1, max_time=8)
    update: Phase = Phase(min_count=3, min_time=2, max_time=8)
    sum2: Phase = Phase(min_count=1, min_time=1, max_time=15)

    def toml(self, bind_address: str) -> str:
        mask = self.config
        return (
            f'[api]\nbind_address = "{bind_address}"\n'
            f"[pet.sum]\nprob = {self.sum_probability}\n{self.sum.toml()}"
            f"[pet.update]\nprob = 1.0\n{self.update.toml()}"
            f"[pet.sum2]\n{self.sum2.toml()}"
            f'[mask]\ngroup_type = "{mask.group}"\ndata_type = "{mask.data}"\n'
            f'bound_type = "{mask.bound}"\nmodel_type = "{mask.models}"\n'
            f"[model]\nlength = {self.length}\n"
            '[log]\nfilter = "info"\n'
        )


class Coordinator(Process):
    """Our coordinator, listening."""

    def __init__(
        self,
        binary: str,
        settings: Settings,
        directory: Path,
        events: Events,
        bind_address: str = "127.0.0.1:0",
        name: str = "coordinator",
    ) -> None:
        config = directory / f"{name}.toml"
        config.write_text(settings.toml(bind_address))
        port_file = directory / f"{name}.port"
        super().__init__(
            name,
            [
                binary,
                "serve",
                "--ephemeral",
                f"--config={config}",
                f"--port-file={port_file}",
                "--log-format=json",
            ],
            directory,
            events,
        )
        self._port_file = port_file
        self.address = ""

    def wait_until_listening(self) -> None:
        self.events.wait_until(
            lambda: self._port_file.exists() or not self.running,
            STOP_SECONDS,
            "the coordinator listens",
        )
        if not self.running:
            raise AssertionError(f"the coordinator ended with code {self.child.returncode}")
        self.address = self._port_file.read_text().strip()

    def stop(self) -> None:
        if self.running:
            self.child.send_signal(signal.SIGTERM)
        code = self.finish()
        assert code == 0, f"the coordinator ended with code {code}"

    def log_entries(self) -> list[dict[str, Any]]:
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def rejections(self) -> set[str]:
        """For which reasons it has refused messages. (A failed round has a reason, too.)

        Without those that did not open once a round had ended: a message that is sent while a round ends is sealed for a
        key that nobody has any more.
        """
        reasons, a_round_has_ended = set(), False
        for entry in self.log_entries():
            if "round" in entry:
                a_round_has_ended |= "votes" in entry or "reason" in entry
            elif "reason" in entry and not (
                a_round_has_ended and entry["reason"] == "does_not_open"
            ):
                reasons.add(entry["reason"])
        return reasons

    def models_per_round(self) -> list[int]:
        """Of how many models each global model was made, as it says itself."""
        return [entry["models"] for entry in self.log_entries() if "votes" in entry]


class Participant(Process):
    """A participant process and what it has reported so far."""

    def __init__(
        self,
        python: str,
        kind: str,
        crowd: Crowd,
        index: int,
        scalar: float,
        api: str,
        state: Path | None = None,
        restarted: int = 0,
    ) -> None:
        self.kind = kind
        self.index = index
        self.scalar = scalar
        settings = crowd.settings
        command = [
            python,
            str(HERE / "participant.py"),
            f"--url=http://{crowd.address}",
            f"--api={api}",
            f"--index={index}",
            f"--population={crowd.population}",
            f"--length={settings.length}",
            f"--scalar={scalar}",
            f"--config={settings.config}",
            f"--magnitude={settings.config.magnitude}",
        ]
        if state is not None:
            command.append(f"--state={state}")
        suffix = f"-restarted-{restarted}" if restarted else ""
        super().__init__(f"{kind}-{index}{suffix}", command, crowd.directory, crowd.events)

    def reports(self, event: str) -> list[dict[str, Any]]:
        parsed = (json.loads(line) for line in list(self.lines) if line.startswith("{"))
        return [entry for entry in parsed if entry["event"] == event]

    def trained(self, round_seed: str) -> list[models.Weight] | None:
        """The last model it handed in for a round."""
        for entry in reversed(self.reports("train")):
            if entry["round"] in (round_seed, models.ANY_ROUND):
                return list(entry["model"])
        return None

    def is_what_it_should_be(self) -> bool:
        """Whether its interpreter has the package that was to be tested; it must have said so."""
        published = {"old": "0.1.0", "ours": None}[self.kind]
        return {entry["published_version"] for entry in self.reports("ready")} == {published}

    def ask_to_leave(self) -> None:
        """It ends in good order, and is not waited for."""
        assert self.child.stdin is not None
        self.child.stdin.close()

    def leave(self) -> None:
        """Stops it in good order, if it was not asked to leave before."""
        self.ask_to_leave()
        code = self.finish()
        assert code == 0, f"{self.name} ended with code {code}"
        assert self.reports("stopped"), f"{self.name} did not report its state"
        assert self.is_what_it_should_be(), f"{self.name} has run with another package"


@dataclass
class GlobalModel:
    """A global model, and the round that it is the result of."""

    round_seed: str
    weights: list[Fraction]
    contributors: list[Participant]


@dataclass
class Crowd:
    """The participants of one coordinator, and an observer of its public endpoints."""

    settings: Settings
    address: str
    population: int
    directory: Path
    events: Events
    participants: list[Participant] = field(default_factory=list)
    rounds: list[str] = field(default_factory=list)
    published: list[list[Fraction]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _observer: threading.Thread | None = None
    _observer_error: Exception | None = None

    def watch(self) -> None:
        self._observer = threading.Thread(target=self._observe, daemon=True)
        self._observer.start()

    def _observe(self) -> None:
        try:
            self._follow()
        except Exception as error:
            self._observer_error = error

    def _follow(self) -> None:
        last_model = None
        while not self._stop.wait(POLL_SECONDS):
            try:
                parameters = wire.get(self.address, "/params")
                model = wire.get(self.address, "/model")
            except (OSError, http.client.HTTPException):
                # It is restarting, or gone: the test finds out by its deadline.
                continue
            if parameters is not None:
                seed = wire.read_parameters(parameters).seed
                if seed not in self.rounds:
                    self.rounds.append(seed)
            if model is not None and model != last_model:
                last_model = model
                self.published.append(wire.read_model(model))
            self.events.happened()

    def stop_watching(self) -> None:
        self._stop.set()
        if self._observer is not None:
            self._observer.join(STOP_SECONDS)
        error, self._observer_error = self._observer_error, None
        if error is not None:
            raise AssertionError("the coordinator has published what cannot be read") from error

    def disperse(self) -> None:
        """Stops observer and participants in good order."""
        self.stop_watching()
        for participant in self.participants:
            if participant.running:
                participant.leave()

    def current(self, index: int) -> list[Participant]:
        """All processes that have been participant ``index``, the latest last."""
        return [entry for entry in self.participants if entry.index == index]

    def failed(self) -> list[str]:
        """Participants that have ended by themselves."""
        latest = (self.current(index)[-1] for index in range(self.population))
        return [entry.name for entry in latest if not entry.running]

    def global_models(self) -> list[GlobalModel]:
        """Every published model with its round, each checked to be the exact weighted mean."""
        return [self._explain(weights) for weights in list(self.published)]

    def _explain(self, weights: list[Fraction]) -> GlobalModel:
        config = self.settings.config
        assert len(weights) == self.settings.length
        indices = models.contributors(weights, self.population)
        assert len(indices) >= self.settings.update.min_count, f"only {indices} contributed"
        for round_seed in reversed(list(self.rounds)):
            contributions = []
            who = []
            for index in indices:
                for participant in reversed(self.current(index)):
                    model = participant.trained(round_seed)
                    if model is not None:
                        contributions.append((participant.scalar, model))
                        who.append(participant)
                        break
            if len(contributions) < len(indices):
                continue
            if models.exact_mean(config, contributions) == weights:
                # The exact value is the mean in the arithmetic of the masks: what a user expects
                # may differ by the steps that weights and scalars are rounded down to.
                plain = models.plain_mean(contributions)
                step = Fraction(len(indices), config.exp_shift)
                scalar_sum = sum(Fraction(scalar) for scalar, _ in contributions)
                largest = max(1, config.magnitude)
                for got, expected in zip(weights, plain):
                    assert abs(got - expected) <= 2 * largest * step / scalar_sum
                return GlobalModel(round_seed, weights, who)
        raise AssertionError(
            f"no round explains the global model of participants {indices}: "
            f"{[float(weight) for weight in weights]}"
        )

    def check_received_models(self) -> None:
        """Every global model that a participant was given is one that was published.

        Floats may be off in the last place: the old conversion divides two rounded numbers.
        """
        published = list(self.published)
        for participant in self.participants:
            received = [entry["model"] for entry in participant.reports("global")]
            position = 0
            for model in received:
                if model is None:
                    continue
                matches = [
                    candidate
                    for candidate in range(position, len(published))
                    if self._is_conversion(model, published[candidate])
                ]
                assert matches, f"{participant.name} was given {model}, which was never published"
                position = matches[0]

    def _is_conversion(self, model: Sequence[models.Weight], exact: Sequence[Fraction]) -> bool:
        data = self.settings.config.data
        if len(model) != len(exact):
            return False
        if self.settings.config.is_integer:
            return all(
                isinstance(got, int) and got == int(weight) for got, weight in zip(model, exact)
            )
        tolerance = Fraction(1, 2 ** (22 if data == "F32" else 51))
        return all(
            isinstance(got, float) and abs(Fraction(got) - weight) <= tolerance * abs(weight)
            for got, weight in zip(model, exact)
        )

    def wait_until(
        self, done: Callable[[list[GlobalModel]], bool], seconds: float, what: str
    ) -> None:
        """Waits for a condition on the global models; fails at once if a participant has ended."""

        def done_or_failed() -> bool:
            failed = self.failed()
            assert not failed, f"ended by themselves: {failed}"
            return done(self.global_models())

        self.events.wait_until(done_or_failed, seconds, what)


def is_beginning(seen: Sequence[int], counted: Sequence[int], repeats: bool) -> bool:
    """Whether all rounds were seen up to some one: another may have ended after everybody had left.

    With ``repeats``, one that counts as many as the round before may have been missed.
    """
    position, before = 0, None
    for count in counted:
        if position == len(seen):
            break
        if seen[position] == count:
            position += 1
        elif not (repeats and count == before):
            return False
        before = count
    return position == len(seen)

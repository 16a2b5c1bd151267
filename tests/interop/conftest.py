"""Fixtures: where the programs under test are, and what to show when a test fails."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

import models
from harness import Coordinator, Crowd, Events, Participant, Process, Settings, is_beginning

PROGRAMS = {
    "PET_COORDINATOR": "our pet-coordinator binary",
    "PET_OLD_PYTHON": "an interpreter with the published xaynet-sdk-python 0.1.0 installed",
    "PET_PYTHON": "an interpreter with our xaynet_sdk installed",
}

LATE = "wrong_phase"
"""Why the coordinator refuses the message of a participant that joined late in a phase."""


def program(variable: str) -> str:
    path = os.environ.get(variable)
    if not path:
        pytest.fail(f"set {variable} to the path of {PROGRAMS[variable]}", pytrace=False)
    if not Path(path).is_file():
        pytest.fail(f"{variable} is {path}, which is no file", pytrace=False)
    return str(Path(path).absolute())


class World:
    """One test's coordinator and participants."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.events = Events()
        self.processes: list[Process] = []
        self.crowd: Crowd | None = None

    def start_coordinator(
        self, settings: Settings, bind_address: str = "127.0.0.1:0", name: str = "coordinator"
    ) -> Coordinator:
        binary = program("PET_COORDINATOR")
        coordinator = Coordinator(binary, settings, self.directory, self.events, bind_address, name)
        self.processes.append(coordinator)
        coordinator.wait_until_listening()
        return coordinator

    def gather(self, coordinator: Coordinator, settings: Settings, population: int) -> Crowd:
        self.crowd = Crowd(settings, coordinator.address, population, self.directory, self.events)
        self.crowd.watch()
        return self.crowd

    def join(
        self,
        kind: str,
        scalars: Sequence[float],
        api: str = "class",
        states: Sequence[Path] | None = None,
        first_index: int = 0,
        restarted: int = 0,
    ) -> list[Participant]:
        """Starts participants of a kind, "old" or "ours", with consecutive numbers."""
        assert self.crowd is not None
        python = program({"old": "PET_OLD_PYTHON", "ours": "PET_PYTHON"}[kind])
        joined = []
        for offset, scalar in enumerate(scalars):
            state = states[offset] if states is not None else None
            participant = Participant(
                python, kind, self.crowd, first_index + offset, scalar, api, state, restarted
            )
            self.processes.append(participant)
            self.crowd.participants.append(participant)
            joined.append(participant)
        return joined

    def finish(self, rejected: Iterable[str] = (LATE,)) -> None:
        """Everybody leaves in good order, got what was published, and lost no message.

        ``rejected`` are the reasons for which messages may have been refused.
        """
        assert self.crowd is not None
        self.crowd.disperse()
        self.crowd.check_received_models()
        counted = []
        for coordinator in self.processes:
            if isinstance(coordinator, Coordinator):
                if coordinator.running:
                    coordinator.stop()
                assert coordinator.rejections() <= set(rejected)
                counted += coordinator.models_per_round()
        seen = [len(model.contributors) for model in self.crowd.global_models()]
        # Models for any round are the same each time: if the same participants are chosen twice in a row,
        # the second global model is the first again, and nobody sees that it is another one.
        repeats = any(
            entry["round"] == models.ANY_ROUND
            for participant in self.crowd.participants
            for entry in participant.reports("train")
        )
        assert is_beginning(seen, counted, repeats), f"seen {seen}, counted {counted}"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    try:
        yield world
    finally:
        try:
            if world.crowd is not None:
                world.crowd.stop_watching()
        finally:
            for process in world.processes:
                if process.running:
                    process.kill()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):  # type: ignore[no-untyped-def]
    outcome = yield
    report = outcome.get_result()
    world = getattr(item, "funcargs", {}).get("world")
    if report.failed and world is not None:
        for process in world.processes:
            report.sections.append((f"log of {process.name}", process.tail()))

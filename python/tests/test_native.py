"""The native class, as programs for the old package use it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import fake as wire
import numpy as np
import pytest
from fake import FakeCoordinator

import xaynet_sdk
import xaynet_sdk.xaynet_sdk as native
from xaynet_sdk.xaynet_sdk import Participant

EXCEPTIONS = [
    "CryptoInit",
    "GlobalModelDataTypeMisMatch",
    "GlobalModelLengthMisMatch",
    "GlobalModelUnavailable",
    "LocalModelDataTypeMisMatch",
    "LocalModelLengthMisMatch",
    "ParticipantInit",
    "ParticipantRestore",
    "UninitializedParticipant",
]
NAMES = [
    *EXCEPTIONS,
    "AsyncParticipant",
    "InternalParticipant",
    "ParticipantABC",
    "TrainingInput",
    "TrainingResult",
    "spawn_async_participant",
    "spawn_participant",
]


def test_all_names_are_there() -> None:
    assert set(NAMES) <= set(xaynet_sdk.__all__)
    for name in xaynet_sdk.__all__:
        assert hasattr(xaynet_sdk, name)


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exceptions_are_importable_from_both_places(name: str) -> None:
    exception = getattr(native, name)
    assert exception is getattr(xaynet_sdk, name)
    assert exception.__mro__[1:3] == (xaynet_sdk.XaynetError, Exception)
    assert exception.__module__ == "xaynet_sdk"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("participant", "InternalParticipant"),
        ("participant", "ParticipantABC"),
        ("async_participant", "AsyncParticipant"),
    ],
)
def test_the_old_modules_are_there(module: str, name: str) -> None:
    assert getattr(getattr(xaynet_sdk, module), name) is getattr(xaynet_sdk, name)


def tick_until(participant: Participant, condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        participant.tick(0.1)
    raise AssertionError("not within 300 s")


def test_an_update_participant_step_by_step(fake: FakeCoordinator) -> None:
    fake.new_round(1)
    participant = Participant(fake.url, 0.5)
    tick_until(participant, participant.new_global_model)
    assert participant.task() == 2
    assert participant.global_model() is None
    assert not participant.new_global_model()
    assert not participant.should_set_model()
    fake.set("/sums", wire.sum_dict())
    tick_until(participant, participant.should_set_model)
    # Whether there is a model to set is known at once, and progress from the next tick on.
    tick_until(participant, participant.made_progress)
    participant.set_model([0.5] * 4)
    assert not participant.should_set_model()
    fake.wait_for_message()
    fake.set("/model", wire.model([1, 0, 0, 1]))
    fake.new_round(2, task="none")
    tick_until(participant, lambda: participant.task() == 0)
    tick_until(participant, participant.new_global_model)
    assert participant.global_model() == [1.0, 0.0, 0.0, 1.0]
    assert participant.rounds() == 2


def test_a_sum_participant_step_by_step(fake: FakeCoordinator) -> None:
    fake.new_round(1, task="sum")
    participant = Participant(fake.url, 1.0)
    tick_until(participant, lambda: participant.task() == 1)
    fake.wait_for_message()
    fake.wait_for_request("/seeds")
    assert not participant.should_set_model()


def test_progress_is_what_the_last_tick_saw(fake: FakeCoordinator) -> None:
    fake.new_round(1, task="none")
    participant = Participant(fake.url, 1.0)
    assert not participant.made_progress()
    tick_until(participant, participant.made_progress)
    participant.tick(0.01)
    assert not participant.made_progress()


def test_nothing_works_after_saving(fake: FakeCoordinator) -> None:
    participant = Participant(fake.url, 1.0)
    state = participant.save()
    assert isinstance(state, list) and bytes(state) == bytes(memoryview(state))
    calls: list[Callable[[], Any]] = [
        participant.tick,
        participant.made_progress,
        participant.should_set_model,
        participant.task,
        participant.new_global_model,
        participant.rounds,
        lambda: participant.set_model([0.5] * 4),
        participant.global_model,
        participant.save,
        participant.close,
    ]
    for call in calls:
        with pytest.raises(xaynet_sdk.UninitializedParticipant):
            call()


def test_a_closed_participant_can_still_be_saved_once(fake: FakeCoordinator) -> None:
    participant = Participant(fake.url, 1.0)
    participant.close()
    participant.close()
    with pytest.raises(xaynet_sdk.UninitializedParticipant):
        participant.tick()
    assert participant.save()
    with pytest.raises(xaynet_sdk.UninitializedParticipant):
        participant.save()


@pytest.mark.parametrize(
    "form",
    [
        bytes,
        list,
        tuple,
        bytearray,
        memoryview,
        lambda state: np.frombuffer(state, np.uint8),
        lambda state: json.loads(json.dumps(list(state))),
    ],
)
def test_a_state_is_taken_in_many_forms(
    fake: FakeCoordinator, form: Callable[[bytes], Any]
) -> None:
    state = Participant(fake.url, 1.0).save()
    restored = Participant(fake.url, 1.0, form(state))
    # The identity is the same: so is all that is saved.
    assert restored.save() == state


def test_what_is_wrong_with_a_model_of_earlier_is_raised_once(fake: FakeCoordinator) -> None:
    fake.set("/params", b"", status=503)
    participant = Participant(fake.url, 1.0)
    participant.set_model([0.25] * 2)
    participant.raise_model_error()
    fake.new_round(1, task="none")
    while participant.rounds() == 0:
        participant.tick(30)
    with pytest.raises(xaynet_sdk.LocalModelLengthMisMatch):
        participant.raise_model_error()
    participant.raise_model_error()
    participant.save()
    with pytest.raises(xaynet_sdk.UninitializedParticipant):
        participant.raise_model_error()


def test_a_restored_participant_counts_the_round_that_goes_on(fake: FakeCoordinator) -> None:
    fake.new_round(1)
    fake.set("/sums", wire.sum_dict())
    first = Participant(fake.url, 1.0)
    while not first.should_set_model():
        first.tick(30)
    second = Participant(fake.url, 1.0, first.save())
    assert second.rounds() == 0 and not second.new_global_model()
    while not second.should_set_model():
        second.tick(30)
    assert second.rounds() == 1 and second.new_global_model()
    assert second.global_model() is None
    assert not second.new_global_model()
    second.save()


@pytest.mark.parametrize("with_model", [False, True])
def test_wrong_states_are_refused(fake: FakeCoordinator, with_model: bool) -> None:
    fake.set("/params", b"", status=503)
    participant = Participant(fake.url, 1.0)
    if with_model:
        participant.set_model([0.5, 0.25])
    good = participant.save()
    wrong: list[Any] = [
        b"",
        [],
        "state",
        good.hex(),
        good[:-1],
        good[:20],
        good[:5],
        good + b"\0",
        b"X" + good[1:],
        # Another version.
        good[:4] + b"\xff\xff" + good[6:],
        [*good[:-1], 256],
        [*good[:-1], -1],
        [*good[:-1], 1.5],
        [*good[:-1], None],
        12,
        object(),
        np.frombuffer(good, np.uint8).astype(np.float64),
    ]
    for state in wrong:
        with pytest.raises(xaynet_sdk.ParticipantRestore):
            Participant(fake.url, 1.0, state)
    assert Participant(fake.url, 1.0, good).save() == good


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8081", "ftp://host", "http://", "http://host:port", "http://a b"]
)
def test_wrong_urls_are_refused(url: str) -> None:
    with pytest.raises(xaynet_sdk.ParticipantInit, match="URL"):
        Participant(url, 1.0)


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf")])
def test_wrong_time_outs_are_refused(fake: FakeCoordinator, timeout: float) -> None:
    with pytest.raises(xaynet_sdk.ParticipantInit, match="timeout"):
        Participant(fake.url, 1.0, timeout=timeout)


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), float("inf")])
def test_wrong_waits_are_refused(fake: FakeCoordinator, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        Participant(fake.url, 1.0).tick(timeout)


def test_no_global_model_from_nobody(fake: FakeCoordinator) -> None:
    url = fake.url
    fake.stop()
    participant = Participant(url, 1.0)
    with pytest.raises(xaynet_sdk.GlobalModelUnavailable, match="reach"):
        participant.global_model()


def test_trouble_is_told_once(fake: FakeCoordinator, records: Callable[[int], list[str]]) -> None:
    fake.set("/params", b"", status=500)
    participant = Participant(fake.url, 1.0)
    tick_until(participant, lambda: fake.requests.count("/params") >= 3)
    fake.new_round(1, task="none")
    tick_until(participant, lambda: participant.rounds() == 1)
    assert [message for message in records(logging.WARNING) if "500" in message] == [
        "params: the coordinator answered with HTTP status 500; it is asked again until it works"
    ]


def test_a_model_of_another_configuration_is_reported(
    fake: FakeCoordinator, records: Callable[[int], list[str]]
) -> None:
    fake.new_round(1, task="none", length=4)
    participant = Participant(fake.url, 1.0)
    tick_until(participant, lambda: participant.rounds() == 1)
    participant.set_model([0.5] * 4)
    fake.new_round(2, task="none", length=5)
    tick_until(participant, lambda: participant.rounds() == 2)
    tick_until(participant, lambda: bool(records(logging.ERROR)))
    with pytest.raises(xaynet_sdk.LocalModelLengthMisMatch):
        participant.set_model([0.5] * 5)
    participant.set_model([0.5] * 5)


@pytest.mark.parametrize("data_type", ["F32", "I32"])
def test_a_model_that_waits_in_a_state_is_checked_when_its_type_is_known(
    fake: FakeCoordinator, data_type: str
) -> None:
    fake.set("/params", b"", status=503)
    first = Participant(fake.url, 1.0)
    first.set_model([0.5] * 4)
    # Before there is a round: the first one would find out itself.
    state = first.save()
    fake.set("/sums", wire.sum_dict())
    fake.new_round(1, data_type=data_type)
    second = Participant(fake.url, 1.0, state)
    if data_type == "F32":
        fake.wait_for_message()
    else:
        tick_until(second, lambda: second.rounds() == 1)
        with pytest.raises(xaynet_sdk.LocalModelDataTypeMisMatch, match="F64.*I32"):
            second.global_model()


def test_a_big_global_model_is_not_kept(fake: FakeCoordinator) -> None:
    """Fetching twice asks twice."""
    fake.new_round(1, task="none")
    fake.set("/model", wire.model([1, 2, 3, 4]))
    participant = Participant(fake.url, 1.0)
    assert participant.global_model() == [1.0, 2.0, 3.0, 4.0]
    fake.set("/model", wire.model([4, 3, 2, 1]))
    assert participant.global_model() == [4.0, 3.0, 2.0, 1.0]


def test_what_is_not_used_is_not_imported() -> None:
    program = """
import sys, xaynet_sdk
for module in ("asyncio", "numpy", "httpx", "ssl", "matplotlib", "xaynet_sdk.aio", "xaynet_sdk.simulation"):
    assert module not in sys.modules, module
assert xaynet_sdk.aio.connect and xaynet_sdk.protocol.Tick and xaynet_sdk.simulate and xaynet_sdk.Simulation
assert {"aio", "simulate", "protocol"} <= set(dir(xaynet_sdk))
try:
    xaynet_sdk.nothing
except AttributeError as error:
    assert "nothing" in str(error)
else:
    raise AssertionError
scope = {}
exec("from xaynet_sdk import *", scope)
assert set(xaynet_sdk.__all__) <= set(scope)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)

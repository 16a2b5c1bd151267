"""The known faults of the old package, one test (or more) for each."""

from __future__ import annotations

import asyncio
import copy
import pickle
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fake as wire
import numpy as np
import pytest
from conftest import wait_until
from fake import FakeCoordinator

import xaynet_sdk
from xaynet_sdk.xaynet_sdk import Participant

# What they are against waits for ever, or for a minute.
PROMPT = 20.0


class Trainer(xaynet_sdk.ParticipantABC[list[float], Any]):
    """Trains what a test wants."""

    def __init__(self, **behaviour: Any) -> None:
        self.behaviour = behaviour
        self.calls: list[str] = []
        self.errors: list[Exception] = []
        behaviour.get("made", lambda _: None)(self)

    def call(self, name: str, *arguments: Any, default: Any = None) -> Any:
        self.calls.append(name)
        return self.behaviour.get(name, lambda *_: default)(*arguments)

    def train_round(self, training_input: list[float] | None) -> Any:
        return self.call("train_round", training_input, default=[0.5] * 4)

    def serialize_training_result(self, training_result: Any) -> Any:
        return self.call("serialize", training_result, default=training_result)

    def deserialize_training_input(self, global_model: Any) -> list[float]:
        return self.call("deserialize", global_model, default=global_model)

    def participate_in_update_task(self) -> bool:
        return self.call("participate", default=True)

    def on_new_global_model(self, global_model: list[float] | None) -> None:
        self.call("new_global_model", global_model)

    def on_stop(self) -> None:
        self.call("on_stop")

    def on_error(self, error: Exception) -> bool:
        self.errors.append(error)
        return bool(self.call("on_error", error, default=False))


class Spawned:
    """A trainer and its thread."""

    def __init__(self, url: str, state: Any = None, scalar: float = 1.0, **behaviour: Any) -> None:
        made: list[Trainer] = []
        self.internal = xaynet_sdk.spawn_participant(
            url, Trainer, kwargs={"made": made.append, **behaviour}, state=state, scalar=scalar
        )
        self.trainer = made[0]

    def count(self, name: str) -> int:
        return self.trainer.calls.count(name)

    def wait_for(self, name: str, times: int = 1) -> None:
        wait_until(lambda: self.count(name) >= times, f"{times} calls of {name}")


@pytest.fixture
def spawn() -> Iterator[Callable[..., Spawned]]:
    spawned: list[Spawned] = []

    def start(*arguments: Any, **keywords: Any) -> Spawned:
        spawned.append(Spawned(*arguments, **keywords))
        return spawned[-1]

    yield start
    for each in spawned:
        try:
            each.internal.stop()
        except xaynet_sdk.UninitializedParticipant:
            pass


@pytest.fixture
def update_round(fake: FakeCoordinator) -> FakeCoordinator:
    """Everybody is to update."""
    fake.new_round(1)
    fake.set("/sums", wire.sum_dict())
    return fake


@contextmanager
def prompt(seconds: float = PROMPT) -> Iterator[None]:
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < seconds


@contextmanager
def turns_of_another_thread() -> Iterator[list[int]]:
    """How often another thread has had the interpreter's lock."""
    turns = [0]
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            turns[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield turns
    finally:
        done.set()
        thread.join()


# `kwargs` were expanded as positional arguments.


def test_keyword_arguments_arrive_as_such(fake: FakeCoordinator) -> None:
    received: list[tuple[Any, ...]] = []

    class WithArguments(Trainer):
        def __init__(self, first: int, *, second: str) -> None:
            super().__init__()
            received.append((first, second, threading.current_thread()))

    participant = xaynet_sdk.spawn_participant(fake.url, WithArguments, (1,), {"second": "two"})
    participant.stop()
    assert received == [(1, "two", participant)]


# `stop()` waited for a running `train_round`, deadlocked inside a callback, and lost the state when
# `on_stop` raised.


def test_stop_does_not_wait_for_training(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    go_on = threading.Event()

    def train(_: Any) -> list[float]:
        go_on.wait()
        return [0.5] * 4

    spawned = spawn(update_round.url, train_round=train)
    spawned.wait_for("train_round")
    with prompt():
        state = spawned.internal.stop()
    assert state and spawned.count("on_stop") == 0
    go_on.set()
    spawned.internal.join(30)
    assert not spawned.internal.is_alive()
    assert spawned.count("on_stop") == 1
    assert spawned.internal.error is None
    assert update_round.messages == []


@pytest.mark.parametrize(
    "callback", ["train_round", "new_global_model", "participate", "serialize", "on_stop"]
)
def test_stop_works_inside_a_callback(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned], callback: str
) -> None:
    states: list[bytes] = []
    spawned: Spawned | None = None
    ready = threading.Event()

    def stop(*_: Any) -> Any:
        ready.wait()
        assert spawned is not None
        with prompt():
            states.append(spawned.internal.stop())
        return [0.5] * 4

    spawned = spawn(update_round.url, **{callback: stop})
    ready.set()
    if callback == "on_stop":
        spawned.internal._native.close()
    spawned.internal.join(30)
    assert not spawned.internal.is_alive()
    assert len(states) == 1
    assert spawned.count("on_stop") == 1
    restored = spawn(update_round.url, state=states[0])
    assert restored.internal.is_alive()


def test_the_state_survives_an_exception_of_on_stop(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    def fail() -> None:
        raise RuntimeError("on_stop")

    spawned = spawn(update_round.url, on_stop=fail)
    state = spawned.internal.stop()
    spawn(update_round.url, state=state)
    with pytest.raises(RuntimeError, match="on_stop"):
        spawned.internal.join()


def test_stop_does_not_wait_for_a_slow_on_stop(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    go_on = threading.Event()
    spawned = spawn(update_round.url, on_stop=go_on.wait)
    with prompt():
        assert spawned.internal.stop()
    go_on.set()
    spawned.internal.join()


def test_on_stop_is_called_on_the_participants_thread_before_stop_returns(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Unless it takes longer than that.
    monkeypatch.setattr("xaynet_sdk.participant._GRACE", 60.0)
    threads: list[threading.Thread] = []
    spawned = spawn(update_round.url, on_stop=lambda: threads.append(threading.current_thread()))
    spawned.wait_for("train_round")
    update_round.wait_for_message()
    spawned.internal.stop()
    assert threads == [spawned.internal]


def test_training_does_not_begin_after_stop(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    stopping, asked = threading.Event(), threading.Event()

    def participate() -> bool:
        asked.set()
        return stopping.wait(30)

    spawned = spawn(update_round.url, participate=participate)
    assert asked.wait(30)
    native = spawned.internal._native
    native.close()
    stopping.set()
    spawned.internal.join(30)
    assert not spawned.internal.is_alive()
    assert spawned.count("train_round") == 0
    assert spawned.trainer.errors == []
    assert spawned.internal.error is None


def test_stopping_twice_in_a_callback_is_no_error_of_the_users(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    states: list[bytes] = []
    spawned: Spawned | None = None
    ready = threading.Event()

    def stop(_: Any) -> None:
        ready.wait()
        assert spawned is not None
        states.append(spawned.internal.stop())
        spawned.internal.stop()

    spawned = spawn(update_round.url, train_round=stop)
    ready.set()
    spawned.internal.join(30)
    assert not spawned.internal.is_alive()
    assert len(states) == 1
    assert spawned.trainer.errors == []


def test_another_participant_that_is_stopped_is_an_error_of_the_users(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    other, _ = xaynet_sdk.spawn_async_participant(update_round.url)
    other.stop()
    spawned = spawn(update_round.url, train_round=lambda _: other.get_global_model())
    spawned.wait_for("on_error")
    assert isinstance(spawned.trainer.errors[0], xaynet_sdk.UninitializedParticipant)
    assert spawned.internal.is_alive()


# The interpreter lock was held during masking, HTTP (without any time-out) and list conversion.


@pytest.mark.parametrize("path", ["/params", "/model"])
def test_a_silent_coordinator_does_not_freeze_the_interpreter(
    fake: FakeCoordinator, path: str
) -> None:
    fake.new_round(1, task="none")
    fake.silent.add(path)
    participant, _ = xaynet_sdk.spawn_async_participant(fake.url)
    fetching = threading.Event()

    def fetch() -> None:
        fetching.set()
        with pytest.raises(xaynet_sdk.UninitializedParticipant):
            participant.get_global_model()

    thread = threading.Thread(target=fetch)
    thread.start()
    fetching.wait()
    # This thread goes on while the other one waits for the answer.
    fake.wait_for_request(path)
    assert thread.is_alive()
    with prompt():
        participant.stop()
    thread.join()


def test_requests_have_a_time_out(fake: FakeCoordinator) -> None:
    fake.silent.add("/params")
    participant, _ = xaynet_sdk.spawn_async_participant(fake.url, timeout=0.2)
    with prompt(20), pytest.raises(xaynet_sdk.GlobalModelUnavailable, match="in time"):
        participant.get_global_model()
    participant.stop()


def test_other_threads_run_while_a_list_is_converted(update_round: FakeCoordinator) -> None:
    length, elapsed = 500_000, 0.0
    # So long that a thread which waits for the lock gets it many times, if it is given up at all.
    while elapsed < 0.3:
        length *= 2
        update_round.new_round(length, length=length, task="none", data_type="F64")
        participant, event = xaynet_sdk.spawn_async_participant(update_round.url)
        assert event.wait(30)
        weights = [0.25] * length
        with turns_of_another_thread() as turns:
            begin, before = time.monotonic(), turns[0]
            participant.set_local_model(weights)
            taken, elapsed = turns[0] - before, time.monotonic() - begin
        # (Its state, as a list of integers, would take gigabytes.)
        participant._native.close()
    # One before and one after the call can come from the test itself.
    assert taken >= 5


def test_other_threads_run_while_a_model_is_masked_and_sent(update_round: FakeCoordinator) -> None:
    length, taken = 1_000_000, 0
    update_round.new_round(length, length=length)
    participant, event = xaynet_sdk.spawn_async_participant(update_round.url)
    assert event.wait(30)
    update_round.messages.clear()
    weights = np.full(length, 0.25, np.float32)
    with turns_of_another_thread() as turns:
        before = turns[0]
        participant.set_local_model(weights)
        message = update_round.wait_for_message()
        taken = turns[0] - before
    participant.stop()
    assert len(message) > 6 * length
    assert taken >= 20


# `set_local_model` before the first contact failed with a length mismatch.


def test_a_local_model_may_be_set_before_the_first_contact(fake: FakeCoordinator) -> None:
    fake.set("/params", b"", status=503)
    participant, event = xaynet_sdk.spawn_async_participant(fake.url)
    fake.wait_for_request("/params")
    participant.set_local_model([0.25, 0.5, 0.75, 1.0])
    assert not event.is_set()
    fake.set("/sums", wire.sum_dict())
    fake.new_round(1)
    fake.wait_for_message()
    participant.stop()


def test_a_wrong_model_set_before_the_first_contact_is_reported(
    fake: FakeCoordinator, records: Callable[[int], list[str]]
) -> None:
    fake.set("/params", b"", status=503)
    participant, event = xaynet_sdk.spawn_async_participant(fake.url)
    participant.set_local_model([0.25, 0.5])
    fake.new_round(1)
    assert event.wait(30)
    with pytest.raises(xaynet_sdk.LocalModelLengthMisMatch, match="has 2 weights.*have 4"):
        participant.get_global_model()
    assert any("2 weights" in message for message in records(logging.ERROR))
    # Once is enough.
    assert participant.get_global_model() is None
    participant.set_local_model([0.5] * 4)
    participant.stop()


def saved_in_a_round(fake: FakeCoordinator, **settings: object) -> bytes:
    """The state of a participant that knows a round, which is to update and waits for a model."""
    fake.new_round(1, **settings)
    fake.set("/sums", wire.sum_dict())
    participant = Participant(fake.url, 1.0)
    while not participant.should_set_model():
        participant.tick(30)
    return participant.save()


@pytest.mark.parametrize(
    ("old", "new"),
    [({"length": 4}, {"length": 6}), ({"data_type": "I32", "length": 6}, {"length": 6})],
)
def test_a_restored_participant_takes_a_model_for_the_round_to_come(
    fake: FakeCoordinator, old: dict[str, object], new: dict[str, object]
) -> None:
    state = saved_in_a_round(fake, **old)
    fake.set("/params", b"", status=503)
    participant, _ = xaynet_sdk.spawn_async_participant(fake.url, state=state)
    participant.set_local_model([0.25] * 6)
    fake.new_round(2, **new)
    fake.wait_for_message()
    assert participant.get_global_model() is None
    participant.stop()


def test_a_restored_participant_takes_a_model_for_the_round_that_goes_on(
    fake: FakeCoordinator, records: Callable[[int], list[str]]
) -> None:
    state = saved_in_a_round(fake)
    fake.set("/params", b"", status=503)
    participant, _ = xaynet_sdk.spawn_async_participant(fake.url, state=state)
    participant.set_local_model([0.25] * 6)
    fake.new_round(1)
    wait_until(lambda: bool(records(logging.ERROR)), "the wrong model is reported")
    with pytest.raises(xaynet_sdk.LocalModelLengthMisMatch, match="has 6 weights.*have 4"):
        participant.set_local_model([0.25] * 4)
    assert fake.messages == []
    participant.set_local_model([0.25] * 4)
    fake.wait_for_message()
    participant.stop()


# The event of a participant that models are handed to.


def test_the_event_is_set_for_who_is_restored_in_the_middle_of_a_round(
    fake: FakeCoordinator,
) -> None:
    state = saved_in_a_round(fake)
    participant, event = xaynet_sdk.spawn_async_participant(fake.url, state=state)
    assert event.wait(30)
    assert participant.get_global_model() is None
    participant.set_local_model([0.25] * 4)
    fake.wait_for_message()
    # Once is enough.
    assert not event.is_set()
    participant.stop()


def test_the_event_is_not_lost_by_a_call_that_has_done_nothing(fake: FakeCoordinator) -> None:
    fake.set("/params", b"", status=503)
    participant, event = xaynet_sdk.spawn_async_participant(fake.url)
    participant.set_local_model([0.25] * 2)
    fake.new_round(1, task="none")
    assert event.wait(30)
    with pytest.raises(xaynet_sdk.LocalModelLengthMisMatch):
        participant.get_global_model()
    assert event.is_set()
    assert participant.get_global_model() is None
    assert not event.is_set()
    participant.stop()


def test_a_log_that_fails_does_not_end_the_event(
    fake: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", failures.append)

    def fail(_: logging.LogRecord) -> bool:
        raise OSError("the log's disk is full")

    logger = logging.getLogger("participant")
    logger.addFilter(fail)
    try:
        fake.set("/params", b"", status=503)
        participant, event = xaynet_sdk.spawn_async_participant(fake.url)
        wait_until(lambda: bool(failures), "the log has failed")
        fake.new_round(1)
        assert event.wait(30)
    finally:
        logger.removeFilter(fail)
    assert participant.is_alive()
    participant.stop()


def test_who_waits_for_the_event_learns_that_the_participant_is_broken(
    fake: FakeCoordinator, monkeypatch: pytest.MonkeyPatch, records: Callable[[int], list[str]]
) -> None:
    event = threading.Event()
    participant = xaynet_sdk.AsyncParticipant(fake.url, event, None, 1.0)
    native = participant._native

    class Broken:
        def tick(self, _: float) -> None:
            raise RuntimeError("panicked")

        def close(self) -> None:
            native.close()

    monkeypatch.setattr(participant, "_native", Broken())
    participant.start()
    assert event.wait(30)
    participant.join()
    assert records(logging.CRITICAL)
    monkeypatch.setattr(participant, "_native", native)
    with pytest.raises(xaynet_sdk.UninitializedParticipant):
        participant.get_global_model()
    assert participant.stop()


# An exception in a user's callback or constructor ended the thread with one log line.


def test_an_exception_of_the_constructor_reaches_the_caller(fake: FakeCoordinator) -> None:
    class Broken(Trainer):
        def __init__(self) -> None:
            raise LookupError("no data set")

    with pytest.raises(LookupError, match="no data set"):
        xaynet_sdk.spawn_participant(fake.url, Broken)


@pytest.mark.parametrize("callback", ["train_round", "serialize", "participate"])
def test_an_exception_in_training_reaches_the_user_and_the_participant_goes_on(
    update_round: FakeCoordinator,
    spawn: Callable[..., Spawned],
    records: Callable[[int], list[str]],
    callback: str,
) -> None:
    error = ArithmeticError("diverged")
    calls = 0

    def fail_once(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise error
        return [0.5] * 4

    spawned = spawn(update_round.url, **{callback: fail_once})
    spawned.wait_for("on_error")
    assert spawned.trainer.errors == [error]
    assert records(logging.ERROR)
    wait_until(lambda: spawned.internal.error is error, "the error is kept")
    assert update_round.messages == []
    update_round.new_round(2)
    update_round.wait_for_message()
    spawned.internal.stop()
    with pytest.raises(ArithmeticError, match="diverged"):
        spawned.internal.join()


def test_stop_raises_an_exception_of_the_users_if_asked_to_and_keeps_the_state(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned], monkeypatch: pytest.MonkeyPatch
) -> None:
    # It waits for the thread no longer than that.
    monkeypatch.setattr("xaynet_sdk.participant._GRACE", 60.0)

    def fail(*arguments: Any) -> Any:
        raise ArithmeticError("diverged")

    spawned = spawn(update_round.url, train_round=fail)
    wait_until(lambda: spawned.internal.error is not None, "the error is kept")
    with pytest.raises(ArithmeticError, match="diverged"):
        spawned.internal.stop(raise_error=True)
    # The thread has said that it is done, and is about to end. (Its own `join` would raise the error.)
    threading.Thread.join(spawned.internal, 30)
    assert not spawned.internal.is_alive()
    state = spawned.internal.stop()
    xaynet_sdk.xaynet_sdk.Participant(update_round.url, 1.0, state).save()
    with pytest.raises(xaynet_sdk.UninitializedParticipant):
        spawned.internal.stop()


def test_stop_gives_the_state_whatever_the_users_code_has_raised(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    """As programs for Xaynet expect."""

    def fail(*arguments: Any) -> Any:
        raise ArithmeticError("diverged")

    spawned = spawn(update_round.url, train_round=fail)
    wait_until(lambda: spawned.internal.error is not None, "the error is kept")
    xaynet_sdk.xaynet_sdk.Participant(update_round.url, 1.0, spawned.internal.stop()).save()


def test_handles_are_not_copied(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    participant, _ = xaynet_sdk.spawn_async_participant(update_round.url)
    for handle in (spawn(update_round.url).internal, participant):
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="saved state"):
                duplicate(handle)
    participant.stop()


def test_an_exception_on_a_new_global_model_does_not_prevent_training(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    def fail(_: Any) -> None:
        raise ValueError("plotting failed")

    spawned = spawn(update_round.url, new_global_model=fail, on_error=lambda _: True)
    update_round.wait_for_message()
    spawned.internal.stop()
    spawned.internal.join()
    assert spawned.internal.error is None


def test_there_is_no_training_without_the_global_model_that_there_is(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    update_round.set("/model", wire.model([1, 0, 1, 0]))
    received: list[Any] = []

    def fail_once(global_model: Any) -> Any:
        received.append(global_model)
        if len(received) == 1:
            raise ValueError("unknown layout")
        return global_model

    trained: list[Any] = []

    def train(training_input: Any) -> list[float]:
        trained.append(training_input)
        return [0.5] * 4

    spawned = spawn(update_round.url, deserialize=fail_once, train_round=train)
    spawned.wait_for("on_error")
    update_round.wait_for_request("/params", times=3)
    assert trained == []
    update_round.new_round(2)
    update_round.wait_for_message()
    assert trained == [[1.0, 0.0, 1.0, 0.0]]


def test_a_global_model_of_another_length_is_not_trained_further(
    update_round: FakeCoordinator,
    spawn: Callable[..., Spawned],
    caplog: pytest.LogCaptureFixture,
) -> None:
    update_round.set("/model", wire.model([1, 0, 1]))
    trained: list[Any] = []

    def train(training_input: Any) -> list[float]:
        trained.append(training_input)
        return [0.5] * 4

    spawn(update_round.url, train_round=train)
    update_round.wait_for_message()
    assert trained == [None]
    assert "has 3 weights, but this round's models have 4" in caplog.text
    participant, heard = xaynet_sdk.spawn_async_participant(update_round.url)
    with participant:
        assert heard.wait(30)
        with pytest.raises(xaynet_sdk.GlobalModelLengthMisMatch, match="3 weights"):
            participant.get_global_model()

    async def ask() -> None:
        async with xaynet_sdk.aio.connect(update_round.url) as participant:
            with pytest.raises(xaynet_sdk.GlobalModelLengthMisMatch, match="3 weights"):
                await participant.global_model()

    asyncio.run(ask())


def test_a_global_model_that_cannot_be_had_reaches_the_user(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    update_round.set("/model", wire.model([10**40, 0, 1, 0]))
    spawned = spawn(update_round.url)
    spawned.wait_for("on_error")
    assert isinstance(spawned.trainer.errors[0], xaynet_sdk.GlobalModelDataTypeMisMatch)
    assert spawned.count("train_round") == 0
    update_round.set("/model", wire.model([1, 0, 1, 0]))
    update_round.new_round(2)
    update_round.wait_for_message()
    assert len(spawned.trainer.errors) == 1


def test_training_waits_for_a_global_model_that_is_unavailable_for_a_while(
    update_round: FakeCoordinator,
    spawn: Callable[..., Spawned],
    records: Callable[[int], list[str]],
) -> None:
    update_round.set("/model", b"", status=503)
    trained: list[Any] = []

    def train(training_input: Any) -> list[float]:
        trained.append(training_input)
        return [0.5] * 4

    spawned = spawn(update_round.url, train_round=train)
    update_round.wait_for_request("/model", 3)
    assert trained == []
    update_round.set("/model", wire.model([1, 0, 1, 0]))
    update_round.wait_for_message()
    assert trained == [[1.0, 0.0, 1.0, 0.0]]
    assert len([message for message in records(logging.WARNING) if "trying" in message]) == 1
    assert spawned.trainer.errors == []


def test_a_system_exit_ends_the_thread_and_leaves_the_state(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    def leave(_: Any) -> None:
        raise SystemExit(3)

    spawned = spawn(update_round.url, train_round=leave)
    with pytest.raises(SystemExit):
        spawned.internal.join(30)
    assert spawned.count("on_stop") == 1
    spawn(update_round.url, state=spawned.internal.stop())


# Only Python lists.


@pytest.mark.parametrize("as_array", [False, True])
def test_arrays_go_in_and_come_out(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned], as_array: bool
) -> None:
    update_round.set("/model", wire.model([1, 0, 1, 0]))
    received: list[Any] = []

    def deserialize(global_model: Any) -> Any:
        received.append(global_model)
        return np.asarray(global_model, dtype=np.float32)

    class WithArrays(Trainer):
        global_model_as_array = as_array

    participant = xaynet_sdk.spawn_participant(
        update_round.url,
        WithArrays,
        kwargs={"deserialize": deserialize, "train_round": lambda weights: weights / 2},
    )
    update_round.wait_for_message()
    participant.stop()
    assert participant.error is None
    assert isinstance(received[0], np.ndarray if as_array else list)
    assert list(received[0]) == [1.0, 0.0, 1.0, 0.0]


# A wrong-length local model was logged and training ran again at every poll; so was
# `participate_in_update_task`.


def test_a_wrong_model_is_reported_once_and_training_is_not_repeated(
    update_round: FakeCoordinator,
    spawn: Callable[..., Spawned],
    records: Callable[[int], list[str]],
) -> None:
    spawned = spawn(update_round.url, train_round=lambda _: [0.5] * 3)
    spawned.wait_for("on_error")
    before = update_round.requests.count("/params")
    update_round.wait_for_request("/params", before + 4)
    assert spawned.count("train_round") == 1
    assert len(spawned.trainer.errors) == 1
    assert isinstance(spawned.trainer.errors[0], xaynet_sdk.LocalModelLengthMisMatch)
    assert len(records(logging.ERROR)) == 1
    update_round.new_round(2)
    spawned.wait_for("train_round", 2)


def test_a_model_of_earlier_that_does_not_fit_is_reported(
    fake: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    fake.set("/params", b"", status=503)
    first = Participant(fake.url, 1.0)
    first.set_model([0.25] * 2)
    # Before there is a round: the first one would find out itself.
    state = first.save()
    fake.set("/sums", wire.sum_dict())
    fake.new_round(1)
    spawned = spawn(fake.url, state=state)
    fake.wait_for_message()
    assert [type(error) for error in spawned.trainer.errors] == [
        xaynet_sdk.LocalModelLengthMisMatch
    ]
    assert spawned.internal.error is spawned.trainer.errors[0]


def test_taking_part_is_asked_once_a_round(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    spawned = spawn(update_round.url, participate=lambda: False)
    spawned.wait_for("participate")
    before = update_round.requests.count("/params")
    update_round.wait_for_request("/params", before + 4)
    assert spawned.count("participate") == 1
    update_round.new_round(2)
    spawned.wait_for("participate", 2)
    assert spawned.count("train_round") == 0


def test_training_begins_with_the_model_of_the_round_that_it_is_for(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    go_on = threading.Event()
    trained: list[Any] = []

    def train(training_input: Any) -> list[float]:
        trained.append(training_input)
        return [0.5] * 4

    spawned = spawn(update_round.url, participate=lambda: go_on.wait(30), train_round=train)
    spawned.wait_for("participate")
    update_round.set("/model", wire.model([1, 0, 1, 0]))
    update_round.new_round(2)
    native = spawned.internal._native
    wait_until(lambda: native.rounds() == 2 and native.should_set_model(), "the next round")
    go_on.set()
    update_round.wait_for_message()
    assert trained == [[1.0, 0.0, 1.0, 0.0]]
    assert spawned.count("participate") == 2


def test_taking_part_is_asked_only_when_chosen_to_update(
    fake: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    fake.new_round(1, task="sum")
    spawned = spawn(fake.url)
    spawned.wait_for("new_global_model")
    fake.wait_for_message()
    assert spawned.count("participate") == 0


# Restoring ignored `scalar`; a local model set but not yet used was not in the saved state.


# Whether this thread or the participant's is the first to say that 1.5 is too much is a matter of time.
@pytest.mark.filterwarnings("ignore::xaynet_sdk.ClampWarning")
def test_restoring_takes_the_scalar_that_it_is_given(
    update_round: FakeCoordinator, records: Callable[[int], list[str]]
) -> None:
    first, _ = xaynet_sdk.spawn_async_participant(update_round.url, scalar=1.0)
    state = first.stop()
    second, _ = xaynet_sdk.spawn_async_participant(update_round.url, state=state, scalar=1.5)
    second.set_local_model([0.0] * 4)
    update_round.wait_for_message()
    wait_until(
        lambda: any("scalar" in message for message in records(logging.WARNING)), "a warning"
    )
    second.stop()


def test_who_was_stopped_while_training_trains_again(
    update_round: FakeCoordinator, spawn: Callable[..., Spawned]
) -> None:
    update_round.set("/model", wire.model([1, 0, 1, 0]))
    go_on = threading.Event()
    first = spawn(update_round.url, train_round=lambda _: go_on.wait())
    first.wait_for("train_round")
    state = first.internal.stop()
    go_on.set()
    trained: list[Any] = []

    def train(training_input: Any) -> list[float]:
        trained.append(training_input)
        return [0.5] * 4

    second = spawn(update_round.url, state=state, train_round=train)
    update_round.wait_for_message()
    assert trained == [[1.0, 0.0, 1.0, 0.0]]
    assert second.count("new_global_model") == 1


@pytest.mark.parametrize("contact", ["before", "after"])
@pytest.mark.parametrize("weights", [[0.25] * 4, [0, 1, 0, 1]])
def test_a_local_model_that_was_not_used_is_in_the_saved_state(
    fake: FakeCoordinator, contact: str, weights: list[float]
) -> None:
    if contact == "before":
        fake.set("/params", b"", status=503)
    else:
        fake.new_round(1, task="none")
    first, event = xaynet_sdk.spawn_async_participant(fake.url)
    if contact == "after":
        assert event.wait(30)
    first.set_local_model(weights)
    state = first.stop()
    fake.set("/sums", wire.sum_dict())
    fake.new_round(2)
    second, _ = xaynet_sdk.spawn_async_participant(fake.url, state=state)
    fake.wait_for_message()
    second.stop()


# Weights beyond the bound and scalars above it were clamped silently, negative and NaN scalars
# counted as 0.


def test_clamping_is_reported(
    update_round: FakeCoordinator, records: Callable[[int], list[str]]
) -> None:
    participant, _ = xaynet_sdk.spawn_async_participant(update_round.url, scalar=4.0)
    with warnings.catch_warnings():
        # Told at once, too, if the coordinator has answered already.
        warnings.simplefilter("ignore", xaynet_sdk.ClampWarning)
        participant.set_local_model([0.5, -0.75, 0.0, 10.0])
    wait_until(lambda: len(records(logging.WARNING)) >= 2, "two warnings")
    weights, scalar = sorted(records(logging.WARNING))
    assert weights.startswith("1 weights") or weights.startswith("2 weights"), weights
    assert "bound" in weights
    assert "scalar" in scalar
    participant.stop()


@pytest.mark.parametrize("scalar", [-1.0, -1e-300, float("nan"), float("inf")])
def test_scalars_that_are_no_weights_are_refused(fake: FakeCoordinator, scalar: float) -> None:
    with pytest.raises(xaynet_sdk.ParticipantInit, match="scalar"):
        xaynet_sdk.spawn_async_participant(fake.url, scalar=scalar)
    with pytest.raises(xaynet_sdk.ParticipantInit, match="scalar"):
        xaynet_sdk.spawn_participant(fake.url, Trainer, scalar=scalar)
    with pytest.raises(xaynet_sdk.ParticipantInit, match="scalar"):
        Participant(fake.url, scalar)


# Base URLs with a path.


@pytest.mark.parametrize("suffix", ["", "/", "/sub", "/sub/", "/a/b//"])
def test_urls_may_have_a_path(fake: FakeCoordinator, suffix: str) -> None:
    participant, _ = xaynet_sdk.spawn_async_participant(fake.url + suffix)
    fake.wait_for_request(suffix.rstrip("/") + "/params")
    participant.stop()


def test_an_instance_is_no_class(fake: FakeCoordinator) -> None:
    class Mine(xaynet_sdk.ParticipantABC[Any, Any]):
        def train_round(self, training_input: Any) -> Any: ...
        def serialize_training_result(self, training_result: Any) -> Any: ...
        def deserialize_training_input(self, global_model: Any) -> Any: ...

    with pytest.raises(TypeError, match="the class to run, .* give Mine"):
        xaynet_sdk.spawn_participant(fake.url, Mine())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the class to run, .* type int"):
        xaynet_sdk.spawn_participant(fake.url, 5)  # type: ignore[arg-type]


def test_a_handle_stops_at_the_end_of_its_block(fake: FakeCoordinator) -> None:
    participant, _ = xaynet_sdk.spawn_async_participant(fake.url)
    with participant as same:
        assert same is participant
    participant.join(30)
    assert not participant.is_alive()
    # The state is still there.
    assert participant.stop()
    with participant:
        pass

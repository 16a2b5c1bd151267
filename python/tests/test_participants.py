"""Whole rounds with a real coordinator."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from conftest import Coordinator, wait_until

import xaynet_sdk

LENGTH = 4
# Roles are given by lot: some rounds fail for lack of one or the other.
ROUNDS_SECONDS = 120.0
# By the round's seed, of everyone who has trained in it, whether the coordinator has the model; None if nobody has said so yet.
Ledger = dict[bytes, dict[int, bool | None]]


def round_seed(url: str) -> bytes:
    with urllib.request.urlopen(f"{url}/params", timeout=30) as response:
        body: bytes = response.read()
    # 40 bytes of key, two probabilities, the seed's length.
    return body[64:96]


class Constant(xaynet_sdk.ParticipantABC[Any, float]):
    """Trains a model of one number, and writes down in which round it did."""

    def __init__(
        self, number: int, *, url: str, ledger: Ledger, seen: list[Any], lock: threading.Lock
    ) -> None:
        self.number, self.url, self.ledger, self.seen, self.lock = number, url, ledger, seen, lock
        self.thread = threading.current_thread()
        self.latest: Any = "none yet"

    def train_round(self, training_input: Any) -> float:
        assert threading.current_thread() is self.thread
        assert training_input is self.latest
        # If another round begins before that is asked, the model is late.
        self.round = round_seed(self.url)
        with self.lock:
            self.ledger[self.round][self.number] = None
        return value_of(self.number)

    def on_update_outcome(self, outcome: xaynet_sdk.UpdateOutcome) -> None:
        # (That a round has failed may be told while the next one goes on. It has no model.)
        if outcome.kind != "round_failed":
            with self.lock:
                self.ledger[self.round][self.number] = outcome.kind == "accepted"

    def serialize_training_result(self, training_result: float) -> list[float]:
        return [training_result] * LENGTH

    def deserialize_training_input(self, global_model: list[float]) -> tuple[float, ...]:
        assert len(global_model) == LENGTH
        return tuple(global_model)

    def on_new_global_model(self, global_model: tuple[float, ...] | None) -> None:
        assert threading.current_thread() is self.thread
        self.latest = global_model
        with self.lock:
            self.seen.append(global_model)


class ConstantArrays(Constant):
    global_model_as_array = True

    def serialize_training_result(self, training_result: float) -> Any:
        return np.full(LENGTH, training_result)

    def deserialize_training_input(self, global_model: Any) -> tuple[float, ...]:
        assert isinstance(global_model, np.ndarray)
        return tuple(global_model.tolist())


def value_of(number: int) -> float:
    return 1 / (number + 1)


def means(ledger: Ledger, scalars: list[float]) -> Iterator[float]:
    """Of all models that the coordinator has, with and without those of which that is not known."""
    for trained in ledger.values():
        accepted = tuple(number for number, is_in in trained.items() if is_in)
        unknown = [number for number, is_in in trained.items() if is_in is None]
        for count in range(len(unknown) + 1):
            for more in combinations(unknown, count):
                if those := accepted + more:
                    whole = sum(scalars[number] for number in those)
                    yield sum(scalars[number] * value_of(number) for number in those) / whole


@pytest.mark.parametrize("kind", [Constant, ConstantArrays])
@pytest.mark.parametrize(
    ("group_type", "data_type", "precision"),
    # A Word32 has steps of 2^-21 here: times 8 participants, divided by the sum of their scalars.
    [
        ("Prime", "F32", 1e-6),
        ("Prime", "F64", 1e-6),
        ("Word32", "F32", 1e-5),
        ("Word64", "F64", 1e-6),
    ],
)
def test_global_models_are_weighted_means(
    start_coordinator: Callable[..., Coordinator],
    kind: type[Constant],
    group_type: str,
    data_type: str,
    precision: float,
) -> None:
    coordinator = start_coordinator(LENGTH, mask__group_type=group_type, mask__data_type=data_type)
    scalars = [0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 0.9, 1.0]
    ledger: Ledger = defaultdict(dict)
    seen: list[Any] = []
    lock = threading.Lock()
    participants = [
        xaynet_sdk.spawn_participant(
            coordinator.url,
            kind,
            (number,),
            {"url": coordinator.url, "ledger": ledger, "seen": seen, "lock": lock},
            scalar=scalar,
        )
        for number, scalar in enumerate(scalars)
    ]

    def models() -> set[Any]:
        with lock:
            return {model for model in seen if model is not None}

    wait_until(lambda: len(models()) >= 3, "three global models", ROUNDS_SECONDS)
    for participant in participants:
        participant.stop()
        participant.join()
    assert None in seen
    for model in models():
        assert len(set(model)) == 1
        best = min(abs(model[0] - mean) for mean in means(ledger, scalars))
        assert best < precision, (model, ledger)


def test_a_restored_participant_goes_on(start_coordinator: Callable[..., Coordinator]) -> None:
    coordinator = start_coordinator(LENGTH)
    handles = [xaynet_sdk.spawn_async_participant(coordinator.url) for _ in range(8)]
    # Every one is restored several times, wherever in its round it is.
    models: list[Any] = []
    deadline = time.monotonic() + ROUNDS_SECONDS
    turn = 0
    while len(models) < 12 and time.monotonic() < deadline:
        turn += 1
        for number, (participant, event) in enumerate(handles):
            participant.set_local_model(np.full(LENGTH, 0.5, np.float32))
            if event.wait(0.05):
                model = participant.get_global_model()
                models += [] if model is None else [model]
            if (turn + number) % 3 == 0:
                state = participant.stop()
                handles[number] = xaynet_sdk.spawn_async_participant(coordinator.url, state)
    for participant, _ in handles:
        participant.stop()
    assert len(models) >= 12
    assert all(model == [0.5] * LENGTH for model in models)


def test_participants_outlive_a_restart_of_the_coordinator(
    start_coordinator: Callable[..., Coordinator],
) -> None:
    first = start_coordinator(LENGTH)
    participant, event = xaynet_sdk.spawn_async_participant(first.url)
    assert event.wait(30)
    event.clear()
    first.stop()
    with pytest.raises(xaynet_sdk.GlobalModelUnavailable):
        participant.get_global_model()
    start_coordinator(LENGTH, port=int(first.url.rsplit(":", 1)[1]))
    assert event.wait(30)
    assert participant.get_global_model() is None
    participant.stop()


def test_the_event_is_set_in_the_first_round_and_cleared_by_fetching(
    start_coordinator: Callable[..., Coordinator],
) -> None:
    coordinator = start_coordinator(LENGTH)
    participant, event = xaynet_sdk.spawn_async_participant(coordinator.url)
    assert isinstance(participant, xaynet_sdk.AsyncParticipant)
    assert isinstance(event, threading.Event)
    assert event.wait(30)
    assert participant.get_global_model() is None
    assert not event.is_set() or participant.get_global_model() is None
    participant.stop()
    participant.join(30)
    assert not participant.is_alive()
    for call in (participant.stop, participant.get_global_model):
        with pytest.raises(xaynet_sdk.UninitializedParticipant):
            call()
    with pytest.raises(xaynet_sdk.UninitializedParticipant):
        participant.set_local_model([0.5] * LENGTH)

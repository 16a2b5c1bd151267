"""What stop() gives: a list of integers, as programs of old expect, and bytes."""

from __future__ import annotations

import base64
import copy
import io
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from fake import FakeCoordinator

import xaynet_sdk
from xaynet_sdk.xaynet_sdk import Participant


@pytest.fixture(params=["class", "async", "native"])
def state(fake: FakeCoordinator, request: pytest.FixtureRequest) -> Any:
    fake.new_round(1, task="none")
    if request.param == "native":
        return Participant(fake.url, 1.0).save()
    participant: Any
    if request.param == "async":
        participant, _ = xaynet_sdk.spawn_async_participant(fake.url)
    else:
        participant = xaynet_sdk.spawn_participant(fake.url, Nothing)
    return participant.stop()


class Nothing(xaynet_sdk.ParticipantABC[Any, Any]):
    def train_round(self, training_input: Any) -> Any: ...
    def serialize_training_result(self, training_result: Any) -> Any: ...
    def deserialize_training_input(self, global_model: Any) -> Any: ...


def test_it_is_the_list_of_old(state: Any, fake: FakeCoordinator) -> None:
    assert isinstance(state, list)
    assert all(type(number) is int and 0 <= number < 256 for number in state)
    assert state[0] == list(state)[0] == bytes(state)[0]
    through = json.loads(json.dumps(state))
    assert through == state and state == through
    assert json.loads(str(state)) == state
    xaynet_sdk.spawn_async_participant(fake.url, state=through)[0].stop()


def test_it_is_bytes(state: Any, fake: FakeCoordinator, tmp_path: Path) -> None:
    plain = bytes(state)
    assert len(plain) == len(state)
    file = tmp_path / "state"
    file.write_bytes(state)
    assert file.read_bytes() == plain
    stream = io.BytesIO()
    stream.write(state)
    assert stream.getvalue() == plain
    assert base64.b64encode(state) == base64.b64encode(plain)
    assert state == plain and plain == state and not state != plain
    assert state != plain + b"\0"
    assert plain[3:9] in state and state[:4] + b"x" == plain[:4] + b"x"
    assert state.hex() == plain.hex() and state.startswith(plain[:4])
    assert b"".join([b"a", state]) == b"a" + plain
    with memoryview(state) as view:
        assert view.readonly and view.format == "B"
    xaynet_sdk.spawn_async_participant(fake.url, state=file.read_bytes())[0].stop()


def test_it_survives_copying_and_pickling(state: Any) -> None:
    for other in (copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        assert type(other) is xaynet_sdk.SavedState and other == state


def test_what_is_no_state_gives_no_buffer() -> None:
    for wrong in ([256], [-1], ["x"]):
        for _ in range(100):
            with pytest.raises((TypeError, ValueError, OverflowError)):
                memoryview(xaynet_sdk.SavedState(wrong))  # type: ignore[arg-type]

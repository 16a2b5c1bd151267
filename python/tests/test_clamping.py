"""Weights beyond the bound are told of before they are put on it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fake import FakeCoordinator

import xaynet_sdk
from xaynet_sdk.xaynet_sdk import Participant


@pytest.fixture
def known(fake: FakeCoordinator) -> Iterator[Callable[..., Participant]]:
    """Makes participants that know the round: B2, that is weights up to 100."""
    made: list[Participant] = []

    def make(scalar: float = 1.0, data_type: str = "F32", bound: str = "B2") -> Participant:
        fake.new_round(1, task="none", data_type=data_type, length=4, bound=bound)
        participant = Participant(fake.url, scalar)
        made.append(participant)
        while not participant.rounds():
            participant.tick(30)
        return participant

    yield make
    for participant in made:
        participant.save()


def test_how_many_and_how_far(known: Callable[..., Participant]) -> None:
    with pytest.warns(
        xaynet_sdk.ClampWarning, match=r"2 of 4 weights.*beyond 100,.*B2.* 500.*5 times"
    ):
        known().set_model(np.array([1, -500, 100, 101], np.float32))


def test_the_scalar_counts(known: Callable[..., Participant]) -> None:
    participant = known(0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        participant.set_model([200.0, -200.0, 0.0, 0.0])
    with pytest.warns(xaynet_sdk.ClampWarning, match="1 of 4 weights"):
        participant.set_model([201.0, 0.0, 0.0, 0.0])


def test_a_scalar_beyond_its_bound(known: Callable[..., Participant]) -> None:
    with pytest.warns(xaynet_sdk.ClampWarning, match="^The scalar 101 is beyond 100"):
        known(101.0).set_model([0.0] * 4)


@pytest.mark.parametrize("data_type", ["I32", "I64"])
def test_integers(known: Callable[..., Participant], data_type: str) -> None:
    with pytest.warns(xaynet_sdk.ClampWarning, match="1 of 4 weights"):
        known(data_type=data_type).set_model([100, -101, 0, 7])


@pytest.mark.parametrize("data_type", ["F32", "F64", "I32", "I64"])
def test_nothing_is_beyond_the_widest_bound(
    known: Callable[..., Participant], data_type: str
) -> None:
    participant = known(data_type=data_type, bound="Bmax")
    extreme = {
        "F32": np.finfo("f4").max,
        "F64": np.finfo("f8").max,
        "I32": 2**31 - 1,
        "I64": 2**63 - 1,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        participant.set_model([extreme[data_type], 0, 0, -extreme[data_type]])


def test_it_names_the_users_line(fake: FakeCoordinator) -> None:
    fake.new_round(1, task="none", length=4)
    participant, event = xaynet_sdk.spawn_async_participant(fake.url)
    assert event.wait(30)
    with pytest.warns(xaynet_sdk.ClampWarning) as record:
        participant.set_local_model([2.0] * 4)
    (mine,) = [each for each in record if each.category is xaynet_sdk.ClampWarning]
    assert mine.filename == __file__
    participant.stop()


def test_as_an_error_it_keeps_the_model_from_being_set(fake: FakeCoordinator) -> None:
    fake.new_round(1, task="none", length=4)

    def state_after_setting(action: str) -> xaynet_sdk.SavedState:
        participant, event = xaynet_sdk.spawn_async_participant(fake.url)
        assert event.wait(30)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if action == "ignore" else "error")
            if action == "error":
                with pytest.raises(xaynet_sdk.ClampWarning):
                    participant.set_local_model([500.0] * 4)
            else:
                participant.set_local_model([500.0] * 4)
        return participant.stop()

    weights = np.full(4, 500, np.float64).tobytes()
    assert weights in state_after_setting("ignore")
    assert weights not in state_after_setting("error")

"""Weights and scalars that masking would round coarsely are told of before, with the numbers."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fake import FakeCoordinator

import xaynet_sdk
from xaynet_sdk import PrecisionWarning, protocol
from xaynet_sdk.xaynet_sdk import Participant

WEIGHTS = [0.1235, -0.05, 0.0, 0.07]


def machine(mask: str, scalar: float) -> protocol.ParticipantMachine:
    """A participant that updates in a round with this mask config."""
    settings = {"pet.sum.prob": 0.000001, "pet.update.prob": 1.0}
    coordinator = protocol.CoordinatorMachine(4, mask=mask, settings=settings, seed=bytes(32))
    participant = protocol.ParticipantMachine(bytes(range(32)), scalar=scalar)
    for _ in protocol.exchange(participant, coordinator, 0.0):
        pass
    return participant


def warned(participant: protocol.ParticipantMachine, weights: Any = WEIGHTS) -> str | None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        participant.handle_input(0.0, protocol.SetModel(weights))
    texts = [str(each.message) for each in caught if each.category is PrecisionWarning]
    assert len(texts) <= 1
    if texts:
        assert caught[-1].filename.endswith("protocol.py") or caught[-1].filename == __file__
    return texts[0] if texts else None


def means(mask: str, scalar: float) -> np.ndarray[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        result = xaynet_sdk.simulate(
            [lambda model: WEIGHTS] * 5,
            model_length=4,
            rounds=1,
            scalars=[scalar] * 5,
            mask=mask,
            progress=False,
        )
    assert result.model is not None
    return result.model


@pytest.mark.parametrize(
    ("mask", "scalar", "numbers"),
    [
        ("Word32/F32/B0/M3", 1 / 50_000, "scalar of 2e-5.* multiple of 0.0238419.* largest weight is 0.1235: 2 bits"),
        ("Prime/F32/B0/M3", 1e-8, "scalar of 1e-8.* multiple of 0.01, .* 0.1235: 3 bits"),
        ("Word32/F32/B4/M3", 1.0, "scalar of 1 .* multiple of 0.0078125.* 0.1235: 3 bits"),
        ("Prime/F32/B0/M3", 1e-11, "scalar becomes 0: .* do not count at all"),
    ],
)  # fmt: skip
def test_a_small_scalar_is_told_with_the_numbers(mask: str, scalar: float, numbers: str) -> None:
    text = warned(machine(mask, scalar))
    assert text is not None and re.search(numbers, text), text
    assert f"mask config {mask} " in text
    assert "number of samples divided by that of the largest participant" in text


@pytest.mark.parametrize(
    "mask", ["Word32/F32/B0/M3", "Word64/F32/B2/M6", "Prime/F32/B0/M3", "Integer/F64/B6/M9"]
)
def test_what_is_not_told_is_right(mask: str) -> None:
    """For scalars of every size: a mean without a warning is right to a hundredth of the largest weight, and one
    that is further off was told of."""
    for exponent in range(0, 36, 3):
        scalar = 2.0**-exponent
        told = warned(machine(mask, scalar))
        try:
            off = float(np.max(np.abs(means(mask, scalar) - WEIGHTS)))
        except xaynet_sdk.XaynetError:
            # All scalars are 0.
            assert told is not None
            continue
        if told is None:
            assert off < 0.1235 / 512, (mask, scalar)
        if off > 0.1235 / 512:
            assert told is not None, (mask, scalar)


def test_the_usual_configs_and_scalars_are_not_told_of() -> None:
    for mask in (
        "Prime/F32/B0/M3",
        "Prime/F32/B4/M6",
        "Word32/F32/B0/M3",
        "Word64/F32/B4/M6",
        "Prime/F32/Bmax/M3",
    ):
        for scalar in (1.0, 1 / 3, 0.01):
            assert warned(machine(mask, scalar)) is None, (mask, scalar)
    # Zeros are zeros, and a model that is not to count is not told of.
    assert warned(machine("Word32/F32/B0/M3", 1e-5), [0.0] * 4) is None
    assert warned(machine("Word32/F32/B0/M3", 0.0)) is None


def test_integers_that_are_exact_are_not_told_of() -> None:
    assert warned(machine("Word32/I32/B6/M3", 1.0), [1, -2, 3, 4]) is None
    text = warned(machine("Word32/I32/B6/M3", 0.01), [1, -2, 3, 4])
    assert text is not None and "0 bits" in text


def test_once_for_each_participant_and_each_time_as_an_error() -> None:
    participant = machine("Word32/F32/B0/M3", 1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PrecisionWarning)
        for _ in range(2):
            with pytest.raises(PrecisionWarning):
                participant.handle_input(0.0, protocol.SetModel(WEIGHTS))
    assert participant.needs_model, "it was not set"
    assert warned(participant) is not None
    assert warned(participant, [0.5, 0.25, 0.125, 0.0]) is None


@pytest.fixture
def known(fake: FakeCoordinator) -> Iterator[Callable[[float], Participant]]:
    made: list[Participant] = []

    def make(scalar: float) -> Participant:
        fake.new_round(1, task="none", length=4, bound="B0")
        made.append(Participant(fake.url, scalar))
        while not made[-1].rounds():
            made[-1].tick(30)
        return made[-1]

    yield make
    for participant in made:
        participant.save()


def test_the_native_class_names_the_users_line(known: Callable[[float], Participant]) -> None:
    participant = known(1e-8)
    with pytest.warns(PrecisionWarning, match="3 bits of it are left") as caught:
        participant.set_model(WEIGHTS)
    (mine,) = [each for each in caught if each.category is PrecisionWarning]
    assert mine.filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        participant.set_model(WEIGHTS)
        known(1e-3).set_model(WEIGHTS)


def test_a_model_that_was_set_before_the_first_contact(
    fake: FakeCoordinator, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is there to be warned: it is logged."""
    fake.set("/params", b"", status=503)
    participant = Participant(fake.url, 1e-8)
    participant.set_model(WEIGHTS)
    fake.new_round(1, length=4, bound="B0")
    with caplog.at_level(logging.WARNING, "participant"):
        while not participant.rounds():
            participant.tick(30)
        participant.tick(0)
    participant.save()
    assert any("3 bits of it are left" in record.message for record in caplog.records)


def test_a_machine_tells_of_a_model_that_was_set_before() -> None:
    settings = {"pet.sum.prob": 0.000001, "pet.update.prob": 1.0}
    coordinator = protocol.CoordinatorMachine(
        4, mask="Prime/F32/B0/M3", settings=settings, seed=bytes(32)
    )
    participant = protocol.ParticipantMachine(bytes(range(32)), scalar=1e-8)
    participant.handle_input(0.0, protocol.SetModel(WEIGHTS))
    with pytest.warns(PrecisionWarning, match="3 bits"):
        for _ in protocol.exchange(participant, coordinator, 0.0):
            pass


def test_a_simulation_tells_once() -> None:
    """A thousand clients would otherwise say the same thing a thousand times."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        xaynet_sdk.simulate(
            [lambda model: WEIGHTS] * 30,
            model_length=4,
            rounds=3,
            scalars=[1e-8 * (1 + index) for index in range(30)],
            mask="Prime/F32/B0/M3",
            progress=False,
        )
    # (The garbage collector may have something to say of earlier tests.)
    caught = [each for each in caught if each.category is not ResourceWarning]
    assert [each.category for each in caught] == [PrecisionWarning]
    assert caught[0].filename == __file__

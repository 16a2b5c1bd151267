"""What is taken as a local model, and what comes out as a global model."""

from __future__ import annotations

import array
import struct
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import fake as wire
import numpy as np
import pytest
from fake import FakeCoordinator

import xaynet_sdk
from xaynet_sdk.xaynet_sdk import Participant

MISMATCH = xaynet_sdk.LocalModelDataTypeMisMatch
FLOATS = ["F32", "F64"]
INTEGERS = ["I32", "I64"]
ALL = FLOATS + INTEGERS


@pytest.fixture
def known(fake: FakeCoordinator) -> Iterator[Callable[..., Participant]]:
    """Makes participants that know the data type, and that the length is 2."""
    made: list[Participant] = []

    def make(data_type: str, length: int = 2) -> Participant:
        fake.new_round(1, task="none", data_type=data_type, length=length, bound="Bmax")
        participant = Participant(fake.url, 1.0)
        made.append(participant)
        while not participant.rounds():
            participant.tick(30)
        return participant

    yield make
    for participant in made:
        participant.save()


class Tensor:
    """Looks like an array in another library."""

    def __init__(self, weights: np.ndarray[Any, Any]) -> None:
        self.weights = weights

    def __array__(self) -> np.ndarray[Any, Any]:
        return self.weights


class Numbers:
    """A sequence that is neither list nor tuple."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        return [1, 2][index]


NUMBERS_OF_ANY_KIND = [
    [1, 2],
    (1, 2),
    range(1, 3),
    [np.int8(1), np.int64(2)],
    [True, 2],
    array.array("i", [1, 2]),
    array.array("B", [1, 2]),
    memoryview(array.array("q", [1, 2])),
    np.array([1, 2], np.int32),
    np.array([1, 2], np.uint64),
    np.array([1, 2], ">i4"),
    np.array([1, 7, 2, 7], np.int16)[::2],
    np.array([2, 1], np.int64)[::-1],
    np.array([[1, 0], [2, 0]])[:, 0],
    Tensor(np.array([1, 2])),
]
FLOATS_OF_ANY_KIND = [
    [1.0, 2],
    [Fraction(1), Decimal(2)],
    [np.float32(1), np.float64(2)],
    array.array("f", [1, 2]),
    array.array("d", [1, 2]),
    memoryview(array.array("d", [1, 2])),
    np.array([1, 2], np.float32),
    np.array([1, 2], np.float64),
    np.array([1, 2], np.float16),
    np.array([1, 2], np.longdouble),
    np.array([1, 2], ">f4"),
    np.array([1, 7, 2, 7], np.float32)[::2],
    np.array([2, 1], np.float64)[::-1],
    Tensor(np.array([1.0, 2.0])),
]


@pytest.mark.parametrize("data_type", ALL)
@pytest.mark.parametrize("weights", NUMBERS_OF_ANY_KIND, ids=repr)
def test_integers_fit_everywhere(
    known: Callable[..., Participant], data_type: str, weights: Any
) -> None:
    known(data_type).set_model(weights)


@pytest.mark.parametrize("data_type", FLOATS)
@pytest.mark.parametrize("weights", FLOATS_OF_ANY_KIND, ids=repr)
def test_floats_fit_floats(known: Callable[..., Participant], data_type: str, weights: Any) -> None:
    known(data_type).set_model(weights)


@pytest.mark.parametrize("data_type", INTEGERS)
@pytest.mark.parametrize("weights", FLOATS_OF_ANY_KIND, ids=repr)
def test_floats_are_refused_as_integers(
    known: Callable[..., Participant], data_type: str, weights: Any
) -> None:
    with pytest.raises(MISMATCH):
        known(data_type).set_model(weights)


def test_the_message_names_both_types(known: Callable[..., Participant]) -> None:
    with pytest.raises(MISMATCH, match="F64 weights.*I32 weights"):
        known("I32").set_model(np.array([1.0, 2.0]))


@pytest.mark.parametrize("data_type", ALL)
@pytest.mark.parametrize(
    ("weights", "named"),
    [
        (np.array([True, False]), "bool"),
        (np.array([1j, 2j]), "complex128"),
        (np.array([1, 2], object), "object"),
        (np.array(["1", "2"]), "<U1"),
        (np.array([b"1", b"2"]), "S1"),
        (np.array(["2024-01-01"] * 2, "datetime64[D]"), "datetime64"),
        (memoryview(b"ab").cast("?"), "format"),
        (np.array([[1, 2]]), "2 dimensions"),
        (np.array(1), "0 dimensions"),
        (["1", "2"], "weight 0"),
        ([1, None], "weight 1"),
        ([1, 2j], "weight 1"),
        ([1, [2]], "weight 1"),
        ("12", "str"),
        (b"12", "bytes"),
        (bytearray(b"12"), "bytearray"),
        ({1: 1, 2: 2}, "dict"),
        ({1, 2}, "set"),
        (None, "None"),
        (12, "int"),
    ],
    ids=repr,
)
def test_what_is_no_model_is_refused(
    known: Callable[..., Participant], data_type: str, weights: Any, named: str
) -> None:
    with pytest.raises(MISMATCH, match=named):
        known(data_type).set_model(weights)


@pytest.mark.parametrize("data_type", FLOATS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", [list, np.float32, np.float64, np.float16])
def test_numbers_must_be_finite(
    known: Callable[..., Participant], data_type: str, value: float, kind: Any
) -> None:
    weights = [0.0, value] if kind is list else np.array([0.0, value], kind)
    with pytest.raises(MISMATCH, match="weight 1 .*finite"):
        known(data_type).set_model(weights)


@pytest.mark.parametrize("data_type", FLOATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64])
@pytest.mark.parametrize("wrap", [lambda array: array, Tensor])
def test_masked_numbers_are_none(
    known: Callable[..., Participant], data_type: str, dtype: Any, wrap: Callable[..., Any]
) -> None:
    participant = known(data_type)
    weights = np.ma.masked_greater(np.array([1, 2], dtype), 1)
    with pytest.raises(MISMATCH, match="1 weights .* masked: .*filled"):
        participant.set_model(wrap(weights))
    # Nothing is masked here.
    participant.set_model(wrap(np.ma.masked_greater(np.array([1, 2], dtype), 2)))
    participant.set_model(weights.filled(0))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_must_be_finite_before_the_first_contact(
    fake: FakeCoordinator, value: float
) -> None:
    fake.set("/params", b"", status=503)
    participant = Participant(fake.url, 1.0)
    with pytest.raises(MISMATCH, match="weight 1 .*finite"):
        participant.set_model([0.0, value])
    participant.save()


@pytest.mark.parametrize(
    ("data_type", "good", "bad"),
    [
        ("F32", 3.4028235e38, 3.5e38),
        ("F32", 10**38, 10**39),
        ("F64", 10**308, 10**309),
        ("I32", 2**31 - 1, 2**31),
        ("I32", -(2**31), -(2**31) - 1),
        ("I64", 2**63 - 1, 2**63),
        ("I64", -(2**63), -(2**63) - 1),
    ],
)
def test_numbers_must_be_in_range(
    known: Callable[..., Participant], data_type: str, good: float, bad: float
) -> None:
    participant = known(data_type)
    participant.set_model([0, good])
    with pytest.raises(MISMATCH, match="weight 1 .*range"):
        participant.set_model([0, bad])


@pytest.mark.parametrize(
    ("data_type", "weights"),
    [
        ("F32", np.array([0, 3.5e38])),
        ("I32", np.array([0, 2**31])),
        ("I32", np.array([0, 2**31], np.uint32)),
        ("I64", np.array([0, 2**63], np.uint64)),
    ],
)
def test_arrays_must_be_in_range(
    known: Callable[..., Participant], data_type: str, weights: Any
) -> None:
    with pytest.raises(MISMATCH):
        known(data_type).set_model(weights)


def test_big_unsigned_integers_are_floats_where_floats_are_wanted(
    known: Callable[..., Participant],
) -> None:
    known("F64").set_model(np.array([0, 2**63], np.uint64))


def test_an_exception_of_a_number_is_passed_on(known: Callable[..., Participant]) -> None:
    class Broken:
        def __float__(self) -> float:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        known("F32").set_model([Broken(), 1.0])


def test_a_list_that_shrinks_while_it_is_read_does_no_harm(
    known: Callable[..., Participant],
) -> None:
    class Shrinking:
        def __float__(self) -> float:
            weights.clear()
            return 1.0

    weights: list[Any] = [Shrinking(), 2.0]
    with pytest.raises(xaynet_sdk.LocalModelLengthMisMatch, match="1 weights"):
        known("F32").set_model(weights)


@pytest.mark.parametrize("data_type", ALL)
@pytest.mark.parametrize("weights", [[], [1], [1, 2, 3], np.arange(3), range(1000)], ids=repr)
def test_the_length_must_fit(
    known: Callable[..., Participant], data_type: str, weights: Any
) -> None:
    with pytest.raises(xaynet_sdk.LocalModelLengthMisMatch, match="have 2"):
        known(data_type).set_model(weights)


def test_the_array_may_be_changed_once_it_was_set(fake: FakeCoordinator) -> None:
    """Two participants of the same identity mask the same weights in the same way."""
    weights = np.array([0.25, 0.5], np.float32)
    fake.new_round(1, length=2)
    first = Participant(fake.url, 1.0)
    while not first.rounds():
        first.tick(30)
    first.set_model(weights)
    weights[:] = 0
    state = first.save()
    for expected_equal, model in [(True, [0.25, 0.5]), (False, [0.0, 0.0])]:
        fake.messages.clear()
        fake.set("/sums", wire.sum_dict())
        same = Participant(fake.url, 1.0, state)
        ours = fake.wait_for_message()
        same.save()
        fake.messages.clear()
        other = Participant(fake.url, 1.0, state)
        other.set_model(model)
        theirs = fake.wait_for_message()
        other.save()
        assert (ours == theirs) is expected_equal


@pytest.mark.parametrize("step", [1, 2, -1])
def test_long_arrays_are_whole(known: Callable[..., Participant], step: int) -> None:
    """Long arrays are copied in pieces: what does not fit is found in any of them."""
    length = 1_200_000
    participant = known("F32", length)
    weights = np.zeros(length * abs(step), np.float32)[::step]
    participant.set_model(weights)
    for index in (0, 600_000, length - 1):
        weights[index] = np.nan
        with pytest.raises(MISMATCH, match=f"weight {index} "):
            participant.set_model(weights)
        weights[index] = 0


def test_a_long_array_comes_out_whole(
    known: Callable[..., Participant], fake: FakeCoordinator
) -> None:
    length = 600_000
    participant = known("I32", length)
    one = wire.model([1])[8:]
    two = wire.model([2])[8:]
    fake.set("/model", struct.pack("<Q", length) + one * (length - 1) + two)
    model = participant.global_model(as_array=True)
    assert model is not None
    assert (model[:-1] == 1).all() and model[-1] == 2


@pytest.mark.parametrize("data_type", ALL)
def test_a_list_and_an_array_are_the_same_model(fake: FakeCoordinator, data_type: str) -> None:
    dtype = {"F32": "f4", "F64": "f8", "I32": "i4", "I64": "i8"}[data_type]
    # One third has more digits than a float; as integers both are 0 or 1.
    numbers = [1 / 3, 1.0] if data_type in FLOATS else [0, 1]
    fake.new_round(1, length=2, data_type=data_type, bound="B2")
    fake.set("/sums", wire.sum_dict())
    messages = []
    state = None
    for weights in (numbers, np.array(numbers), np.array(numbers, dtype)):
        if state is None:
            participant = Participant(fake.url, 1.0)
            state = participant.save()
        participant = Participant(fake.url, 1.0, state)
        fake.messages.clear()
        participant.set_model(weights)
        messages.append(fake.wait_for_message())
        participant.save()
    assert messages[0] == messages[1] == messages[2]


@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize(
    ("data_type", "weights", "expected"),
    [
        ("F32", [Fraction(1, 3), -2], [float(np.float32(1 / 3)), -2.0]),
        ("F64", [Fraction(1, 3), -2], [1 / 3, -2.0]),
        ("I32", [Fraction(7, 2), -2], [3, -2]),
        ("I64", [2**62 + 1, Fraction(-7, 2)], [2**62 + 1, -3]),
    ],
)
def test_global_models_have_the_coordinators_type(
    known: Callable[..., Participant],
    fake: FakeCoordinator,
    as_array: bool,
    data_type: str,
    weights: list[Fraction | int],
    expected: list[float],
) -> None:
    participant = known(data_type)
    fake.set("/model", wire.model(weights))
    model: Any = participant.global_model(as_array=as_array)
    if as_array:
        assert isinstance(model, np.ndarray)
        assert model.dtype == {"F32": "f4", "F64": "f8", "I32": "i4", "I64": "i8"}[data_type]
        model[0] += 0  # It is the user's own.
        model = model.tolist()
    assert model == expected
    assert list(map(type, model)) == list(map(type, expected))


def test_a_long_global_model_is_whole(
    known: Callable[..., Participant], fake: FakeCoordinator
) -> None:
    length = 40_000
    participant = known("F64", length)
    fake.set("/model", wire.model(list(range(length))))
    assert participant.global_model() == list(map(float, range(length)))


@pytest.mark.parametrize(
    ("data_type", "weight"), [("F32", 10**40), ("F64", 10**310), ("I32", 2**31), ("I64", -(2**64))]
)
def test_global_models_beyond_the_type_are_a_mismatch(
    known: Callable[..., Participant], fake: FakeCoordinator, data_type: str, weight: int
) -> None:
    participant = known(data_type)
    fake.set("/model", wire.model([0, weight]))
    with pytest.raises(xaynet_sdk.GlobalModelDataTypeMisMatch, match=f"weight 1 .*{data_type}"):
        participant.global_model()


@pytest.mark.parametrize("body", [b"", b"\x01", struct.pack("<Q", 2) + b"rubbish"])
def test_malformed_global_models_are_unavailable(
    known: Callable[..., Participant], fake: FakeCoordinator, body: bytes
) -> None:
    participant = known("F32")
    fake.set("/model", body)
    with pytest.raises(xaynet_sdk.GlobalModelUnavailable, match="cannot be read"):
        participant.global_model()

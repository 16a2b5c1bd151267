"""Numbers in whatever order, place and container: read as NumPy reads them, or refused."""

from __future__ import annotations

import array
import asyncio
import ctypes
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake as wire
import numpy as np
import pytest
from fake import FakeCoordinator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xaynet_sdk
from xaynet_sdk import aio, protocol, sealing
from xaynet_sdk.xaynet_sdk import Participant

MISMATCH = xaynet_sdk.LocalModelDataTypeMisMatch
Array = np.ndarray[Any, Any]

TYPES = ["f2", "f4", "f8", "g", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
WANTED = {"F32": "f4", "F64": "f8", "I32": "i4", "I64": "i8"}


# Places where numbers lie.


def plain(numbers: Array) -> Array:
    return numbers


def stepped(numbers: Array) -> Array:
    wide = np.zeros(3 * len(numbers), numbers.dtype)
    wide[::3] = numbers
    return wide[::3]


def backwards(numbers: Array) -> Array:
    return numbers[::-1].copy()[::-1]


def column(numbers: Array) -> Array:
    return np.stack([numbers, numbers], axis=1).copy(order="C")[:, 1]


def packed(numbers: Array) -> Array:
    """A field of records without padding: most of its numbers lie at odd addresses."""
    records = np.zeros(len(numbers), np.dtype([("kind", "u1"), ("value", numbers.dtype)]))
    records["value"] = numbers
    return records["value"]


def odd(numbers: Array) -> Array:
    memory = np.frombuffer(b"x" + numbers.tobytes(), np.uint8)
    return memory[1:].view(numbers.dtype)


def read_only(numbers: Array) -> Array:
    numbers = numbers.copy()
    numbers.flags.writeable = False
    return numbers


PLACES = [plain, stepped, backwards, column, packed, odd, read_only]


# Containers of them.


class WithArray:
    def __init__(self, numbers: Array) -> None:
        self.numbers = numbers

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return self.numbers


class WithInterface:
    def __init__(self, numbers: Array) -> None:
        self.numbers = numbers
        self.__array_interface__ = numbers.__array_interface__


class WithDlpack:
    """As a tensor of another library; it has no other byte order and no odd addresses."""

    def __init__(self, numbers: Array) -> None:
        numbers = np.array(numbers, numbers.dtype.newbyteorder("="))
        self.numbers = numbers.astype("f8") if numbers.dtype.char == "g" else numbers

    def __dlpack__(self, **how: Any) -> Any:
        return self.numbers.__dlpack__(**how)

    def __dlpack_device__(self) -> Any:
        return self.numbers.__dlpack_device__()


def as_it_is(numbers: Array) -> Any:
    return numbers


def viewed(numbers: Array) -> Any:
    if numbers.dtype.char == "g":
        # NumPy gives no view of long doubles whose order is named.
        return numbers
    return memoryview(numbers)  # type: ignore[arg-type, unused-ignore]


def listed(numbers: Array) -> Any:
    return list(numbers)


CONTAINERS = [as_it_is, viewed, listed, WithArray, WithInterface, WithDlpack]


@st.composite
def given_weights(draw: st.DrawFn) -> tuple[Array, Any]:
    """Numbers, and the same in a form that is drawn."""
    dtype = np.dtype(draw(st.sampled_from(TYPES))).newbyteorder(draw(st.sampled_from("<>")))
    low = 0 if dtype.kind == "u" else -100
    whole = draw(st.lists(st.integers(low, 100), min_size=4, max_size=4))
    scale = draw(st.sampled_from([1, 8])) if dtype.kind == "f" else 1
    numbers = (np.array(whole) / scale if scale > 1 else np.array(whole)).astype(dtype)
    place = draw(st.sampled_from(PLACES))
    container = draw(st.sampled_from(CONTAINERS))
    return numbers, container(place(numbers))


def machine(data_type: str, length: int = 4, scalar: float = 1.0) -> tuple[Any, Any]:
    """A participant that updates, with its coordinator, in a round whose models have such weights."""
    settings = {
        "pet.sum.prob": 0.000001,
        "pet.update.prob": 1.0,
        "pet.sum.time.max": 1,
        "mask.group_type": "Prime",
    }
    coordinator = protocol.CoordinatorMachine(
        length, mask=f"Prime/{data_type}/B6/M3", settings=settings, seed=bytes(32)
    )
    participant = protocol.ParticipantMachine(bytes(range(32)), scalar=scalar)
    for _ in protocol.exchange(participant, coordinator, 0.0):
        pass
    return participant, coordinator


def told(participant: Any) -> bytes:
    """All that a participant knows, its local model included."""
    state: bytes = participant.snapshot()
    return state


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(given_weights(), st.sampled_from(sorted(WANTED)))
def test_machines_read_what_numpy_reads(drawn: tuple[Array, Any], data_type: str) -> None:
    """Before and after the type is known, which are two ways through the code."""
    numbers, weights = drawn
    expected = numbers.astype(WANTED[data_type])
    whole = numbers.dtype.kind != "f"
    for known in (False, True):
        ours, theirs = (
            machine(data_type)[0] if known else protocol.ParticipantMachine(bytes(32))
            for _ in range(2)
        )
        if data_type.startswith("I") and not whole and known:
            with pytest.raises(MISMATCH):
                ours.handle_input(0.0, protocol.SetModel(weights))
            continue
        ours.handle_input(0.0, protocol.SetModel(weights))
        # It is kept as it was given: whichever type has the same numbers. Only what has eight bytes where four will do
        # is converted at once; all else when it is masked.
        theirs.handle_input(0.0, protocol.SetModel(expected))
        kept = as_any_type(theirs, np.asarray(numbers))
        assert told(ours) in (kept | {told(theirs)} if known else kept)


def as_any_type(participant: Any, numbers: Array) -> set[bytes]:
    """What a participant knows with a model of these numbers, of each type that has them."""
    state = told(participant)
    same = set()
    for tag, kind in enumerate(("<f4", "<f8", "<i4", "<i8")):
        if np.array_equal(numbers.astype(kind), numbers):
            weights = numbers.astype(kind).tobytes()
            model = tag.to_bytes(4, "little") + len(numbers).to_bytes(8, "little") + weights
            same.add(model)
    own = next(at for at in range(len(state)) if is_model(state[at:], len(numbers)))
    return {state[:own] + model for model in same}


def is_model(end: bytes, length: int) -> bool:
    """Whether the end of a state is a model of so many weights."""
    tag = int.from_bytes(end[:4], "little")
    size = 12 + length * {0: 4, 1: 8, 2: 4, 3: 8}.get(tag, 0)
    return len(end) == size and end[4:12] == length.to_bytes(8, "little")


@settings(max_examples=200, deadline=None)
@given(given_weights(), st.sampled_from(["float32", "float64"]))
def test_flatten_reads_what_numpy_reads(drawn: tuple[Array, Any], dtype: str) -> None:
    numbers, weights = drawn
    if numbers.dtype.kind != "f" or isinstance(weights, WithDlpack):
        return
    vector, layout = xaynet_sdk.flatten({"a": weights}, dtype)
    assert np.array_equal(vector, numbers.astype(dtype))
    assert vector.dtype == np.dtype(dtype) and vector.dtype.isnative
    # And back, from a vector in any form.
    back = np.concatenate([np.ravel(each) for each in flat(xaynet_sdk.unflatten(vector, layout))])
    assert np.array_equal(back.astype(dtype), vector)
    swapped = vector.astype(vector.dtype.newbyteorder(">"))
    for form in (swapped, packed(swapped), odd(swapped), viewed(swapped), swapped.tolist()):
        again = np.concatenate([np.ravel(each) for each in flat(layout.unflatten(form))])
        assert np.array_equal(again.astype(dtype), vector)


def flat(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [leaf for each in tree.values() for leaf in flat(each)]
    if isinstance(tree, list | tuple):
        return [leaf for each in tree for leaf in flat(each)]
    return [tree]


@pytest.mark.parametrize("data_type", sorted(WANTED))
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("place", PLACES)
def test_a_federation_of_such_arrays_has_their_mean(
    data_type: str, order: str, place: Callable[[Array], Array]
) -> None:
    weights = np.array([1, -2, 0, 3]) / (1 if data_type[0] == "I" else 4)
    given = place(weights.astype(np.dtype(WANTED[data_type]).newbyteorder(order)))
    result = xaynet_sdk.simulate(
        [lambda model: given] * 6,
        model_length=4,
        rounds=1,
        mask=f"Prime/{data_type}/B2/M3",
        progress=False,
    )
    assert np.allclose(result.model, weights, atol=1e-6)


@pytest.fixture
def updater(fake: FakeCoordinator) -> Iterator[Callable[[str], Participant]]:
    """Makes participants over HTTP, of the native class behind set_local_model and spawn_participant."""
    made: list[Participant] = []

    def make(data_type: str) -> Participant:
        fake.new_round(1, task="none", data_type=data_type, length=4, bound="Bmax")
        made.append(Participant(fake.url, 1.0))
        while not made[-1].rounds():
            made[-1].tick(30)
        return made[-1]

    yield make
    for participant in made:
        try:
            participant.save()
        except xaynet_sdk.UninitializedParticipant:
            pass


@pytest.mark.parametrize(
    "dtype", [f"{order}{kind}" for order in "<>" for kind in TYPES if kind != "g"]
)
@pytest.mark.parametrize("place", PLACES)
def test_the_native_class_sends_the_same(
    fake: FakeCoordinator, dtype: str, place: Callable[[Array], Array]
) -> None:
    """Two participants of the same identity mask the same weights in the same way."""
    numbers = np.array([1, 2, 0, 3], dtype)
    fake.new_round(1, length=4)
    fake.set("/sums", wire.sum_dict())
    first = Participant(fake.url, 1.0)
    while not first.rounds():
        first.tick(30)
    state = first.save()
    sent = []
    for weights in ([1.0, 2.0, 0.0, 3.0], place(numbers)):
        fake.messages.clear()
        participant = Participant(fake.url, 1.0, state)
        participant.set_model(weights)
        sent.append(fake.wait_for_message())
        participant.save()
    assert sent[0] == sent[1]


def test_long_arrays_in_the_other_order_are_whole() -> None:
    """They are decoded in pieces."""
    length = 1_200_001
    numbers = np.arange(length, dtype="f4") / length
    for form in (
        numbers.astype(">f4"),
        packed(numbers.astype(">f4")),
        stepped(numbers.astype(">f8")),
    ):
        ours, theirs = (protocol.ParticipantMachine(bytes(32)) for _ in range(2))
        ours.handle_input(0.0, protocol.SetModel(form))
        theirs.handle_input(0.0, protocol.SetModel(numbers.astype(form.dtype.newbyteorder("="))))
        assert told(ours) == told(theirs)


def test_a_mapped_file(tmp_path: Path) -> None:
    """Such as FITS, netCDF-3 and other files in network order, which nobody wants to copy first."""
    numbers = np.array([0.5, 0.25, -0.5, 1.0])
    path = tmp_path / "weights"
    path.write_bytes(b"head!" + numbers.astype(">f4").tobytes())
    for mode in ("r", "c", "r+"):
        mapped = np.memmap(path, ">f4", mode, offset=5, shape=(4,))  # type: ignore[call-overload, unused-ignore]
        ours, theirs = (protocol.ParticipantMachine(bytes(32)) for _ in range(2))
        ours.handle_input(0.0, protocol.SetModel(mapped))
        theirs.handle_input(0.0, protocol.SetModel(numbers.astype("f4")))
        assert told(ours) == told(theirs)


@pytest.mark.parametrize(
    "weights",
    [
        (ctypes.c_float * 4)(1, 2, 0, 3),
        (ctypes.c_double * 4)(1, 2, 0, 3),
        (ctypes.c_int16 * 4)(1, 2, 0, 3),
        (ctypes.c_float.__ctype_be__ * 4)(1, 2, 0, 3),
        (ctypes.c_int32.__ctype_be__ * 4)(1, 2, 0, 3),
        array.array("d", [1, 2, 0, 3]),
        memoryview(np.array([1, 2, 0, 3], "f2")),  # type: ignore[arg-type, unused-ignore]
        memoryview(np.array([1, 2, 0, 3], ">i8")),  # type: ignore[arg-type, unused-ignore]
    ],
    ids=lambda weights: type(weights).__name__,
)
def test_buffers_that_are_no_arrays(weights: Any) -> None:
    ours, theirs = (machine("F64")[0] for _ in range(2))
    ours.handle_input(0.0, protocol.SetModel(weights))
    theirs.handle_input(0.0, protocol.SetModel([1.0, 2.0, 0.0, 3.0]))
    assert told(ours) in as_any_type(theirs, np.array([1.0, 2.0, 0.0, 3.0]))


def test_every_half_float() -> None:
    """As NumPy has it: 63,488 are finite, in either order."""
    halves = np.arange(65_536, dtype=np.uint16).view("f2")
    finite = halves[np.isfinite(halves)]
    ours, theirs, swapped = (protocol.ParticipantMachine(bytes(32)) for _ in range(3))
    ours.handle_input(0.0, protocol.SetModel(finite))
    swapped.handle_input(0.0, protocol.SetModel(finite.astype(">f2")))
    theirs.handle_input(0.0, protocol.SetModel(finite.astype("f4")))
    assert told(ours) == told(swapped) == told(theirs)
    for value in halves[~np.isfinite(halves)][::100]:
        with pytest.raises(MISMATCH, match="finite"):
            ours.handle_input(0.0, protocol.SetModel(np.array([value], ">f2")))


@pytest.mark.parametrize(
    "weights",
    [
        np.array([True] * 4),
        np.array([1j] * 4, ">c8"),
        np.array([1] * 4, object),
        np.zeros(4, [("a", ">f4")]),
        np.zeros(4, "V4"),
        np.zeros(4, "M8[s]"),
        np.zeros((2, 2), ">f4"),
        np.array(1.0, ">f8"),
        np.ma.masked_greater(np.array([1, 2, 3, 4], ">f4"), 2),
        memoryview(np.ma.masked_greater(np.array([1, 2, 3, 4], "f4"), 2)),  # type: ignore[arg-type, unused-ignore]
        memoryview(b"abcd").cast("c"),
        memoryview(b"\0\1\0\1").cast("?"),
        WithInterface(np.array([True] * 4)),
        WithDlpack(np.zeros((2, 2), "f4")),
    ],
    ids=lambda weights: (
        f"{type(weights).__name__}-{getattr(weights, 'dtype', getattr(weights, 'format', ''))}"
    ),
)
def test_what_is_no_weights_is_refused(updater: Callable[[str], Participant], weights: Any) -> None:
    for data_type in WANTED:
        with pytest.raises(MISMATCH):
            machine(data_type)[0].handle_input(0.0, protocol.SetModel(weights))
    with pytest.raises(MISMATCH):
        protocol.ParticipantMachine(bytes(32)).handle_input(0.0, protocol.SetModel(weights))
    with pytest.raises(MISMATCH):
        updater("F32").set_model(weights)


def test_masked_vectors_are_not_loaded() -> None:
    vector, layout = xaynet_sdk.flatten([np.ones(4)])
    masked = np.ma.masked_greater(np.array([1, 2, 3, 4], "f4"), 2)
    for form in (masked, memoryview(masked)):  # type: ignore[arg-type, unused-ignore]
        with pytest.raises(xaynet_sdk.LayoutError, match="2 masked numbers"):
            layout.unflatten(form)
        with pytest.raises(xaynet_sdk.LayoutError, match="2 masked numbers"):
            layout.flatten([form])


def test_asyncio_reads_the_same(fake: FakeCoordinator) -> None:
    async def main() -> None:
        fake.new_round(1, length=4)
        fake.set("/sums", wire.sum_dict())
        async with aio.connect(
            fake.url, polling=protocol.Polling(0.01, 0.01, 1.0, 0.01)
        ) as participant:
            await anext(participant.rounds())
            with pytest.raises(xaynet_sdk.LocalModelDataTypeMisMatch, match="beyond the range"):
                # Garbage would be in range.
                await participant.submit(np.array([1e300, 0, 0, 0], ">f8"))
            assert await participant.submit(np.array([0.5, 0.25, 0, 0], ">f8"))

    asyncio.run(asyncio.wait_for(main(), 60))


# States are bytes, wherever they were kept.


STATE_FORMS: list[Callable[[bytes], Any]] = [
    bytes,
    bytearray,
    memoryview,
    list,
    tuple,
    lambda state: array.array("B", state),
    lambda state: array.array("i", list(state)),
    lambda state: np.frombuffer(state, np.uint8),
    lambda state: stepped(np.frombuffer(state, np.uint8)),
    lambda state: np.array(list(state)),
    lambda state: np.array(list(state), ">i2"),
    lambda state: packed(np.array(list(state), ">u8")),
    lambda state: (ctypes.c_ubyte * len(state)).from_buffer_copy(state),
]


@pytest.mark.parametrize("index", range(len(STATE_FORMS)))
def test_states_in_any_container(index: int) -> None:
    form = STATE_FORMS[index]
    first = protocol.ParticipantMachine(bytes(32))
    first.handle_input(0.0, protocol.SetModel([1.0, 2.0]))
    state = first.snapshot()
    assert protocol.ParticipantMachine(state=form(state)).snapshot() == state
    assert Participant("http://127.0.0.1:1", 1.0, form(state)).save() == state
    key = secrets.token_bytes(32)
    assert sealing.unseal(form(sealing.seal(form(state), key=key)), key=key) == state
    assert not sealing.is_sealed(form(state))
    coordinator = protocol.CoordinatorMachine(4, seed=bytes(32))
    kept = coordinator.snapshot()
    assert protocol.CoordinatorMachine(4, state=form(kept)).snapshot() == kept


@pytest.mark.parametrize(
    "wrong",
    [
        "text",
        7,
        [256],
        [-1],
        np.array([1.0, 2.0]),
        np.array([1, 300]),
        np.array([-1], "i1"),
        np.zeros(2, bool),
        np.zeros(2, object),
        array.array("d", [1.0]),
        [1.5],
    ],
    ids=repr,
)
def test_what_is_no_state_is_refused(wrong: Any) -> None:
    with pytest.raises(xaynet_sdk.ParticipantRestore, match="integers from 0 to 255"):
        sealing.seal(wrong, key=bytes(32))
    with pytest.raises(xaynet_sdk.ParticipantRestore):
        protocol.ParticipantMachine(state=wrong)
    with pytest.raises(xaynet_sdk.ParticipantRestore):
        Participant("http://127.0.0.1:1", 1.0, wrong)

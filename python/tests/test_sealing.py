"""Saved states that only a key or a passphrase opens."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from fake import FakeCoordinator

import xaynet_sdk
from xaynet_sdk import protocol, sealing

KEY = bytes(range(32))
# What version 1 has made of b"state", computed with PyNaCl and hashlib.
FIRST_KEY = (
    "UEVUawEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABp2Z1aSs0Vrg0hXii/"
    "AdQjkhLL2iLQHLeFCLRI4jKBr8BXnJhAMF67SuLCQVM="
)
FIRST_PASSPHRASE = (
    "UEVUawEAAQoIAAAAAQAAAGRlZmdoaWprbG1ub3BxcnMT4QdwKZIMCYMw6dyl"
    "5DHjulWpkua28T+DPaoxpsIsJMbDHfCkpRw5dGJoDTA="
)


def test_states_of_the_first_version_still_open() -> None:
    assert sealing.unseal(base64.b64decode(FIRST_KEY), key=KEY) == b"state"
    assert sealing.unseal(base64.b64decode(FIRST_PASSPHRASE), passphrase="käse") == b"state"
    with pytest.raises(xaynet_sdk.SealError, match="does not open"):
        sealing.unseal(base64.b64decode(FIRST_PASSPHRASE), passphrase="kase")


def test_a_state_of_the_second_version_is_not_taken_for_one_of_the_first() -> None:
    sealed = bytearray(sealing.seal(b"state", key=KEY))
    sealed[4] = 1
    with pytest.raises(xaynet_sdk.SealError, match="does not open"):
        sealing.unseal(sealed, key=KEY)


def test_a_key() -> None:
    sealed = sealing.seal(b"state", key=KEY)
    assert sealing.is_sealed(sealed)
    assert not sealing.is_sealed(b"state")
    assert b"state" not in sealed
    assert sealing.unseal(sealed, key=KEY) == b"state"
    assert sealing.unseal(list(sealed), key=KEY) == b"state"
    with pytest.raises(xaynet_sdk.SealError, match="does not open"):
        sealing.unseal(sealed, key=bytes(32))
    with pytest.raises(xaynet_sdk.SealError, match="sealed with a key: restore it with key="):
        sealing.unseal(sealed)
    with pytest.raises(xaynet_sdk.SealError, match="with a key"):
        sealing.unseal(sealed, passphrase="x")


def test_a_passphrase() -> None:
    one, other = (sealing.seal(b"state", passphrase="käse") for _ in range(2))
    assert one != other, "each has a salt of its own"
    assert sealing.unseal(one, passphrase="käse") == b"state"
    with pytest.raises(xaynet_sdk.SealError, match="does not open"):
        sealing.unseal(one, passphrase="wrong")
    with pytest.raises(xaynet_sdk.SealError, match="with a passphrase: restore it"):
        sealing.unseal(one, key=KEY)


def test_every_bit_counts() -> None:
    sealed = sealing.seal(b"state", key=KEY)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises((xaynet_sdk.SealError, xaynet_sdk.ParticipantRestore)):
            sealing.unseal(changed, key=KEY)
    for length in range(4, len(sealed)):
        with pytest.raises((xaynet_sdk.SealError, xaynet_sdk.ParticipantRestore)):
            sealing.unseal(sealed[:length], key=KEY)


def test_of_another_version() -> None:
    sealed = bytearray(sealing.seal(b"state", key=KEY))
    sealed[4] = 9
    with pytest.raises(
        xaynet_sdk.ParticipantRestore, match="version 9, this package reads versions up to 2"
    ):
        sealing.unseal(sealed, key=KEY)


def test_a_trap_costs_neither_time_nor_memory() -> None:
    sealed = bytearray(sealing.seal(b"state", passphrase="x"))
    for place in (11, 15):  # 2^24 times and more over the memory; terabytes of it
        trap = bytearray(sealed)
        trap[place] = 0xFF
        with pytest.raises(xaynet_sdk.ParticipantRestore, match="damaged"):
            sealing.unseal(trap, passphrase="x")
    first = bytearray(base64.b64decode(FIRST_PASSPHRASE))
    first[7] = 60  # 2^60 steps
    with pytest.raises(xaynet_sdk.ParticipantRestore, match="damaged"):
        sealing.unseal(first, passphrase="x")


def test_misuse() -> None:
    for key in (b"short", bytes(33)):
        with pytest.raises(ValueError, match="32 bytes"):
            sealing.seal(b"state", key=key)
    with pytest.raises(ValueError, match="not with both"):
        sealing.seal(b"state", key=KEY, passphrase="x")
    with pytest.raises(ValueError, match="sealed already"):
        sealing.seal(sealing.seal(b"state", key=KEY), key=KEY)
    with pytest.raises(xaynet_sdk.SealError, match="not sealed"):
        sealing.unseal(b"state", key=KEY)
    for nothing in (7, "state", [300]):
        with pytest.raises(xaynet_sdk.ParticipantRestore, match="bytes, or a list"):
            sealing.seal(nothing, key=KEY)  # type: ignore[arg-type]


def test_participants(fake: FakeCoordinator) -> None:
    participant, _ = xaynet_sdk.spawn_async_participant(fake.url)
    with pytest.raises(ValueError, match="32 bytes"):
        participant.stop(key=b"short")  # which has not stopped it
    sealed = participant.stop(passphrase="horse")
    for wrong in ({}, {"passphrase": "donkey"}, {"key": KEY}):
        with pytest.raises(xaynet_sdk.SealError):
            xaynet_sdk.spawn_async_participant(fake.url, state=sealed, **wrong)  # type: ignore[arg-type]
    participant, _ = xaynet_sdk.spawn_async_participant(fake.url, state=sealed, passphrase="horse")
    opened = participant.stop()
    assert sealing.unseal(sealed, passphrase="horse") == opened


def test_machines() -> None:
    machine = protocol.ParticipantMachine(seed=KEY)
    sealed = machine.snapshot(key=KEY)
    again = protocol.ParticipantMachine(state=sealed, key=KEY)
    assert again.public_key == machine.public_key
    with pytest.raises(xaynet_sdk.SealError):
        protocol.ParticipantMachine(state=sealed)


def test_a_state_of_another_version_of_the_core(fake: FakeCoordinator) -> None:
    participant, _ = xaynet_sdk.spawn_async_participant(fake.url)
    state = bytearray(participant.stop())
    # A version that nobody has written yet. (The next one may be that of states that know of more rounds.)
    state[4] = 200
    restore: list[Callable[[], object]] = [
        lambda: xaynet_sdk.spawn_async_participant(fake.url, state=state),
        lambda: protocol.ParticipantMachine(state=state),
    ]
    for attempt in restore:
        with pytest.raises(xaynet_sdk.ParticipantRestore, match="version .* reads version"):
            attempt()


def test_what_is_no_secret_is_told() -> None:
    with pytest.raises(ValueError, match="empty passphrase"):
        sealing.seal(b"state", passphrase="")
    with pytest.raises(TypeError, match="not bytes"):
        sealing.seal(b"state", passphrase=b"words")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="passphrase="):
        sealing.seal(b"state", key="k" * 32)  # type: ignore[arg-type]

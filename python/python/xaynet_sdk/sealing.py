"""Saved states that only a key or a passphrase opens."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable

from xaynet_sdk._types import State
from xaynet_sdk.xaynet_sdk import (
    ParticipantRestore,
    SealError,
    _seal,
    _state_bytes,
    _stretch,
    _unseal,
    _unseal_first,
)

__all__ = ["is_sealed", "seal", "unseal"]

_MAGIC = b"PETk"
# The first version has keys of passphrases by scrypt, and the cost in other units.
_FIRST, _VERSION = 1, 2
_HEAD = struct.Struct("<4sHBBII16s")
_KEY, _PASSPHRASE = 0, 1

# The cost of guessing a passphrase: Argon2id goes twice over 64 MiB, in about a tenth of a second.
_PASSES, _MEMORY_KIB = 2, 64 << 10
# A state that asks for more than a gibibyte to be opened is a trap.
_MAX_MEMORY = 1 << 30
_MAX_PASSES = 16


def seal(state: State, *, key: bytes | None = None, passphrase: str | None = None) -> bytes:
    """Encrypts and authenticates a saved state (XChaCha20-Poly1305; keys of passphrases by Argon2id).

    Args:
        state: What ``stop()`` or ``snapshot()`` gave.
        key: 32 random bytes, such as ``secrets.token_bytes(32)``.
        passphrase: Or a passphrase, which should not be a short one. With neither the state is given
            back as it is.

    Raises:
        ValueError: Both are given, the key has another length, or the state is sealed already.
    """
    return sealer(key, passphrase)(as_bytes(state))


def sealer(key: bytes | None, passphrase: str | None) -> Callable[[bytes], bytes]:
    """Like :func:`seal`, for a state that is yet to come: what can go wrong goes wrong before."""
    if not _asked(key, passphrase):
        return lambda content: content
    if passphrase == "":
        raise ValueError("an empty passphrase seals nothing: is it missing where it comes from?")
    if passphrase is None:
        head = _HEAD.pack(_MAGIC, _VERSION, _KEY, 0, 0, 0, bytes(16))
        secret = _checked(key)
    else:
        salt = os.urandom(16)
        head = _HEAD.pack(_MAGIC, _VERSION, _PASSPHRASE, 0, _PASSES, _MEMORY_KIB, salt)
        secret = _stretch(passphrase.encode(), salt, _PASSES, _MEMORY_KIB << 10)

    def seal_it(content: bytes) -> bytes:
        if content.startswith(_MAGIC):
            raise ValueError("the state is sealed already")
        return head + _seal(secret, head, content)

    return seal_it


def unseal(state: State, *, key: bytes | None = None, passphrase: str | None = None) -> State:
    """Opens what :func:`seal` gave. With neither key nor passphrase an open state is given back as it is.

    Raises:
        SealError: It was sealed with something else, or is not sealed, or is damaged.
        ParticipantRestore: It is no state, or one of a version that this package does not know.
    """
    sealed = as_bytes(state)
    asked = _asked(key, passphrase)
    if not is_sealed(sealed):
        if asked:
            raise SealError("the state is not sealed: restore it without key and passphrase")
        return state
    if len(sealed) < _HEAD.size:
        raise ParticipantRestore("the sealed state is damaged: it is cut short")
    _, version, kind, log_n, r, p, salt = _HEAD.unpack_from(sealed)
    if version not in (_FIRST, _VERSION):
        raise ParticipantRestore(
            f"the sealed state has version {version}, this package reads versions up to {_VERSION}: "
            "use the package that saved it"
        )
    head, body = sealed[: _HEAD.size], sealed[_HEAD.size :]
    if kind == _KEY:
        if key is None:
            raise SealError("the state is sealed with a key: restore it with key=...")
        secret = _checked(key)
    elif kind == _PASSPHRASE:
        if passphrase is None:
            raise SealError("the state is sealed with a passphrase: restore it with passphrase=...")
        if version == _FIRST:
            secret = _derived(passphrase, salt, log_n, r, p)
        else:
            if not 1 <= r <= _MAX_PASSES or not 8 <= p <= _MAX_MEMORY >> 10:
                raise ParticipantRestore(
                    "the sealed state is damaged: its passphrase cannot be used"
                )
            secret = _stretch(passphrase.encode(), salt, r, p << 10)
    else:
        raise ParticipantRestore("the sealed state is damaged: it is sealed in no known way")
    return _unseal_first(secret, body) if version == _FIRST else _unseal(secret, head, body)


def is_sealed(state: State) -> bool:
    """Whether a saved state is sealed."""
    return as_bytes(state).startswith(_MAGIC)


def as_bytes(state: State) -> bytes:
    """The state's bytes, whatever it was kept in."""
    return state if isinstance(state, bytes) else _state_bytes(state)


def _asked(key: bytes | None, passphrase: str | None) -> bool:
    if key is not None and passphrase is not None:
        raise ValueError("a state is sealed with a key or with a passphrase, not with both")
    if not isinstance(passphrase, str | None):
        raise TypeError(
            f"a passphrase is a str, not {type(passphrase).__name__}: decode it, or take a key"
        )
    return key is not None or passphrase is not None


def _checked(key: bytes | None) -> bytes:
    if isinstance(key, str):
        raise TypeError("a key is of 32 bytes, not a str: for words, take passphrase=...")
    if key is None or len(key) != 32:
        raise ValueError("a key has 32 bytes: make one with secrets.token_bytes(32)")
    return bytes(key)


# As the first version made keys of passphrases.
def _derived(passphrase: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    memory = 128 * r * (1 << min(log_n, 40)) + 128 * r * p
    if log_n < 1 or r < 1 or p < 1 or p > 16 or memory > _MAX_MEMORY:
        raise ParticipantRestore("the sealed state is damaged: its passphrase cannot be used")
    return hashlib.scrypt(
        passphrase.encode(), salt=salt, n=1 << log_n, r=r, p=p, maxmem=memory + (1 << 20), dklen=32
    )

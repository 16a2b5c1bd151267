"""Version 2 of the protocol: what a participant insists on, whatever a coordinator says."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from xaynet_sdk import xaynet_sdk
from xaynet_sdk.xaynet_sdk import ParticipantInit

__all__ = ["Budget", "Noise", "Pin", "PrivacyBudget"]

_Path: TypeAlias = str | os.PathLike[str]

#: What the native module takes: the roster's hash, the least number of updates, epsilon and delta.
_Native: TypeAlias = tuple[bytes, int, tuple[float, float] | None]

# The hash of a roster, and a credential, in hexadecimal digits.
_HASH_DIGITS = 64
_CREDENTIAL_DIGITS = 146


@dataclass(frozen=True, slots=True)
class Budget:
    """A privacy budget: what all rounds together may give away about this participant's data.

    A participant with a budget takes part only in rounds with noise, and stops before a round that would cost more than is
    left. With it, :attr:`PrivacyBudget.left` says what there is.
    """

    epsilon: float
    delta: float = 1e-5


@dataclass(frozen=True, slots=True)
class Pin:
    """What a participant of version 2 insists on.

    It takes part in rounds of this roster's groups only, and never in rounds of version 1.
    """

    #: The roster: its hash in hexadecimal digits, as ``pet-coordinator roster hash`` prints it, or a roster file.
    #: Get it from those who have signed it, not from the coordinator.
    roster: _Path
    #: The least number of models that this participant's may be added up with, itself included; at least 3.
    n_min: int = 3


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a round."""

    #: The standard deviation of each group's noise, in units of the sensitivity: z.
    multiplier: float
    #: The length (L2 norm) that the difference of a local model from the global one is clipped to: C.
    clip: float


@dataclass(frozen=True, slots=True)
class PrivacyBudget:
    """What a participant has spent of its privacy, in all rounds for which it has masked a model.

    It is in the saved state: whoever goes on from an older one forgets what was spent since.
    """

    #: What was spent, as an epsilon for :attr:`delta`; infinite after a round without noise.
    spent: float
    delta: float
    #: In how many rounds.
    rounds: int
    #: The epsilon of the budget; None without one.
    epsilon: float | None

    @property
    def left(self) -> float | None:
        """How much of the budget is left; None without one."""
        return None if self.epsilon is None else max(0.0, self.epsilon - self.spent)


def native_pin(roster: Pin | _Path | None, budget: object) -> _Native | None:
    """What the native module takes."""
    pair = _budget(budget)
    if roster is None:
        if pair is not None:
            raise ParticipantInit(
                "a budget is for rounds of version 2, which have noise: give roster= as well"
            )
        return None
    pin = roster if isinstance(roster, Pin) else Pin(roster)
    if isinstance(pin.n_min, bool) or not isinstance(pin.n_min, int) or pin.n_min < 0:
        raise ParticipantInit(f"n_min is a number of updates, 3 or more, not {pin.n_min!r}")
    return _hash_of(pin.roster), pin.n_min, pair


def native_credential(credential: bytes | _Path | None, roster: object) -> bytes | None:
    """The bytes of a credential: given as they are, in hexadecimal digits, or in a file."""
    if credential is None:
        return None
    if roster is None:
        raise ParticipantInit("a credential is for rounds of version 2: give roster= as well")
    if isinstance(credential, bytes | bytearray | memoryview):
        return bytes(credential)
    text = _text("credential", credential, _CREDENTIAL_DIGITS)
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ParticipantInit(
            f"the credential in {credential!r} is not in hexadecimal digits, as "
            "`pet-coordinator roster admit` writes it"
        ) from None


def native_identity(identity: bytes | _Path | None, state: object) -> bytes | None:
    """The 32 secret bytes of an identity: given as they are, or in a key file."""
    if identity is None:
        return None
    if state is not None:
        raise ParticipantInit(
            "a saved state has an identity already: give identity, or state, not both"
        )
    if isinstance(identity, bytes | bytearray | memoryview):
        return bytes(identity)
    text = _read("identity", identity).strip()
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ParticipantInit(
            f"{os.fspath(identity)} is no key file: it must hold 64 hexadecimal digits, as "
            "`pet-coordinator keys generate` writes them"
        ) from None


def privacy_budget(spent: tuple[float, float, int, float | None] | None) -> PrivacyBudget | None:
    return None if spent is None else PrivacyBudget(*spent)


def noise(native: tuple[float, float] | None) -> Noise | None:
    return None if native is None else Noise(*native)


def _budget(budget: object) -> tuple[float, float] | None:
    if budget is None:
        return None
    if not isinstance(budget, Budget):
        raise ParticipantInit(f"a budget is a xaynet_sdk.Budget(epsilon, delta), not {budget!r}")
    try:
        return float(budget.epsilon), float(budget.delta)
    except (TypeError, ValueError):
        raise ParticipantInit(f"epsilon and delta are numbers, and {budget!r} has others") from None


def _hash_of(roster: _Path) -> bytes:
    if isinstance(roster, str) and len(roster) == _HASH_DIGITS and _is_hex(roster):
        return bytes.fromhex(roster)
    if not isinstance(roster, str | os.PathLike):
        raise ParticipantInit(
            f"a roster is a xaynet_sdk.Pin, a roster file, or the roster's hash in {_HASH_DIGITS} hexadecimal "
            f"digits, not {roster!r}"
        )
    return xaynet_sdk._roster_hash(os.fspath(roster))


def _text(what: str, given: _Path, digits: int) -> str:
    if isinstance(given, str) and len(given) == digits and _is_hex(given):
        return given
    return _read(what, given).strip()


def _read(what: str, path: _Path) -> str:
    if not isinstance(path, str | os.PathLike):
        raise ParticipantInit(f"{what} is bytes or a file, not {path!r}")
    try:
        return Path(path).read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ParticipantInit(f"{what}: {os.fspath(path)} cannot be read: {error}") from error


def _is_hex(text: str) -> bool:
    return all(character in "0123456789abcdefABCDEF" for character in text)

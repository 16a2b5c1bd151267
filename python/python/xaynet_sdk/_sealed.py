"""A coordinator of version 2 with its committee, for simulations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xaynet_sdk import protocol
from xaynet_sdk.pin import Noise
from xaynet_sdk.xaynet_sdk import _SealedCoordinator

#: When simulations of version 2 begin, in seconds since 1970: their machines compare times with what was signed.
BEGINNING = 1_750_000_000.0


class SealedCoordinator:
    """What a :class:`protocol.CoordinatorMachine` is to a simulation of version 1."""

    def __init__(
        self,
        model_length: int,
        mask: str,
        groups: int,
        members: int,
        updaters: int,
        noise: Noise | None,
        seed: bytes,
        now: float,
        threads: int,
    ) -> None:
        self._native = _SealedCoordinator(
            model_length,
            mask,
            groups,
            members,
            3,
            max(updaters, 3),
            None if noise is None else (float(noise.multiplier), float(noise.clip)),
            seed,
            protocol._millis(now),
            threads,
        )

    @property
    def roster(self) -> str:
        """The hash of the roster."""
        return bytes(self._native.roster).hex()

    def credential(self, public_key: bytes) -> bytes:
        return self._native.credential(public_key)

    def handle_input(self, now: float, input: protocol.CoordinatorInput) -> None:
        """Time has passed; all else is done by itself."""
        self._native.tick(protocol._millis(now))

    def poll_output(self) -> protocol.CoordinatorOutput:
        name, *values = self._native.poll_output()
        make: Callable[..., protocol.CoordinatorOutput] = protocol._OUTPUTS[name]
        return make(*values)

    def request(self, now: float, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        return self._native.request(protocol._millis(now), method, path, body)

    def global_model(self) -> Any:
        return self._native.global_model(True)

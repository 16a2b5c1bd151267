"""What callbacks of all libraries have: a training that meets the federation."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

from xaynet_sdk._numbers import whole
from xaynet_sdk.adapters.exchange import Exchange
from xaynet_sdk.async_participant import AsyncParticipant


class Meeting:
    """When a training meets the federation, and with what."""

    def __init__(
        self,
        participant: AsyncParticipant,
        news: threading.Event,
        every: int | None,
        samples: float | None = None,
        metrics: Mapping[str, str] | None = None,
        timeout: float = math.inf,
    ) -> None:
        self._given = (participant, news)
        self._every = None if every is None else whole("every", every, 1)
        self._samples = samples
        self._metrics = dict(metrics or {})
        self._timeout = timeout
        #: Hands models over; there once training has begun.
        self.exchange: Exchange | None = None

    def is_due(self, done: int | None) -> bool:
        """Whether it is to meet after so many steps; without a number after an epoch, which is its time if none was named."""
        if self._every is None or done is None:
            return self._every is None and done is None
        return done % self._every == 0

    def begin(self, read: Callable[[], Any], write: Callable[[Any], object]) -> None:
        """Loads the global model, if there is one."""
        participant, news = self._given
        self.exchange = Exchange(
            participant,
            news,
            read=read,
            write=write,
            samples=self._samples,
            timeout=self._timeout,
        )
        self.exchange.begin()

    def swap(self, measured: Mapping[str, Any]) -> None:
        """Hands the model over, with metrics of what was measured, and goes on with the next global one."""
        if self.exchange is None:
            raise RuntimeError("training has not begun: give the callback to whatever trains")
        missing = next((name for name in self._metrics.values() if name not in measured), None)
        if missing is not None:
            raise ValueError(
                f"{missing!r} was not measured before the model is handed over; there is {', '.join(measured) or 'nothing'}"
            )
        told = {ours: float(measured[theirs]) for ours, theirs in self._metrics.items()}
        self.exchange.swap(told)

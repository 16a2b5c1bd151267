"""What callbacks of training libraries have in common: a training that goes on by itself, and meets the federation now and then.

An :class:`Exchange` is for any loop of yours as well::

    participant, news = xaynet_sdk.spawn_async_participant(url)
    exchange = Exchange(participant, news, read=lambda: layout.flatten(net), write=lambda vector: layout.unflatten(vector, into=net))
    exchange.begin()
    for epoch in range(100):
        train_one_epoch(net)
        exchange.swap()  # hands the local model over, and loads the next global one
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from xaynet_sdk._numbers import seconds
from xaynet_sdk.aggregation import Update
from xaynet_sdk.async_participant import AsyncParticipant
from xaynet_sdk.xaynet_sdk import GlobalModelUnavailable

__all__ = ["Exchange"]

# How long a wait goes on at most before it looks whether the user has pressed Ctrl-C, in seconds.
_SLICE = 0.5
# After how long it says that it still waits, in seconds.
_SAY_AFTER = 60.0

_log = logging.getLogger("participant")


class Exchange:
    """Hands local models over, and takes global ones.

    Args:
        participant, news: What :func:`xaynet_sdk.spawn_async_participant` has given.
        read: Gives the weights as they are, as one vector.
        write: Loads a vector of weights.
        samples: With an aggregation: on how many samples a local model is trained.
        timeout: How long to wait for the next global model, in seconds: after that training goes on with the local one. By
            default for ever; 0 does not wait at all, so that training goes on until a global model is there.
    """

    def __init__(
        self,
        participant: AsyncParticipant,
        news: threading.Event,
        *,
        read: Callable[[], Any],
        write: Callable[[Any], object],
        samples: float | None = None,
        timeout: float = math.inf,
    ) -> None:
        self._participant = participant
        self._news = news
        self._read = read
        self._write = write
        self._samples = samples
        self._timeout = seconds("timeout", timeout)
        #: How many global models were loaded.
        self.loaded = 0

    def begin(self) -> bool:
        """Loads the global model that there is already, if there is one: tells whether there is. Waits for the first contact with
        the coordinator, as :meth:`swap` does."""
        return self._load()

    def swap(
        self, metrics: Mapping[str, float] | None = None, counts: Mapping[str, float] | None = None
    ) -> bool:
        """Hands the local model over, waits for the next round, and loads its global model. If a round has begun while it was
        trained, its global model is loaded at once.

        Args:
            metrics, counts: With an aggregation: what it sums.

        Returns:
            Whether a global model was loaded. There is none as long as no round has ended with one; if a round has failed, it is the
            one of before, and the local model is kept for the next round.

        Raises:
            What :meth:`~xaynet_sdk.AsyncParticipant.set_local_model` and :meth:`~xaynet_sdk.AsyncParticipant.get_global_model` raise,
            but for a coordinator that is away for a while.
        """
        weights = self._read()
        if self._participant.has_aggregation:
            given = Update(weights, self._samples, metrics or {}, counts or {})
            self._participant.set_local_model(given)
        else:
            self._participant.set_local_model(weights)
        return self._load()

    def _load(self) -> bool:
        began = time.monotonic()
        say_at = began + _SAY_AFTER
        # A round has begun whose global model could not be had.
        again = False
        while True:
            left = began + self._timeout - time.monotonic()
            if self._news.wait(max(0.0, min(_SLICE, left))) or again:
                try:
                    model = self._participant.get_global_model(as_array=True)
                except GlobalModelUnavailable as error:
                    again = True
                    _log.warning("the global model could not be had: %s; it is tried again", error)
                else:
                    if model is None:
                        return False
                    self._write(model)
                    self.loaded += 1
                    return True
            if left <= 0:
                return False
            if time.monotonic() >= say_at:
                say_at += _SAY_AFTER
                waited = time.monotonic() - began
                _log.info(
                    "training waits for the next round's global model, for %.0f s now", waited
                )

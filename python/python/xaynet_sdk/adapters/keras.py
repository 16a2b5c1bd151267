"""A callback for Keras (needs keras 3; tested with 3.15 and JAX)::

participant, news = xaynet_sdk.spawn_async_participant("https://coordinator.example")
model.fit(x, y, epochs=20, callbacks=[FederatedCallback(participant, news)])
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any

import keras  # type: ignore[import-not-found, import-untyped, unused-ignore] # pyright: ignore[reportMissingImports]

from xaynet_sdk.adapters._meeting import Meeting
from xaynet_sdk.adapters.exchange import Exchange
from xaynet_sdk.async_participant import AsyncParticipant
from xaynet_sdk.layout import flatten, unflatten

__all__ = ["FederatedCallback"]


class FederatedCallback(keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
    """Hands the model over after each epoch, waits for the next round, and goes on with its global model.

    (Not after batches: Keras with JAX has the weights outside of the model during an epoch.)

    Args:
        participant, news: What :func:`xaynet_sdk.spawn_async_participant` has given. It is yours to stop.
        every: After how many epochs.
        samples: With an aggregation: how many samples this participant has.
        metrics: With an aggregation: from its metrics' names to those of Keras, such as ``{"loss": "loss"}``.
        timeout: See :class:`~xaynet_sdk.adapters.exchange.Exchange`.
    """

    def __init__(
        self,
        participant: AsyncParticipant,
        news: threading.Event,
        *,
        every: int = 1,
        samples: float | None = None,
        metrics: Mapping[str, str] | None = None,
        timeout: float = math.inf,
    ) -> None:
        super().__init__()
        self._meeting = Meeting(participant, news, every, samples, metrics, timeout)

    @property
    def exchange(self) -> Exchange | None:
        """Hands models over; there once training has begun."""
        return self._meeting.exchange

    def on_train_begin(self, logs: Any = None) -> None:
        """Loads the global model, if there is one."""
        model = self.model
        _, layout = flatten(model)
        self._meeting.begin(
            lambda: layout.flatten(model), lambda vector: unflatten(vector, layout, into=model)
        )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Meets the federation."""
        if self._meeting.is_due(epoch + 1):
            self._meeting.swap(logs or {})

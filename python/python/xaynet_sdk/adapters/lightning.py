"""A callback for Lightning (needs lightning, or pytorch-lightning; tested with 2.1)::

participant, news = xaynet_sdk.spawn_async_participant("https://coordinator.example")
trainer = lightning.Trainer(max_epochs=20, callbacks=[FederatedCallback(participant, news)])
trainer.fit(module, data)
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any, Literal

try:
    from lightning.pytorch import Callback  # type: ignore[import-not-found, import-untyped, unused-ignore] # pyright: ignore[reportMissingImports]
except ImportError:
    from pytorch_lightning import Callback  # type: ignore[import-not-found, import-untyped, unused-ignore] # pyright: ignore[reportMissingImports]

from xaynet_sdk.adapters._meeting import Meeting
from xaynet_sdk.adapters.exchange import Exchange
from xaynet_sdk.adapters.pytorch import weights_of
from xaynet_sdk.async_participant import AsyncParticipant

__all__ = ["FederatedCallback"]


class FederatedCallback(Callback):  # type: ignore[misc, unused-ignore]
    """Hands the model over, waits for the next round, and goes on with its global model.

    Args:
        participant, news: What :func:`xaynet_sdk.spawn_async_participant` has given. It is yours to stop.
        every: After how many batches; None: after each epoch.
        weights: ``all`` of the module, or what is ``trainable``.
        samples: With an aggregation: how many samples this participant has.
        metrics: With an aggregation: from its metrics' names to those that the module logs, such as ``{"loss": "train_loss"}``.
        timeout: See :class:`~xaynet_sdk.adapters.exchange.Exchange`.
    """

    def __init__(
        self,
        participant: AsyncParticipant,
        news: threading.Event,
        *,
        every: int | None = None,
        weights: Literal["all", "trainable"] = "all",
        samples: float | None = None,
        metrics: Mapping[str, str] | None = None,
        timeout: float = math.inf,
    ) -> None:
        super().__init__()
        self._meeting = Meeting(participant, news, every, samples, metrics, timeout)
        self._which = weights
        self._batches = 0

    @property
    def exchange(self) -> Exchange | None:
        """Hands models over; there once training has begun."""
        return self._meeting.exchange

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Loads the global model, if there is one."""
        weights = weights_of(pl_module, self._which)
        self._meeting.begin(weights.read, weights.write)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        """Meets the federation every so many batches."""
        self._batches += 1
        if self._meeting.is_due(self._batches):
            self._meeting.swap(trainer.callback_metrics)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Meets the federation after each epoch."""
        if self._meeting.is_due(None):
            self._meeting.swap(trainer.callback_metrics)

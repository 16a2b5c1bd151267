"""A callback for ``transformers.Trainer`` (needs transformers; tested with 4.41 and PyTorch 1.13, and LoRA by peft 0.11)::

    participant, news = xaynet_sdk.spawn_async_participant("https://coordinator.example")
    trainer = Trainer(model, arguments, train_dataset=data)
    trainer.add_callback(FederatedCallback(participant, news, every=100, weights="trainable"))
    trainer.train()

Training goes on as it would, and meets the federation every so many steps, or after each epoch.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any, Literal

from transformers import TrainerCallback  # type: ignore[import-not-found, import-untyped, unused-ignore] # pyright: ignore[reportMissingImports]

from xaynet_sdk.adapters._meeting import Meeting
from xaynet_sdk.adapters.exchange import Exchange
from xaynet_sdk.adapters.pytorch import weights_of
from xaynet_sdk.async_participant import AsyncParticipant

__all__ = ["FederatedCallback"]


class FederatedCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Hands the model over, waits for the next round, and goes on with its global model.

    Args:
        participant, news: What :func:`xaynet_sdk.spawn_async_participant` has given. It is yours to stop.
        every: After how many optimisation steps; None: after each epoch.
        weights: ``all`` of the model, or what is ``trainable``: for LoRA, or a frozen body.
        samples: With an aggregation: how many samples this participant has.
        metrics: With an aggregation: from its metrics' names to those of what the trainer logs last, such as ``{"loss": "loss"}``.
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
        self._meeting = Meeting(participant, news, every, samples, metrics, timeout)
        self._which = weights
        self._logged: dict[str, float] = {}

    @property
    def exchange(self) -> Exchange | None:
        """Hands models over; there once training has begun."""
        return self._meeting.exchange

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Loads the global model, if there is one."""
        weights = weights_of(kwargs["model"], self._which)
        self._meeting.begin(weights.read, weights.write)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Remembers what the trainer logs."""
        self._logged |= logs or {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Meets the federation every so many steps."""
        if self._meeting.is_due(state.global_step):
            self._meeting.swap(self._logged)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Meets the federation after each epoch."""
        if self._meeting.is_due(None):
            self._meeting.swap(self._logged)

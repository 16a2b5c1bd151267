"""What became of a participant's local models."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["UpdateOutcome"]


@dataclass(frozen=True, slots=True)
class UpdateOutcome:
    """What became of a local model.

    A model that was accepted counts in the round's global model, unless the round fails later on: then there is a
    second outcome, ``round_failed``. In version 2 there is always a second one, once it is known: ``certified``,
    ``left_out`` or ``round_failed``.
    """

    #: ``accepted``: the coordinator has it. (Coordinators of old do not tell: there it was sent.)
    #: ``late``: it was not ready, or not sent, before the round, or its update phase, had ended, or there were enough
    #: already; it was dropped.
    #: ``rejected``: the coordinator does not take it, or it could not be made into a message.
    #: ``round_failed``: it was accepted, and then the round failed. (Coordinators of old do not tell.)
    #: ``certified``: version 2: it was accepted, and it is proven to be in the global model, which has a certificate.
    #: ``left_out``: version 2: it was accepted, and it is not in the global model: the round's reports say why.
    kind: Literal["accepted", "late", "rejected", "round_failed", "certified", "left_out"]
    #: Why, for people; empty if it was accepted.
    reason: str = ""
    #: Where it is certified or left out: the number of the round, and of how many models the global one is the mean.
    round: int | None = None
    count: int | None = None


class OutcomeTracker:
    """Finds the outcomes in what a participant tells."""

    def __init__(self, tell: Callable[[UpdateOutcome], object]) -> None:
        self._tell = tell
        # A model that was set is `set` until it is masked, then on its way; `accepted` until the round is over.
        self._model: Literal["none", "set", "masked", "accepted"] = "none"
        # Whether an accepted model's round is over, and nobody has told yet how it ended.
        self._awaited = False
        #: To be held while a model is set, if that is done by another thread.
        self.lock = threading.RLock()

    def model_set(self) -> None:
        """A local model was handed over."""
        with self.lock:
            if self._model != "masked":
                self._model = "set"

    def late(self, reason: str) -> None:
        """A model was not even handed over."""
        self._tell(UpdateOutcome("late", reason))

    def take_in(self, name: str, *values: Any) -> None:
        """One of a participant's news."""
        told: UpdateOutcome | None = None
        with self.lock:
            match name, values:
                case "masked", ():
                    self._model = "masked"
                case "sent", ():
                    self._model = "accepted"
                    told = UpdateOutcome("accepted")
                case "rejected", (late, reason):
                    self._model = "none"
                    told = UpdateOutcome("late" if late else "rejected", reason)
                case "gave_up", (reason,):
                    if self._model in ("set", "masked"):
                        told = UpdateOutcome("rejected", reason)
                        self._model = "none"
                case "outdated", ():
                    self._model = "none"
                    told = UpdateOutcome(
                        "late", "the next round had begun before the model could be sent"
                    )
                case "round", ():
                    self._awaited = self._model == "accepted"
                    if self._model == "masked":
                        told = UpdateOutcome("late", "the next round had begun before it was sent")
                    if self._model != "set":
                        self._model = "none"
                # Where the round's end is told before the next one begins: in simulations.
                case "failed", (why,):
                    if self._model == "accepted":
                        told = UpdateOutcome("round_failed", why)
                        self._model = "none"
                case "completed", ():
                    if self._model == "accepted":
                        self._model = "none"
                case "certified", (number, count, included):
                    if included is True:
                        told = UpdateOutcome("certified", "", number, count)
                    elif included is False:
                        why = "it is not among those that the groups have agreed on"
                        told = UpdateOutcome("left_out", why, number, count)
                    if included is not None and self._model == "accepted":
                        self._model = "none"
                case "not_certified", (number, why):
                    told = UpdateOutcome("round_failed", why, number)
                    if self._model == "accepted":
                        self._model = "none"
                case "over", (_, reason, why):
                    # The first round to be over is the one that it was accepted in.
                    if self._awaited and reason is not None:
                        told = UpdateOutcome("round_failed", why)
                    self._awaited = False
        if told is not None:
            self._tell(told)

"""A coordinator in this process."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from xaynet_sdk._handle import NotCopied
from xaynet_sdk._numbers import seconds, whole
from xaynet_sdk._settings import flat_settings, with_defaults
from xaynet_sdk._types import Weights
from xaynet_sdk.aggregation import Aggregate, WeightedMean
from xaynet_sdk.optimizers import ServerOptimizer
from xaynet_sdk.xaynet_sdk import _advice, _CoordinatorServer

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Coordinator"]

# Nobody who sits before a notebook wants to wait; yet participants, who ask a few times a second, must have
# the time to take part.
_QUICK: Mapping[str, object] = {
    "pet.sum.time.min": 0.5,
    # Where nobody of a few is drawn to sum, the next draw is not to be waited for long.
    "pet.sum.time.max": 10,
    "pet.update.time.min": 0.5,
    # Where too few of a few are drawn to train, the messages that are missing never come. Long enough for a training.
    "pet.update.time.max": 300,
    "pet.sum2.time.min": 0.5,
}


class Coordinator(NotCopied):
    """The real coordinator, on a port of this machine: for notebooks, tests and demonstrations.

    It has the defaults of the program ``pet-coordinator``, except that phases end as soon as enough
    messages are there (after half a second, that is), that a round for which nobody was drawn to sum ends after
    ten seconds and one for which too few were drawn to train after five minutes, that the port is a free one, and that it
    keeps everything in memory::

        with xaynet_sdk.Coordinator(model_length=10) as coordinator:
            participant = xaynet_sdk.spawn_participant(coordinator.url, MyParticipant)

    Args:
        model_length: How many weights a model has.
        mask: How models are masked, such as ``Prime/F32/B0/M3``: group, data type, bound, number of
            models.
        settings: Anything of the coordinator's settings file, by its dotted key or in nested tables,
            such as ``{"pet.sum.prob": 0.4}``.
        bind: The address to listen on. The default is for this machine only, on any free port.
        seed: 32 bytes from which all keys are derived: for tests that are the same every time.
        aggregation: That of the participants, if they have one: then there are as many weights more as it sums beside the
            model, and :meth:`global_model` gives the model alone.
        initial_model: What the first round begins with, to train it further: participants get it as the global model of
            round 0, instead of None.
        optimizer: What becomes of the mean of a round, such as :class:`xaynet_sdk.FedAdam`: then the global model is a step
            from the last one towards the mean, the same as in :func:`xaynet_sdk.simulate`. Without it (and in the first round, if
            there is no ``initial_model``) it is the mean. The object only says which: the coordinator keeps the state.

    Raises:
        CoordinatorInit: Settings are wrong (all mistakes are told at once), the initial model does not fit, or the address is
            taken.
    """

    def __init__(
        self,
        model_length: int,
        *,
        mask: str | None = None,
        settings: Mapping[str, object] | None = None,
        bind: str = "127.0.0.1:0",
        seed: bytes | None = None,
        aggregation: WeightedMean | None = None,
        initial_model: Weights | None = None,
        optimizer: ServerOptimizer | None = None,
    ) -> None:
        self._aggregation = aggregation
        if aggregation is not None:
            model_length = aggregation.length(model_length)
            if initial_model is not None:
                initial_model = aggregation.begin_with(initial_model)
        defaults = {**_QUICK, "api.bind_address": bind}
        if optimizer is not None:
            if not isinstance(optimizer, ServerOptimizer):
                raise TypeError(f"optimizer is one such as FedAdam(), and not {optimizer!r}")
            defaults |= optimizer.settings()
            if aggregation is not None:
                defaults["pet.optimizer.beside_model"] = aggregation.extra
        all_settings = with_defaults(defaults, settings)
        self._native = _CoordinatorServer(
            flat_settings(model_length, mask, all_settings), seed, initial_model
        )

    @property
    def url(self) -> str:
        """The URL for participants."""
        return self._native.url

    def status(self) -> dict[str, Any]:
        """What the coordinator is doing: round, phase, messages; the same as ``GET /status``."""
        status: dict[str, Any] = json.loads(self._native.status())
        return status

    def rounds(self) -> list[int]:
        """The numbers of the rounds that have ended with a global model that is still kept."""
        return self._native.rounds()

    def wait_for_round(self, round_id: int, timeout: float = 60.0) -> None:
        """Waits until there is a global model of this round or a later one.

        Raises:
            TimeoutError: There is none after so many seconds: why rounds have failed, and what to do about it, is
                told.
        """
        whole("round_id", round_id, 1)
        deadline = time.monotonic() + seconds("timeout", timeout)
        while (self.rounds() or [0])[-1] < round_id:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"no global model of round {round_id} within {timeout} s: {summary(self.status())}"
                )
            time.sleep(0.02)

    @overload
    def global_model(
        self, round_id: int | None = None, *, as_array: Literal[True] = True
    ) -> npt.NDArray[Any] | None: ...
    @overload
    def global_model(
        self, round_id: int | None = None, *, as_array: Literal[False]
    ) -> list[float] | None: ...

    def global_model(self, round_id: int | None = None, *, as_array: bool = True) -> Any:
        """The global model of a round, or the latest one; None if there is none, or if it is no longer kept."""
        if round_id is None:
            kept = self.rounds()
            if not kept:
                return None
            round_id = kept[-1]
        if self._aggregation is None:
            return self._native.global_model(round_id, as_array)
        aggregate = self.aggregate(round_id)
        if aggregate is None:
            return None
        return aggregate.model if as_array else aggregate.model.tolist()

    def aggregate(self, round_id: int | None = None) -> Aggregate | None:
        """What has come of the participants' updates in a round, or in the latest: the global model, and what was summed
        beside it. None if there is none, or if it is no longer kept."""
        if self._aggregation is None:
            raise TypeError(
                "this coordinator has no aggregation: give it that of the participants, or ask for global_model"
            )
        if round_id is None:
            kept = self.rounds()
            if not kept:
                return None
            round_id = kept[-1]
        vector = self._native.global_model(round_id, True)
        return None if vector is None else self._aggregation.unpack(vector)

    def stop(self, timeout: float = 2.0) -> None:
        """Stops, after answering the requests in flight for at most so many seconds. Once is enough."""
        self._native.stop(seconds("timeout", timeout))

    def __enter__(self) -> Self:
        # Raises if it was stopped.
        self._native.rounds()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Coordinator at {self.url}>"


def summary(status: Mapping[str, Any]) -> str:
    """What a coordinator waits for, and why rounds have failed, in a sentence."""
    phase, failed = status["phase"], status["totals"]["failed"]
    has = f"it is in the {phase['name']} phase of round {status['round']['id']}"
    if phase["min_count"] is not None:
        has += f" and has {phase['accepted']} of at least {phase['min_count']} messages"
    if not failed:
        return f"{has}; no round has failed"
    reasons = ", ".join(f"{count} for {reason}" for reason, count in sorted(failed.items()))
    last = next((each for each in reversed(status["rounds"]) if each["failure"]), None)
    why = f"{has}; {sum(failed.values())} rounds have failed ({reasons})"
    if last is None:
        return why
    failure = last["failure"]
    return (
        f"{why}, round {last['id']} at last in its {failure['phase']} phase: {failure['message']}. "
        f"{_advice(failure['reason'])}"
    )

"""A participant that takes local models at any time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from xaynet_sdk import xaynet_sdk
from xaynet_sdk._handle import NotCopied
from xaynet_sdk._log import ParticipantLog
from xaynet_sdk._saved import SavedState
from xaynet_sdk._types import State, Weights
from xaynet_sdk.aggregation import Aggregate, Update, WeightedMean, packed
from xaynet_sdk.outcome import OutcomeTracker, UpdateOutcome
from xaynet_sdk.pin import (
    Budget,
    Noise,
    Pin,
    PrivacyBudget,
    _Path,
    native_credential,
    native_identity,
    native_pin,
    noise,
    privacy_budget,
)
from xaynet_sdk.sealing import sealer
from xaynet_sdk.tls import Tls

if TYPE_CHECKING:
    import numpy.typing as npt

# The longest wait in one go, in seconds; whatever happens ends it earlier.
_TICK = 10.0


class AsyncParticipant(NotCopied, threading.Thread):
    """A handle to a participant, made by :func:`xaynet_sdk.spawn_async_participant`.

    The thread only sets the event; the participant's work is done natively, beside the interpreter.
    """

    def __init__(
        self,
        coordinator_url: str,
        notifier: threading.Event,
        state: State | None,
        scalar: float,
        *,
        timeout: float = 60.0,
        tls: Tls | None = None,
        keep_models: bool = True,
        on_update_outcome: Callable[[UpdateOutcome], object] | None = None,
        max_message_size: int | None = None,
        roster: Pin | _Path | None = None,
        credential: bytes | _Path | None = None,
        identity: bytes | _Path | None = None,
        budget: Budget | None = None,
        state_file: _Path | None = None,
        aggregation: WeightedMean | None = None,
    ) -> None:
        super().__init__(daemon=True)
        self._aggregation = aggregation
        self._native = xaynet_sdk.Participant(
            coordinator_url,
            scalar,
            state,
            timeout=timeout,
            tls=None if tls is None else tls._files(),
            keep_models=keep_models,
            max_message_size=max_message_size,
            pin=native_pin(roster, budget),
            credential=native_credential(credential, roster),
            identity=native_identity(identity, state),
            state_file=None if state_file is None else os.fspath(state_file),
        )
        self._keep_models = keep_models
        self._log = ParticipantLog(self._native.public_key)
        self.name = f"xaynet-async-participant-{self._log.participant}"
        self._on_update_outcome = on_update_outcome
        self._outcomes = OutcomeTracker(self._tell_outcome)
        self._notifier = notifier

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops the participant if it was not stopped yet. (Not in Xaynet.)"""
        with suppress(xaynet_sdk.UninitializedParticipant):
            self._native.close()

    def run(self) -> None:
        rounds = 0
        try:
            while True:
                self._native.tick(_TICK)
                for news in self._native._news():
                    self._outcomes.take_in(*news)
                if self._native.rounds() != rounds:
                    rounds = self._native.rounds()
                    self._notifier.set()
        except xaynet_sdk.UninitializedParticipant:
            return
        except BaseException:
            # Nobody would announce anything any more: whoever waits is woken, and the next call raises.
            try:
                self._log.critical("the participant's thread ends", exc_info=True)
            finally:
                with suppress(xaynet_sdk.UninitializedParticipant):
                    self._native.close()
                self._notifier.set()

    def _tell_outcome(self, outcome: UpdateOutcome) -> None:
        self._log.debug("what has become of the local model: %s %s", outcome.kind, outcome.reason)
        if self._on_update_outcome is None:
            return
        try:
            self._on_update_outcome(outcome)
        except Exception:
            self._log.exception("on_update_outcome has raised an exception")

    @property
    def has_aggregation(self) -> bool:
        """Whether local models are to be given as :class:`xaynet_sdk.Update`, for its aggregation. (Not in Xaynet.)"""
        return self._aggregation is not None

    @overload
    def get_global_model(self, as_array: Literal[False] = False) -> list[float] | None: ...
    @overload
    def get_global_model(self, as_array: Literal[True]) -> npt.NDArray[Any] | None: ...
    @overload
    def get_global_model(self, as_array: bool) -> list[float] | npt.NDArray[Any] | None: ...

    def get_global_model(self, as_array: bool = False) -> Any:
        """Fetches the global model, None while there is none, and clears the event.

        With an ``aggregation`` of :func:`xaynet_sdk.spawn_async_participant` it is the model alone, without what is summed
        beside it: :meth:`get_aggregate` gives all.

        Args:
            as_array: Give a NumPy array of the coordinator's data type, made without any work per
                weight, instead of a list. (Not in Xaynet.)

        Raises:
            GlobalModelUnavailable: The coordinator cannot be reached; try again later. The event is
                cleared nevertheless, so that a loop that waits for it does not spin.
            GlobalModelLengthMisMatch: The model is of another setup of the coordinator, or the coordinator lies.
            GlobalModelDataTypeMisMatch: The model has weights that its data type does not have.
            Refused: Version 2: this participant does not go on as things are; a subclass says what is wrong, who is to
                blame, and what to do.
            UninitializedParticipant: The participant was stopped.
            LocalModelLengthMisMatch, LocalModelDataTypeMisMatch: A local model that was set before
                the first contact with the coordinator, or for another configuration of it, does not
                fit and was dropped. The call has done nothing else, and the event is as it was:
                repeat it.
            AggregationError: The global model is no mean of the aggregation's vectors.
        """
        if self._aggregation is None:
            return self._get(as_array)
        aggregate = self.get_aggregate()
        if aggregate is None:
            return None
        return aggregate.model if as_array else aggregate.model.tolist()

    def get_aggregate(self) -> Aggregate | None:
        """Fetches what has come of all participants' updates, metrics included, and clears the event; None while there is
        no global model. Raises what :meth:`get_global_model` raises. (Not in Xaynet.)"""
        if self._aggregation is None:
            raise TypeError(
                "this participant has no aggregation: give one to spawn_async_participant, or ask get_global_model"
            )
        vector = self._get(True)
        return None if vector is None else self._aggregation.unpack(vector)

    def _get(self, as_array: bool) -> Any:
        announced = self._notifier.is_set()
        # Before the fetch, so that a model that becomes available during it is announced again.
        self._notifier.clear()
        try:
            return self._native.global_model(as_array)
        except (xaynet_sdk.LocalModelLengthMisMatch, xaynet_sdk.LocalModelDataTypeMisMatch):
            if announced:
                self._notifier.set()
            raise

    def set_local_model(self, local_model: Weights | Update) -> None:
        """Sets the local model, to be used when the participant is next an update participant.

        A later call replaces a model that was not yet used. It may be called at any time; before the
        first contact with the coordinator the model is kept, and checked when its type and length
        are known. If it does not fit then, that is logged, and raised by the next call of this method
        or of :meth:`get_global_model`.

        With ``keep_models=False`` of :func:`xaynet_sdk.spawn_async_participant` a model counts for the round whose
        global model was fetched last, and for no other: if that round is over, it is dropped, as is one that was not
        used by the time that the next round begins. ``on_update_outcome`` is told.

        Args:
            local_model: With an ``aggregation``, a :class:`xaynet_sdk.Update`. Otherwise a list of numbers, or a one-dimensional array or buffer of them. It is
                copied. For a coordinator of floats, numbers of any real type are taken and rounded;
                for one of integers, only integers.

        Raises:
            LocalModelLengthMisMatch: It has another number of weights than the global model.
            LocalModelDataTypeMisMatch: It has weights that the coordinator's data type does not have.
            UninitializedParticipant: The participant was stopped.
        """
        weights = packed(self._aggregation, local_model)
        with self._outcomes.lock:
            fetched_in = 0 if self._keep_models else self._native._fetched_in()
            if fetched_in == 0:
                self._native.set_model(weights)
                taken = True
            else:
                taken = self._native._set_model_for(weights, fetched_in)
            if taken:
                self._outcomes.model_set()
        if not taken:
            self._outcomes.late("the round whose global model was fetched last is over")

    @property
    def budget(self) -> PrivacyBudget | None:
        """What was spent of the privacy of this participant's data, and what is left; None in version 1. (Not in
        Xaynet.)

        Raises:
            UninitializedParticipant: The participant was stopped.
        """
        return privacy_budget(self._native._spent())

    @property
    def noise(self) -> Noise | None:
        """The noise of the current round, if there is any. (Not in Xaynet.)

        Raises:
            UninitializedParticipant: The participant was stopped.
        """
        return noise(self._native._noise())

    def stop(self, *, key: bytes | None = None, passphrase: str | None = None) -> SavedState:
        """Stops the participant at once and gives its state, to be restored with: a list of integers, and bytes where
        those are asked for.

        The state holds the participant's secret keys, and a local model that was not yet used. With a key
        (32 bytes) or a passphrase it is sealed: see :mod:`xaynet_sdk.sealing`. (Not in Xaynet.)

        Raises:
            UninitializedParticipant: The participant was stopped before.
        """
        seal = sealer(key, passphrase)
        return SavedState(seal(bytes(self._native.save())))

"""A participant that calls your class."""

from __future__ import annotations

import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType
from typing import Any, ClassVar, Generic, NoReturn, Self, TypeVar

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

#: What a participant trains on: the deserialized global model.
TrainingInput = TypeVar("TrainingInput")
#: What its training gives.
TrainingResult = TypeVar("TrainingResult")

# The longest wait in one go, in seconds; whatever happens ends it earlier.
_TICK = 1.0
# How long stop() waits for methods of the user's that should be short, in seconds.
_GRACE = 2.0


class ParticipantABC(ABC, Generic[TrainingInput, TrainingResult]):
    """The base class of participants: derive from it, and pass your class to
    :func:`xaynet_sdk.spawn_participant`.

    It is instantiated on the participant's thread, and all methods are called there.
    """

    #: Whether :meth:`deserialize_training_input` gets a NumPy array of the coordinator's data type,
    #: made without any work per weight, instead of a list. (Not in Xaynet.)
    global_model_as_array: ClassVar[bool] = False

    @abstractmethod
    def train_round(self, training_input: TrainingInput | None) -> TrainingResult:
        """Trains a model, when this participant is chosen to update the global model.

        Called at most once a round. If it takes longer than the round, its result is dropped, as
        :meth:`on_update_outcome` is told: it was trained on another global model than the next round's. (With
        ``keep_models`` of :func:`xaynet_sdk.spawn_participant` it is used in the next round that this
        participant is chosen for, as in Xaynet.)

        Args:
            training_input: The deserialized global model, or None if there is none yet.
        """

    @abstractmethod
    def serialize_training_result(self, training_result: TrainingResult) -> Weights | Update:
        """Makes a flat list of the coordinator's data type from what :meth:`train_round` gave.

        A one-dimensional NumPy array, or any other buffer, does as well, and costs much less. With an ``aggregation`` of
        :func:`xaynet_sdk.spawn_participant` it gives a :class:`xaynet_sdk.Update`.
        """

    @abstractmethod
    def deserialize_training_input(self, global_model: Any) -> TrainingInput:
        """Makes what :meth:`train_round` takes from a flat list (with :attr:`global_model_as_array`: an
        array). Not called while there is no global model."""

    def participate_in_update_task(self) -> bool:
        """Whether to train in this round.

        Asked once in a round for which this participant is chosen to update.
        """
        return True

    def on_new_global_model(self, global_model: TrainingInput | None) -> None:
        """Called with the deserialized global model when a round begins, which is when there may be a
        new one; with None while there is none."""

    def on_aggregate(self, aggregate: Aggregate) -> None:
        """Called before :meth:`on_new_global_model`, if there is a global model and an ``aggregation``: with what has come
        of all participants' updates, metrics included. Does nothing unless it is overridden. (Not in Xaynet.)"""

    def on_update_outcome(self, outcome: UpdateOutcome) -> None:
        """Called with what became of a trained model: see :class:`xaynet_sdk.UpdateOutcome`. Does nothing
        unless it is overridden. (Not in Xaynet.)"""

    def on_stop(self) -> None:
        """Called before the participant's thread ends."""

    def on_error(self, error: Exception) -> bool:
        """Called when one of the other methods has raised an exception, or has given a model that
        cannot be used. The participant goes on, with the next round if need be. (Not in Xaynet.)

        Returns:
            True if that settles it. Otherwise the error is kept as :attr:`InternalParticipant.error`,
            and raised by :meth:`InternalParticipant.join`, at the end of a ``with`` block, and by
            ``InternalParticipant.stop(raise_error=True)``.
        """
        return False


class InternalParticipant(NotCopied, threading.Thread):
    """The thread of a participant, made by :func:`xaynet_sdk.spawn_participant`."""

    #: The latest exception of the user's class that its ``on_error`` did not settle, or what ended the
    #: thread, such as SystemExit, of which ``on_error`` is not asked. (Not in Xaynet.)
    error: BaseException | None

    def __init__(
        self,
        coordinator_url: str,
        participant: type[ParticipantABC[Any, Any]],
        p_args: Iterable[Any],
        p_kwargs: Mapping[str, Any],
        state: State | None,
        scalar: float,
        *,
        timeout: float = 60.0,
        tls: Tls | None = None,
        keep_models: bool = False,
        max_message_size: int | None = None,
        roster: Pin | _Path | None = None,
        credential: bytes | _Path | None = None,
        identity: bytes | _Path | None = None,
        budget: Budget | None = None,
        state_file: _Path | None = None,
        aggregation: WeightedMean | None = None,
    ) -> None:
        super().__init__(daemon=True)
        self.error = None
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
        self.name = f"xaynet-participant-{self._log.participant}"
        self._make: Callable[[], ParticipantABC[Any, Any]] = lambda: participant(
            *p_args, **p_kwargs
        )
        self._ready = threading.Event()
        self._construction_error: BaseException | None = None
        # Says when the thread has ended, or has begun to train, which may take long.
        self._changed = threading.Condition()
        self._ended = False
        self._training = False

    def wait_until_ready(self) -> None:
        """Waits until the user's class is instantiated; raises what its constructor has raised."""
        try:
            self._ready.wait()
        except BaseException:
            # Ctrl-C: whoever waits here has no handle yet by which the participant could be stopped.
            self._close()
            raise
        error, self._construction_error = self._construction_error, None
        if error is not None:
            raise error

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

    def stop(
        self,
        *,
        key: bytes | None = None,
        passphrase: str | None = None,
        raise_error: bool = False,
    ) -> SavedState:
        """Stops the participant and gives its state, to be restored with: a list of integers, and bytes where those
        are asked for.

        Does not wait for a running ``train_round``: its result is dropped, and ``on_stop`` is called
        when it has ended (:meth:`join` waits for that). Otherwise ``on_stop`` has been called when this
        returns, unless that takes more than two seconds. It may be called from within the methods of
        the user's class.

        The state holds the participant's secret keys. With a key (32 bytes) or a passphrase it is sealed:
        see :mod:`xaynet_sdk.sealing`. (Not in Xaynet.)

        With ``raise_error`` it raises :attr:`error` if there is one, as :meth:`join` does. The participant is
        stopped then, too, and its state not lost: call it again without, to get it. Programs for Xaynet, which
        expect the state, would lose it if this were the default. (Not in Xaynet.)

        Raises:
            UninitializedParticipant: The participant was stopped before.
            Exception: :attr:`error`, with ``raise_error``.
        """
        seal = sealer(key, passphrase)
        self._native.close()
        if threading.current_thread() is not self:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._training, _GRACE)
        if raise_error and self.error is not None:
            raise self.error
        return SavedState(seal(bytes(self._native.save())))

    def join(self, timeout: float | None = None) -> None:
        """Waits until the thread has ended, at most ``timeout`` seconds.

        Raises:
            Exception: :attr:`error`, if the thread has ended and there is one.
        """
        super().join(timeout)
        if self.error is not None and not self.is_alive():
            raise self.error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops the participant if it was not stopped yet, and raises :attr:`error` if there is one. (Not in
        Xaynet.)"""
        with suppress(xaynet_sdk.UninitializedParticipant):
            self.stop()
        if isinstance(error, Exception | None):
            # Training that still runs is not waited for: what it gives is dropped.
            super().join(_GRACE)
        if self.error is not None and error is None:
            raise self.error

    def run(self) -> None:
        try:
            participant = self._make()
        except BaseException as error:
            self._construction_error = error
            self._close()
            return
        finally:
            del self._make
            self._ready.set()
        try:
            _Participation(
                self._native,
                participant,
                self._guard,
                self._long_work,
                self._log,
                self._keep_models,
                self._aggregation,
            ).go_on()
        except xaynet_sdk.UninitializedParticipant:
            self._log.debug("the participant was stopped")
        except BaseException as error:
            # Not the user's everyday mistake: SystemExit and the like are meant to end the thread.
            self._log.critical("the participant's thread ends", exc_info=True)
            self.error = error
        finally:
            self._close()
            try:
                with self._guard(participant):
                    participant.on_stop()
            finally:
                with self._changed:
                    self._ended = True
                    self._changed.notify_all()

    @contextmanager
    def _guard(self, participant: ParticipantABC[Any, Any]) -> Iterator[None]:
        """Has the user know of an exception, and goes on."""
        try:
            yield
        except Exception as error:
            if isinstance(error, xaynet_sdk.UninitializedParticipant) and self._was_stopped():
                # A call of stop() in the user's code, after the one that counts.
                self._log.debug("the participant was stopped meanwhile", exc_info=True)
                return
            self._log.exception(
                "the participant's code has raised an exception, or given a wrong model"
            )
            settled = False
            try:
                settled = participant.on_error(error)
            except Exception:
                self._log.exception("the participant's on_error has raised an exception")
            if not settled:
                self.error = error

    @contextmanager
    def _long_work(self) -> Iterator[None]:
        """Has stop() not wait for what is done here."""
        with self._changed:
            self._training = True
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._training = False

    def _was_stopped(self) -> bool:
        try:
            self._native.rounds()
        except xaynet_sdk.UninitializedParticipant:
            return True
        return False

    def _close(self) -> None:
        with suppress(xaynet_sdk.UninitializedParticipant):
            self._native.close()


class _Participation:
    """Calls the user's class when there is something to do, until the participant is stopped."""

    def __init__(
        self,
        native: xaynet_sdk.Participant,
        participant: ParticipantABC[Any, Any],
        guard: Callable[[ParticipantABC[Any, Any]], AbstractContextManager[None]],
        long_work: Callable[[], AbstractContextManager[None]],
        log: ParticipantLog,
        keep_models: bool,
        aggregation: WeightedMean | None,
    ) -> None:
        self._native = native
        self._aggregation = aggregation
        self._participant = participant
        self._guard = guard
        self._long_work = long_work
        self._log = log
        self._keep_models = keep_models
        self._outcomes = OutcomeTracker(self._tell_outcome)
        self._rounds = 0
        self._training_input: Any = None
        # Whether this round's global model is to be fetched.
        self._wants_global_model = False
        # Whether this round's training was done, or declined, or is not possible.
        self._settled = False
        self._unavailable = False

    def go_on(self) -> NoReturn:
        while True:
            self._native.tick(_TICK)
            self._report_earlier_model()
            for news in self._native._news():
                if news[0] == "refused":
                    # Once for each reason; the participant asks again by itself.
                    with self._guard(self._participant):
                        raise news[1]
                self._outcomes.take_in(*news)
            # In this order, so that it is never asked for this round and answered with an older model.
            needs_model = self._native.should_set_model()
            if self._native.rounds() != self._rounds:
                self._rounds = self._native.rounds()
                self._wants_global_model = True
                self._settled = False
            if self._wants_global_model:
                self._fetch_global_model()
            # Not without this round's global model: it is tried again after the next tick.
            if needs_model and not self._wants_global_model and not self._settled:
                self._settled = True
                self._train()

    def _tell_outcome(self, outcome: UpdateOutcome) -> None:
        self._log.debug("what has become of the local model: %s %s", outcome.kind, outcome.reason)
        with self._guard(self._participant):
            self._participant.on_update_outcome(outcome)

    def _report_earlier_model(self) -> None:
        """Has the user know of a local model that was set earlier and turned out not to fit."""
        try:
            self._native.raise_model_error()
        except (xaynet_sdk.LocalModelLengthMisMatch, xaynet_sdk.LocalModelDataTypeMisMatch):
            with self._guard(self._participant):
                raise

    def _fetch_global_model(self) -> None:
        try:
            as_array = self._participant.global_model_as_array or self._aggregation is not None
            global_model = self._native.global_model(as_array)
        except xaynet_sdk.GlobalModelUnavailable as error:
            # Once is enough: it is tried again every second.
            level = logging.DEBUG if self._unavailable else logging.WARNING
            self._log.log(level, "the global model cannot be fetched, trying again: %s", error)
            self._unavailable = True
            return
        except xaynet_sdk.Refused:
            # The user was told, or is about to be; it is tried again, as it may be put right.
            return
        except (xaynet_sdk.LocalModelLengthMisMatch, xaynet_sdk.LocalModelDataTypeMisMatch):
            # About a local model of earlier: the global model comes next time.
            with self._guard(self._participant):
                raise
            return
        except xaynet_sdk.GlobalModelLengthMisMatch as error:
            # The coordinator was set up anew: somebody must make the first model of the new kind.
            self._log.warning("training begins anew: %s", error)
            global_model = None
        except xaynet_sdk.UninitializedParticipant:
            raise
        except Exception:
            # It will not get better in this round.
            self._wants_global_model = False
            self._settled = True
            with self._guard(self._participant):
                raise
            return
        self._unavailable = False
        self._wants_global_model = False
        ready = False
        with self._guard(self._participant):
            self._training_input = None
            aggregate = None
            if global_model is not None and self._aggregation is not None:
                aggregate = self._aggregation.unpack(global_model)
                global_model = aggregate.model
                if not self._participant.global_model_as_array:
                    global_model = global_model.tolist()
            if global_model is not None:
                self._training_input = self._participant.deserialize_training_input(global_model)
            ready = True
            if aggregate is not None:
                self._participant.on_aggregate(aggregate)
            self._participant.on_new_global_model(self._training_input)
        # Training without the global model that there is would start from nothing.
        self._settled = not ready

    def _train(self) -> None:
        # Native calls stand outside of the guards: being stopped is no error of the user's.
        takes_part = False
        with self._guard(self._participant):
            takes_part = self._participant.participate_in_update_task()
        if not takes_part:
            self._log.debug("not training in this round")
            return
        if self._native.rounds() != self._rounds or not self._native.should_set_model():
            # The next round has begun while the user's code was asked: it has another global model.
            return
        trained = False
        with self._guard(self._participant), self._long_work():
            result = self._participant.train_round(self._training_input)
            weights = packed(self._aggregation, self._participant.serialize_training_result(result))
            trained = True
        if not trained:
            return
        # Otherwise set_model would raise what is wrong with the earlier one, and drop this one.
        self._report_earlier_model()
        try:
            if self._keep_models:
                self._native.set_model(weights)
                taken = True
            else:
                taken = self._native._set_model_for(weights, self._rounds)
        except xaynet_sdk.UninitializedParticipant:
            raise
        except Exception:
            with self._guard(self._participant):
                raise
        else:
            if taken:
                self._outcomes.model_set()
            else:
                self._log.info("the round was over before the training: its result is dropped")
                self._outcomes.late("the next round had begun before the training ended")

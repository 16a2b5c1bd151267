"""A whole federation in this process, in virtual time: nothing waits, no port is opened.

Participants and coordinator are the real state machines, and models are really masked; only the network is
left out, and what protects messages on it, and time passes as quickly as the machines get on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from xaynet_sdk import protocol
from xaynet_sdk._numbers import whole
from xaynet_sdk._progress import progress_of
from xaynet_sdk._sealed import BEGINNING, SealedCoordinator
from xaynet_sdk._settings import with_defaults
from xaynet_sdk._types import Weights
from xaynet_sdk._unmasked import PlainFederation, SampledClients
from xaynet_sdk.aggregation import Aggregate, Update, WeightedMean, packed
from xaynet_sdk.callbacks import AnyCallback, Callbacks
from xaynet_sdk.history import History, RoundResult, joined_metrics, measured
from xaynet_sdk.optimizers import ServerOptimizer
from xaynet_sdk.outcome import OutcomeTracker, UpdateOutcome
from xaynet_sdk.participant import ParticipantABC
from xaynet_sdk.pin import Budget, Noise
from xaynet_sdk.xaynet_sdk import XaynetError, _advice

if TYPE_CHECKING:
    import numpy.typing as npt

    _Array: TypeAlias = npt.NDArray[Any]

__all__ = ["SimulatedRound", "Simulation", "SimulationError", "simulate"]

#: A participant: an instance of a class derived from ParticipantABC, or a function from the global model
#: (an array, or None in the first round) to a local one.
Trainer: TypeAlias = ParticipantABC[Any, Any] | Callable[[Any], Weights | Update | None]

# Virtual seconds. Whoever is asked ten times a second has done all that it can well before a phase ends.
_PAUSE = 0.1
_PHASES: Mapping[str, object] = {
    "pet.sum.time.min": 1,
    "pet.sum.time.max": 10,
    "pet.update.time.min": 1,
    "pet.update.time.max": 10,
    "pet.update.count.max": 1_000_000,
    "pet.sum2.time.min": 0.2,
    "pet.sum2.time.max": 10,
}
# The coordinator's own default, for a few participants. With many, each of those who sum opens a seed of each of those
# who train, so a federation in earnest has a few of them, however large it is: ten are drawn on average, and then in
# 22,000 rounds there is one with nobody.
_SUM_PROB = 0.3
_SUMMERS = 10
# How many participants train before their models are masked, for each thread: so many models are in memory at most.
_AHEAD = 4
# How many different reasons for failures are told.
_REASONS = 8


class SimulationError(XaynetError):
    """The simulated federation makes no progress.

    Its ``simulation``, as that of any exception that comes out of :func:`simulate`, has the rounds until then.
    """

    #: Why rounds have failed, in a row.
    failures: Sequence[str] = ()


#: The outcome of a simulated round.
SimulatedRound: TypeAlias = RoundResult


# Not to be compared: arrays have no truth value.
@dataclass(slots=True, eq=False)
class Simulation(History):
    """The result of :func:`simulate`. A notebook shows it as a table; :meth:`plot` draws it."""

    #: Where the federation's machines are, secret keys included: what ``simulate(..., resume=...)`` goes on from.
    state: bytes | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return History.__repr__(self)


def simulate(
    participants: Iterable[Trainer],
    *,
    model_length: int,
    rounds: int = 10,
    scalars: Sequence[float] | None = None,
    mask: str | None = None,
    settings: Mapping[str, object] | None = None,
    evaluate: Callable[[_Array], Mapping[str, float] | float] | None = None,
    seed: int = 0,
    progress: bool | Callable[[SimulatedRound], object] = True,
    keep_models: bool = False,
    max_failures: int = 100,
    threads: int | None = None,
    resume: Simulation | None = None,
    protocol: Literal["v1", "v2"] = "v1",
    groups: int = 3,
    members: int = 3,
    noise: Noise | None = None,
    budget: Budget | None = None,
    initial_model: Weights | None = None,
    aggregation: WeightedMean | None = None,
    callbacks: Iterable[AnyCallback] = (),
    optimizer: ServerOptimizer | None = None,
    masked: bool = True,
    envelopes: bool = False,
    sampling: SampledClients | None = None,
    parallel: int | Executor | None = None,
) -> Simulation:
    """Runs a federation of this process's participants for some rounds.

    Participants are trained one after another. Which of them take part in a round, and as what, is drawn
    as in reality; the same seed gives the same draws, and with deterministic training the same models.

    Masks, mask seeds and their dictionaries, the sums and all rules of the protocol are real. What is left out, unless
    ``envelopes`` says otherwise, is what protects messages from others on the network: signature and seal of each, and the
    seals of mask seeds. That changes no number, and is most of the work where models are short.

    Of a simulation that is interrupted, what there is is not lost: the exception that comes out (KeyboardInterrupt,
    SimulationError or a participant's own) has it as its attribute ``simulation``, and ``resume`` goes on from there::

        try:
            result = simulate(participants, model_length=10, rounds=1000)
        except KeyboardInterrupt as stopped:
            result = stopped.simulation
        result = simulate(participants, model_length=10, rounds=1000, resume=result)

    Args:
        participants: Instances of classes derived from :class:`xaynet_sdk.ParticipantABC`, or functions
            from the global model (an array, or None in the first round) to a local one (None: not this
            time). At least four, for there must be three models and one who sums.
        model_length: How many weights a model has.
        rounds: After how many global models to end.
        scalars: How much each participant's models count, such as its share of the samples.
        mask: How models are masked, such as ``Prime/F32/B2/M3``.
        settings: Any of the coordinator's settings, by dotted keys, such as ``{"pet.sum.prob": 0.4}``;
            times are virtual seconds. Unless it is given, the probability of being drawn to sum is 0.3, or less
            where that would draw more than ten on average.
        evaluate: What to measure of each global model: a number, or several by name.
        seed: For the draws and all keys. Keys that follow from a number are no secret: simulate only.
        progress: Show it (with tqdm if that is installed), or what to call after every round.
        keep_models: Keep the global model of each round, not of the last one only.
        max_failures: After so many rounds that fail in a row, give up.
        threads: How many threads mask; all by default.
        resume: What an earlier call has given, or an exception's ``simulation``: goes on from there, with the same
            participants (which keep what they have learnt), until there are ``rounds`` rounds in all. Length, mask and
            settings of the coordinator are those of the earlier call; scalars may be others.
        protocol: ``v2`` for sealed groups: nobody is drawn, all participants train, and a committee that is simulated as
            well takes the masks off. At least three participants; masks are ``Word32`` or ``Word64`` (by default
            ``Word32/F32/B0/M3``). Neither ``settings`` nor ``resume`` are for it.
        groups, members: Version 2: how many groups the committee has, and how many members a group (an odd number).
        noise: Version 2: noise for differential privacy. What is masked is then the difference of a local model from
            the global one, clipped; the bound has to be ``B0``, and scalars 1. It is useful only for many more participants
            than ``sqrt(groups * model_length) * multiplier``.
        budget: Version 2: each participant's privacy budget; when it is spent they stop, and the simulation with them.
        initial_model: What participants begin with, instead of None: to fine-tune a model, or to go on with one.
        aggregation: How models are weighted, and what is summed beside them: then participants give a
            :class:`xaynet_sdk.Update`, with a model of ``model_length`` weights. Instead of ``scalars``.
        callbacks: What to call after each round: see :mod:`xaynet_sdk.callbacks`.
        optimizer: What becomes of the mean of a round, such as :class:`xaynet_sdk.FedAdam`: then the global model is a step
            from the last one towards the mean. Without it (and in the first round, if there is no ``initial_model``) it is
            the mean. It is not changed: a simulation has a copy, with a state of its own. A strategy of Flower's is one, too:
            see :class:`xaynet_sdk.adapters.flower.FlowerStrategy`.
        masked: False for a simulation without masks, which is much faster: nobody sums, all others train as they do with masks.
            With 32-bit floats and a scalar of 1 the same participants' models give the same global model to the last bit,
            otherwise nearly the same. No machines run, so that ``protocol``, ``settings`` and ``threads`` are not for it,
            in the rounds there are no votes, and nobody's ``on_update_outcome`` is called.
        envelopes: With masks: sign and seal all messages and mask seeds as well, and open and verify them, as on the network. The
            global models are the same.
        sampling: Without masks: who trains in a round. A share of the participants (0.1), a number of them (10), or a function
            of the round's number and the number of participants that gives their indices. By default all.
        parallel: Without masks: in how many processes participants train, who have to be functions then (of any kind if
            joblib is installed; otherwise such as can be pickled), or an executor of yours: anything with the interface of
            ``concurrent.futures.Executor``, such as a ThreadPoolExecutor, joblib's (loky's) ``get_reusable_executor()``, Dask's
            ``client.get_executor()``, or Ray by :class:`xaynet_sdk.adapters.ray.RayExecutor`. Whatever they are, models come in
            the participants' order, and few are in memory at a time.

    Raises:
        ValueError: A number makes no sense, or ``resume`` is of other participants.
        SimulationError: Rounds fail, ``max_failures`` in a row.
        Exception: Whatever a participant raises, unless its ``on_error`` returns True.
    """
    sealed = _sealed(protocol, groups, members, noise, budget, settings, resume)
    whole("model_length", model_length, 1)
    whole("rounds", rounds, 0)
    whole("max_failures", max_failures, 1)
    whole("threads", 1 if threads is None else threads, 1)
    if aggregation is not None and scalars is not None:
        raise ValueError(
            "with an aggregation, updates say themselves how much they count: give no scalars"
        )
    if noise is not None and (aggregation is not None or initial_model is not None):
        raise ValueError(
            "with noise, what is masked is a difference from the global model of the round before: it takes neither an "
            "aggregation nor an initial model"
        )
    if initial_model is not None and resume is not None:
        raise ValueError("a simulation that is resumed has a model: give no initial_model")
    initial = None if initial_model is None else _initial(initial_model, model_length)
    if masked and (sampling is not None or parallel is not None):
        raise ValueError(
            "sampling and parallel are for masked=False: with masks, who trains is drawn (see pet.update.prob in settings), and "
            "one trains after another"
        )
    if not masked and (sealed is not None or settings is not None or threads is not None):
        raise ValueError('protocol="v2", settings and threads are for simulations with masks')
    if envelopes and (not masked or sealed is not None):
        raise ValueError(
            'envelopes are for simulations with masks, and with protocol="v1": v2 always has them'
        )
    if optimizer is not None:
        if not isinstance(optimizer, ServerOptimizer):
            raise TypeError(f"optimizer is one such as FedAdam(), and not {optimizer!r}")
        if sealed is not None:
            raise ValueError(
                'in protocol="v2" members vouch for the mean of a round: there is no optimizer at the server'
            )
        optimizer = optimizer.begun_anew()
    told = Callbacks(callbacks)
    result = Simulation() if resume is None else dataclasses.replace(resume)
    result.rounds, result.models = list(result.rounds), list(result.models)
    result.stopped = None
    trainers = _trainers(participants)
    federation: _Federation | PlainFederation
    if masked:
        federation = _Federation(
            trainers,
            model_length,
            scalars,
            mask,
            settings,
            seed,
            threads or os.cpu_count() or 1,
            result.state,
            sealed,
            initial,
            aggregation,
            optimizer,
            envelopes,
        )
    else:
        federation = PlainFederation(
            trainers,
            model_length,
            scalars,
            mask,
            seed,
            result.state,
            initial,
            aggregation,
            optimizer,
            sampling,
            parallel,
        )
    if resume is not None and resume.state is None:
        raise ValueError("the simulation to be resumed has no state: give what simulate has given")
    try:
        with federation, told, progress_of(progress, rounds) as show:
            federation.begin()
            while len(result.rounds) < rounds and result.stopped is None:
                ended = federation.next_round(max_failures)
                model, aggregate = federation.model, federation.aggregate
                assert model is not None, "a completed round has a model"
                metrics = {} if evaluate is None else measured(evaluate(model.copy()))
                counts: dict[str, float] = {}
                samples = None
                if aggregate is not None:
                    samples = aggregate.samples * ended.models
                    counts = {name: mean * ended.models for name, mean in aggregate.counts.items()}
                    metrics = joined_metrics(aggregate.metrics, metrics)
                done = SimulatedRound(
                    ended.round_id,
                    ended.models,
                    ended.votes,
                    federation.seconds(),
                    federation.clamped,
                    federation.largest_clamped,
                    metrics,
                    tuple(federation.failures),
                    samples,
                    counts,
                )
                result.rounds.append(done)
                result.model = model
                if keep_models:
                    result.models.append(model)
                show(done)
                result.stopped = told.on_round(done, model)
    except BaseException as error:
        result.state = federation.state()
        # Not every exception takes an attribute; then there is nothing to be done.
        with suppress(AttributeError, TypeError):
            error.simulation = result  # type: ignore[attr-defined]
        raise
    result.state = federation.state()
    return result


@dataclass(frozen=True, slots=True)
class _Sealed:
    """What there is to a simulation of version 2."""

    groups: int
    members: int
    noise: Noise | None
    budget: Budget | None


def _sealed(
    version: object,
    groups: int,
    members: int,
    noise: Noise | None,
    budget: Budget | None,
    settings: object,
    resume: object,
) -> _Sealed | None:
    if version not in ("v1", "v2"):
        raise ValueError(f'protocol is "v1" or "v2", not {version!r}')
    if version == "v1":
        if noise is not None or budget is not None:
            raise ValueError('noise and a budget are for protocol="v2"')
        return None
    whole("groups", groups, 1)
    whole("members", members, 1)
    if groups > 16 or members > 31 or members % 2 == 0:
        raise ValueError(
            f"a committee has 1 to 16 groups of an odd number of members, 31 at most: not {groups} of {members}"
        )
    if noise is not None and not isinstance(noise, Noise):
        raise TypeError(f"noise is a xaynet_sdk.Noise(multiplier, clip), not {noise!r}")
    if settings is not None:
        raise ValueError('settings are for protocol="v1"')
    if resume is not None:
        raise ValueError('a simulation with protocol="v2" cannot be resumed')
    return _Sealed(groups, members, noise, budget)


def _trainers(participants: Iterable[Trainer]) -> list[Trainer]:
    trainers = list(participants)
    if not trainers:
        raise ValueError("there are no participants")
    for trainer in trainers:
        # An abstract class is callable, but makes no models.
        if isinstance(trainer, type) and issubclass(trainer, ParticipantABC):
            raise TypeError(
                f"simulate takes participants, not their class: give {trainer.__name__}(...) for each"
            )
        if not isinstance(trainer, ParticipantABC) and not callable(trainer):
            raise TypeError(
                "a participant is an instance of a class derived from ParticipantABC, or a function from "
                f"the global model to a local one, and not {type(trainer).__name__}"
            )
    return trainers


def _initial(model: Weights, model_length: int) -> _Array:
    import numpy as np

    initial = np.array(model)
    if initial.ndim != 1 or len(initial) != model_length:
        raise ValueError(
            f"the initial model is one flat vector of {model_length} weights, and not of shape {initial.shape}"
        )
    if initial.dtype.kind not in "fiu" or not np.isfinite(initial).all():
        raise ValueError("the initial model consists of finite numbers")
    return initial


class _Member:
    """A participant's machine, and the user's code."""

    def __init__(
        self,
        machine: protocol.ParticipantMachine,
        trainer: Trainer,
        aggregation: WeightedMean | None = None,
    ) -> None:
        self.machine = machine
        self.trainer = trainer
        self.aggregation = aggregation
        self.wake_at: float | None = 0.0
        #: What was published when it was attended to last.
        self.seen = -1
        #: Whether it is still to be told of the global model of its round: only when it trains, so that not all have a copy at
        #: the same time.
        self.untold = False
        self.training_input: Any = None
        # Version 2: whether it waits for the global model, and is asked to train meanwhile.
        self.fetching = False
        self.needed = False
        self.outcomes = OutcomeTracker(self._tell_outcome)

    def _tell_outcome(self, outcome: UpdateOutcome) -> None:
        if isinstance(self.trainer, ParticipantABC):
            self.trainer.on_update_outcome(outcome)

    def new_round(self, model: _Array | None, aggregate: Aggregate | None = None) -> None:
        trainer = self.trainer
        self.untold = False
        if not isinstance(trainer, ParticipantABC):
            self.training_input = None if model is None else model.copy()
            return
        self.training_input = None
        if model is not None:
            given: Any = model.copy() if trainer.global_model_as_array else model.tolist()
            self.training_input = trainer.deserialize_training_input(given)
        if aggregate is not None:
            trainer.on_aggregate(aggregate)
        trainer.on_new_global_model(self.training_input)

    def train(self) -> Weights | None:
        trained = self._trained()
        return None if trained is None else packed(self.aggregation, trained)

    def _trained(self) -> Any:
        trainer = self.trainer
        if not isinstance(trainer, ParticipantABC):
            return trainer(self.training_input)
        if not trainer.participate_in_update_task():
            return None
        return trainer.serialize_training_result(trainer.train_round(self.training_input))

    def settled(self, error: Exception) -> bool:
        return isinstance(self.trainer, ParticipantABC) and self.trainer.on_error(error)


class _Federation:
    def __init__(
        self,
        trainers: list[Trainer],
        model_length: int,
        scalars: Sequence[float] | None,
        mask: str | None,
        settings: Mapping[str, object] | None,
        seed: int,
        threads: int,
        state: bytes | None = None,
        sealed: _Sealed | None = None,
        initial: _Array | None = None,
        aggregation: WeightedMean | None = None,
        optimizer: ServerOptimizer | None = None,
        envelopes: bool = False,
    ) -> None:
        if sealed is not None and len(trainers) < 3:
            raise ValueError(
                f"a federation has at least 3 participants, and this one has {len(trainers)}: the sum of fewer models "
                "hides nobody"
            )
        if sealed is None and len(trainers) < 4:
            raise ValueError(
                f"a federation has at least 4 participants, and this one has {len(trainers)}: the "
                "coordinator unmasks the sum of at least 3 models, and somebody has to sum the masks"
            )
        weights = (
            [1.0] * len(trainers) if scalars is None else [float(scalar) for scalar in scalars]
        )
        if len(weights) != len(trainers):
            raise ValueError(f"there are {len(trainers)} participants, and {len(weights)} scalars")
        self._threads = threads
        saved = _Saved() if state is None else _Saved.read(state)
        if state is not None and len(saved.participants) != len(trainers):
            raise ValueError(
                f"the simulation to be resumed has {len(saved.participants)} participants, and not {len(trainers)}: "
                "give the same ones, in the same order"
            )
        self._envelopes = envelopes
        if state is not None and saved.envelopes != envelopes:
            raise ValueError(
                f"the simulation to be resumed has envelopes={saved.envelopes}: there may be messages of that kind under way"
            )
        self._resumed = state is not None
        self._now = saved.now if sealed is None else BEGINNING
        prob = min(_SUM_PROB, _SUMMERS / len(trainers))
        polling = protocol.Polling(_PAUSE, _PAUSE, 1.0, _PAUSE)
        self._sealed = sealed is not None
        self._aggregation = aggregation
        self._optimizer = optimizer
        #: What comes of the last round, and its global model.
        self.aggregate: Aggregate | None = None
        self.model: _Array | None = initial
        # As the coordinator gives it.
        self._published: _Array | None = None
        self._taken_in = 0
        if self._resumed:
            self._go_on(saved)
        if aggregation is not None:
            model_length = aggregation.length(model_length)
        self._told_of_precision = False
        self._begin()
        self._events: list[protocol.CoordinatorOutput] = []
        if sealed is not None:
            self._begin_sealed(sealed, trainers, weights, model_length, mask, seed)
            return
        self._coordinator: protocol.CoordinatorMachine | SealedCoordinator = (
            protocol.CoordinatorMachine(
                model_length,
                mask=mask,
                settings=with_defaults({**_PHASES, "pet.sum.prob": prob}, settings),
                seed=None if self._resumed else _seed(seed, "coordinator"),
                state=saved.coordinator if self._resumed else None,
                now=self._now,
            )
        )
        self._members = [
            _Member(
                protocol.ParticipantMachine(
                    None if self._resumed else _seed(seed, f"participant {index}"),
                    state=saved.participants[index] if self._resumed else None,
                    scalar=scalar,
                    polling=polling,
                    keep_models=False,
                    _hand_over=not envelopes,
                ),
                trainer,
                aggregation,
            )
            for index, (trainer, scalar) in enumerate(zip(trainers, weights, strict=True))
        ]

    def _begin_sealed(
        self,
        sealed: _Sealed,
        trainers: list[Trainer],
        weights: list[float],
        model_length: int,
        mask: str | None,
        seed: int,
    ) -> None:
        coordinator = SealedCoordinator(
            model_length,
            mask or "Word32/F32/B0/M3",
            sealed.groups,
            sealed.members,
            len(trainers),
            sealed.noise,
            _seed(seed, "coordinator"),
            self._now,
            self._threads,
        )
        self._coordinator = coordinator
        self._members = []
        for index, (trainer, scalar) in enumerate(zip(trainers, weights, strict=True)):
            secret = _seed(seed, f"participant {index}")
            # The credential is for its key, which follows from its identity.
            key = protocol.ParticipantMachine(
                secret, identity=secret, roster=coordinator.roster
            ).public_key
            machine = protocol.ParticipantMachine(
                secret,
                identity=secret,
                scalar=scalar,
                polling=protocol.Polling(_PAUSE, _PAUSE, 1.0, _PAUSE),
                keep_models=False,
                roster=coordinator.roster,
                credential=coordinator.credential(key),
                budget=sealed.budget,
            )
            self._members.append(_Member(machine, trainer, self._aggregation))

    def begin(self) -> None:
        """Whoever goes on in the middle of a round has to have its global model."""
        if self._resumed:
            for member in self._members:
                if member.machine.parameters is not None:
                    self._begin_round(member, member.machine.task)

    def state(self) -> bytes | None:
        """All machines, and what time it is for them. Nothing in version 2: the committee cannot be saved."""
        if isinstance(self._coordinator, SealedCoordinator):
            return None
        participants = [member.machine.snapshot() for member in self._members]
        return _Saved(
            self._now,
            self._coordinator.snapshot(),
            participants,
            self._published,
            self._optimized(),
            self._envelopes,
        ).write()

    def _begin(self) -> None:
        self.clamped = 0
        self.largest_clamped = 0.0
        self.failures: list[str] = []
        self._began = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def next_round(self, max_failures: int) -> protocol.RoundCompleted:
        """Goes on until a round has ended with a model."""
        self._begin()
        while True:
            wake_at = self._step()
            # Even if a machine asks to be called at this very time, time has to pass.
            self._now = max(self._now + 1e-3, wake_at)
            events, self._events = self._events, []
            for event in events:
                if isinstance(event, protocol.RoundFailed):
                    self.failures.append(event.reason)
                    for member in self._members if not self._sealed else ():
                        member.outcomes.take_in("failed", event.reason)
                    if len(self.failures) >= max_failures:
                        # In version 2 the reasons say what to do.
                        advice = "" if self._sealed else f". {_advice(event.label)}"
                        error = SimulationError(
                            f"{max_failures} rounds in a row have failed: {_counted(self.failures)}{advice}"
                        )
                        error.failures = tuple(self.failures)
                        raise error
            for event in events:
                if isinstance(event, protocol.RoundCompleted):
                    for member in self._members if not self._sealed else ():
                        member.outcomes.take_in("completed")
                    model = self._coordinator.global_model()
                    if model is None:
                        raise SimulationError(
                            "the global model has weights beyond the range of its data type"
                        )
                    self._take_in(model, event)
                    return event

    def _take_in(self, published: _Array | None, ended: protocol.RoundCompleted) -> None:
        """The global model of a round, as the coordinator gives it; once."""
        if published is not None and ended.round_id > self._taken_in:
            self._taken_in = ended.round_id
            self._publish(published, ended.models)

    def _publish(self, published: _Array, models: int = 0) -> None:
        # Whoever was not asked for a model in the round that is over is told of the one that it had.
        for member in self._members:
            if member.untold:
                try:
                    self._tell(member)
                except Exception as error:
                    if not member.settled(error):
                        raise
        self._published = published
        after: _Array = published
        if self._aggregation is not None:
            self.aggregate = self._aggregation.unpack(published)
            after = self.aggregate.model
        if self._optimizer is not None and self.model is not None:
            after = self._optimizer.step_after(self.model, after, self.aggregate, models)
            if self._aggregation is not None:
                # As a coordinator publishes it, and participants unpack it.
                self._published = self._aggregation.with_model(published, after)
                self.aggregate = self._aggregation.unpack(self._published)
                after = self.aggregate.model
        self.model = after

    def _go_on(self, saved: _Saved) -> None:
        """With what an earlier simulation has come to."""
        self._published = saved.model
        self.model = saved.model
        if self._aggregation is not None and saved.model is not None:
            self.aggregate = self._aggregation.unpack(saved.model)
            self.model = self.aggregate.model
        if saved.optimized:
            import numpy as np

            with np.load(io.BytesIO(saved.optimized), allow_pickle=False) as parts:
                remembered = {name: parts[name] for name in parts.files}
            self.model = remembered.pop("model")
            if self._optimizer is not None and remembered:
                self._optimizer.restore(remembered)

    def _optimized(self) -> bytes:
        """The optimiser's state, and the model that participants have: its own, or the initial one."""
        if self.model is None:
            return b""
        import numpy as np

        file = io.BytesIO()
        remembered = {} if self._optimizer is None else self._optimizer.state()
        np.savez(file, model=self.model, **remembered)
        return file.getvalue()

    def _step(self) -> float:
        """Has everyone do what is due now; tells when something is due next."""
        if isinstance(self._coordinator, SealedCoordinator):
            for member in self._members:
                if member.wake_at is not None and member.wake_at <= self._now:
                    self._attend(member)
        else:
            self._attend_all(self._coordinator)
        idle = self._settle()
        times = [member.wake_at for member in self._members if member.wake_at is not None]
        if isinstance(idle, protocol.Idle) and idle.wake_at is not None:
            times.append(idle.wake_at)
        return min(times, default=self._now)

    def _settle(self) -> protocol.CoordinatorOutput:
        """Has the coordinator do what is due now; gives the last that it says."""
        self._coordinator.handle_input(self._now, protocol.Tick())
        outputs = list(protocol.settle(self._coordinator, self._now, threads=self._threads))
        self._events += outputs
        if not self._sealed:
            # Participants may see the next round before anybody looks at what has come of this one. (A restored coordinator
            # has no model until its next round ends.)
            for ended in outputs:
                if isinstance(ended, protocol.RoundCompleted):
                    self._take_in(self._coordinator.global_model(), ended)
        return outputs[-1]

    def _attend_all(self, coordinator: protocol.CoordinatorMachine) -> None:
        """Has all participants of version 1 who are due do what they can now. Few models are in memory at a time."""
        self._settle()
        published = coordinator._native.generation
        due: list[_Member] = []
        for member in self._members:
            if member.wake_at is None or member.wake_at > self._now:
                continue
            if member.seen == published:
                # A look would tell it what it knows.
                member.wake_at = self._now + _PAUSE
            else:
                due.append(member)
        waiting = deque(self._exchanged(coordinator, due))
        while waiting:
            trained: list[_Member] = []
            while waiting and len(trained) < _AHEAD * self._threads:
                member = waiting.popleft()
                try:
                    if self._train(member):
                        trained.append(member)
                except Exception as error:
                    if not member.settled(error):
                        raise
            waiting.extend(self._exchanged(coordinator, trained))
            self._settle()

    def _exchanged(
        self, coordinator: protocol.CoordinatorMachine, members: Sequence[_Member]
    ) -> list[_Member]:
        """Has participants and coordinator do what they can; gives those who wait for a model."""
        waiting: list[_Member] = []
        published = coordinator._native.generation
        machines = [member.machine._native for member in members]
        told = coordinator._native.attend(protocol._millis(self._now), machines, self._threads)
        for member, (wake_at, events) in zip(members, told, strict=True):
            member.seen = published
            member.wake_at = None if wake_at is None else wake_at / 1000
            for event in events:
                try:
                    self._take_in_event(member, event, waiting)
                except Exception as error:
                    if not member.settled(error):
                        raise
        return waiting

    def _take_in_event(
        self, member: _Member, event: tuple[Any, ...], waiting: list[_Member]
    ) -> None:
        match event:
            case ("new_round", task, _):
                member.outcomes.take_in("round")
                self._begin_round(member, task)
            case ("model_needed", *_):
                waiting.append(member)
            case ("model_rejected", error):
                raise error
            case ("model_masked", clamped, largest, _):
                self.clamped += clamped
                self.largest_clamped = max(self.largest_clamped, largest)
                member.outcomes.take_in("masked")
            case ("sent", "update"):
                member.outcomes.take_in("sent")
            case ("rejected", tag, _, _, reason):
                raise SimulationError(f"the {tag} message is rejected: {reason}")
            case ("gave_up", reason):
                raise SimulationError(f"a participant is out of the round: {reason}")

    def _begin_round(self, member: _Member, task: str) -> None:
        # Whoever was not asked in the round before, which has failed, had the same global model.
        if member.untold:
            self._tell(member)
        member.untold = True
        if task != "update":
            self._tell(member)

    def _tell(self, member: _Member) -> None:
        """Tells a participant of the global model; it is kept only for training."""
        member.new_round(self.model, self.aggregate)
        member.training_input = None

    def _attend(self, member: _Member) -> None:
        """Version 2: has a participant do what it can now."""
        for event in protocol.exchange(
            member.machine,
            self._coordinator,
            self._now,
            threads=self._threads,
            observe=self._events,
        ):
            try:
                match event:
                    case protocol.NewRound():
                        # The model comes with its certificate, when the machine has checked it.
                        member.outcomes.take_in("round")
                        member.fetching, member.needed = True, False
                        member.machine.handle_input(self._now, protocol.FetchModel())
                    case protocol.GlobalModel(model):
                        member.fetching = False
                        if model is not None:
                            self._publish(model)
                        member.new_round(self.model, self.aggregate)
                        if member.needed:
                            self._train(member)
                    case protocol.GlobalModelFailed() if member.fetching:
                        member.machine.handle_input(self._now, protocol.FetchModel())
                    case protocol.ModelNeeded():
                        member.needed = True
                        if not member.fetching:
                            self._train(member)
                    case protocol.Refusal(error):
                        raise error
                    case protocol.Certified(number, count, included):
                        member.outcomes.take_in("certified", number, count, included)
                    case protocol.NotCertified(number, reason):
                        member.outcomes.take_in("not_certified", number, reason)
                    case protocol.ModelRejected(error):
                        raise error
                    case protocol.ModelMasked(clamped, largest):
                        self.clamped += clamped
                        self.largest_clamped = max(self.largest_clamped, largest)
                        member.outcomes.take_in("masked")
                    case protocol.Sent("update"):
                        member.outcomes.take_in("sent")
                    case protocol.Rejected(tag, _, _, reason):
                        raise SimulationError(f"the {tag} message is rejected: {reason}")
                    case protocol.GaveUp(reason):
                        raise SimulationError(f"a participant is out of the round: {reason}")
                    case protocol.Idle(wake_at):
                        member.wake_at = wake_at
            except Exception as error:
                if not member.settled(error):
                    raise

    def _train(self, member: _Member) -> bool:
        """Whether there is a model then."""
        member.needed = False
        if member.untold:
            member.new_round(self.model, self.aggregate)
        weights = member.train()
        if not self._sealed:
            member.training_input = None
        if weights is None:
            return False
        member.outcomes.model_set()
        member.machine.handle_input(self._now, protocol.SetModel(weights))
        self._tell_of_precision_once(member.machine)
        return True

    def _tell_of_precision_once(self, machine: protocol.ParticipantMachine) -> None:
        """Thousands of participants would all give the same warning."""
        if self._told_of_precision or not machine._native.told_of_precision:
            return
        self._told_of_precision = True
        for member in self._members:
            member.machine._native.spare_precision(machine._native)

    def __enter__(self) -> None:
        """It is there already."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Also after a failure or Ctrl-C: there may be files to close."""
        for member in self._members:
            if isinstance(member.trainer, ParticipantABC):
                member.trainer.on_stop()


@dataclass(frozen=True, slots=True)
class _Saved:
    """A federation at rest."""

    now: float = 0.0
    coordinator: bytes = b""
    participants: list[bytes] = field(default_factory=list)
    model: _Array | None = None
    #: The model that participants have, and of a server's optimiser; empty in the beginning.
    optimized: bytes = b""
    #: Whether messages are signed and sealed.
    envelopes: bool = False

    _MAGIC: ClassVar[bytes] = b"PETf\x03"

    def write(self) -> bytes:
        dtype, weights = b"", b""
        if self.model is not None:
            dtype, weights = self.model.dtype.str.encode(), self.model.tobytes()
        head = [
            struct.pack("<d?", self.now, self.envelopes),
            dtype,
            weights,
            self.optimized,
            self.coordinator,
        ]
        parts = [*head, *self.participants]
        return self._MAGIC + b"".join(struct.pack("<Q", len(part)) + part for part in parts)

    @classmethod
    def read(cls, state: bytes) -> _Saved:
        if not state.startswith(cls._MAGIC):
            raise ValueError("this is no state of a simulation, or one of another version")
        parts: list[bytes] = []
        at = len(cls._MAGIC)
        while at + 8 <= len(state):
            (length,) = struct.unpack_from("<Q", state, at)
            parts.append(state[at + 8 : at + 8 + length])
            at += 8 + length
        if at != len(state) or len(parts) < 5 or len(parts[0]) != 9:
            raise ValueError("the state of the simulation is damaged")
        now, envelopes = struct.unpack("<d?", parts[0])
        _, dtype, weights, optimized, coordinator, *participants = parts
        model = None
        if dtype:
            import numpy as np

            model = np.frombuffer(weights, np.dtype(dtype.decode("ascii", "replace"))).copy()
        return cls(now, coordinator, participants, model, optimized, envelopes)


def _counted(reasons: Sequence[str]) -> str:
    """Each reason once, the most frequent first, and not too many of them."""
    counts = Counter(reasons).most_common()
    told = [f"{count} times because {reason}" for reason, count in counts[:_REASONS]]
    more = len(counts) - len(told)
    return "; ".join(told) + (f"; and {more} other reasons" if more else "")


def _seed(seed: int, what: str) -> bytes:
    return hashlib.sha256(f"xaynet_sdk.simulate {seed} {what}".encode()).digest()

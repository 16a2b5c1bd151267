"""A whole federation in this process, in virtual time: nothing waits, no port is opened.

Participants and coordinator are the real state machines, and models are really masked; only the network is
left out, and time passes as quickly as the machines get on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import html
import itertools
import os
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from xaynet_sdk import protocol
from xaynet_sdk._numbers import whole
from xaynet_sdk._sealed import BEGINNING, SealedCoordinator
from xaynet_sdk._settings import with_defaults
from xaynet_sdk._types import Weights
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
Trainer: TypeAlias = ParticipantABC[Any, Any] | Callable[[Any], Weights | None]

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
# How many different reasons for failures are told.
_REASONS = 8


class SimulationError(XaynetError):
    """The simulated federation makes no progress.

    Its ``simulation``, as that of any exception that comes out of :func:`simulate`, has the rounds until then.
    """

    #: Why rounds have failed, in a row.
    failures: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SimulatedRound:
    """The outcome of a round that ended with a global model."""

    #: The coordinator's number of the round; those of failed rounds are left out.
    round_id: int
    #: Of how many local models the global one is the mean.
    models: int
    #: How many sum participants have voted for its mask.
    votes: int
    #: How long it took, training included, in real seconds.
    seconds: float
    #: How many weights of local models were beyond the bound, and how large the largest was.
    clamped: int
    largest_clamped: float
    #: What ``evaluate`` has found.
    metrics: Mapping[str, float]
    #: Why rounds since the last one have failed.
    failures: Sequence[str] = ()


# Not to be compared: arrays have no truth value.
@dataclass(slots=True, eq=False)
class Simulation:
    """The result of :func:`simulate`. A notebook shows it as a table; :meth:`plot` draws it."""

    rounds: list[SimulatedRound] = field(default_factory=list)
    #: The last global model.
    model: _Array | None = None
    #: The global model of each round, if they were to be kept.
    models: list[_Array] = field(default_factory=list)
    #: Where the federation's machines are, secret keys included: what ``simulate(..., resume=...)`` goes on from.
    state: bytes | None = field(default=None, repr=False)

    def columns(self) -> dict[str, list[float]]:
        """One list for each measure and metric, as for ``pandas.DataFrame(result.columns())``."""
        table: dict[str, list[float]] = {
            "round": [float(number) for number in range(1, len(self.rounds) + 1)],
            "models": [float(each.models) for each in self.rounds],
            "votes": [float(each.votes) for each in self.rounds],
            "seconds": [each.seconds for each in self.rounds],
            "clamped": [float(each.clamped) for each in self.rounds],
            "failures": [float(len(each.failures)) for each in self.rounds],
        }
        names = dict.fromkeys(itertools.chain.from_iterable(each.metrics for each in self.rounds))
        for name in names:
            table[name] = [each.metrics.get(name, float("nan")) for each in self.rounds]
        return table

    def plot(self, metrics: Iterable[str] | None = None, ax: Any = None) -> Any:
        """Draws metrics (all of ``evaluate``'s, or else how many models there were) by round, with
        Matplotlib, which has to be installed. Gives the axes."""
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise ModuleNotFoundError(
                f"a plot needs Matplotlib, which cannot be imported ({error}): install it with "
                "pip install 'xaynet-sdk[plot]'",
                name="matplotlib",
            ) from error
        table = self.columns()
        known = [name for name in table if any(name in each.metrics for each in self.rounds)]
        names = list(metrics) if metrics is not None else known or ["models"]
        unknown = [name for name in names if name not in table]
        if unknown:
            raise KeyError(f"there is no metric {unknown[0]!r}; there are {', '.join(table)}")
        if ax is None:
            _, ax = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
        for name in names:
            ax.plot(table["round"], table[name], marker="o", markersize=3, label=name)
        ax.set_xlabel("round")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.spines[["top", "right"]].set_visible(False)
        if len(names) == 1:
            ax.set_ylabel(names[0])
        else:
            ax.legend(frameon=False)
        return ax

    def __repr__(self) -> str:
        if not self.rounds:
            return "<Simulation: no rounds>"
        last = ", ".join(f"{name} {value:.4g}" for name, value in self.rounds[-1].metrics.items())
        return f"<Simulation: {len(self.rounds)} rounds{'; at last ' + last if last else ''}>"

    def _repr_html_(self) -> str:
        table = self.columns()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in table)
        rows = "".join(
            "<tr>" + "".join(f"<td>{value:.6g}</td>" for value in row) + "</tr>"
            for row in zip(*table.values(), strict=True)
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


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
) -> Simulation:
    """Runs a federation of this process's participants for some rounds.

    Participants are trained one after another. Which of them take part in a round, and as what, is drawn
    as in reality; the same seed gives the same draws, and with deterministic training the same models.

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
    result = Simulation() if resume is None else dataclasses.replace(resume)
    result.rounds, result.models = list(result.rounds), list(result.models)
    federation = _Federation(
        list(participants),
        model_length,
        scalars,
        mask,
        settings,
        seed,
        threads or os.cpu_count() or 1,
        result.state,
        sealed,
    )
    if resume is not None and resume.state is None:
        raise ValueError("the simulation to be resumed has no state: give what simulate has given")
    try:
        with federation, _progress(progress, rounds) as show:
            federation.begin()
            while len(result.rounds) < rounds:
                ended = federation.next_round(max_failures)
                model = federation.model
                assert model is not None, "a completed round has a model"
                metrics = {} if evaluate is None else _metrics(evaluate(model.copy()))
                done = SimulatedRound(
                    ended.round_id,
                    ended.models,
                    ended.votes,
                    federation.seconds(),
                    federation.clamped,
                    federation.largest_clamped,
                    metrics,
                    tuple(federation.failures),
                )
                result.rounds.append(done)
                result.model = model
                if keep_models:
                    result.models.append(model)
                show(done)
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


def _metrics(found: Mapping[str, float] | float) -> dict[str, float]:
    try:
        if isinstance(found, Mapping):
            return {str(name): float(value) for name, value in found.items()}
        return {"metric": float(found)}
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"evaluate gives a number, or a dict of numbers by name, and {found!r} is neither"
        ) from error


class _Member:
    """A participant's machine, and the user's code."""

    def __init__(self, machine: protocol.ParticipantMachine, trainer: Trainer) -> None:
        self.machine = machine
        self.trainer = trainer
        self.wake_at: float | None = 0.0
        self.training_input: Any = None
        # Version 2: whether it waits for the global model, and is asked to train meanwhile.
        self.fetching = False
        self.needed = False
        self.outcomes = OutcomeTracker(self._tell_outcome)

    def _tell_outcome(self, outcome: UpdateOutcome) -> None:
        if isinstance(self.trainer, ParticipantABC):
            self.trainer.on_update_outcome(outcome)

    def new_round(self, model: _Array | None) -> None:
        trainer = self.trainer
        if not isinstance(trainer, ParticipantABC):
            self.training_input = None if model is None else model.copy()
            return
        self.training_input = None
        if model is not None:
            given: Any = model.copy() if trainer.global_model_as_array else model.tolist()
            self.training_input = trainer.deserialize_training_input(given)
        trainer.on_new_global_model(self.training_input)

    def train(self) -> Weights | None:
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
        self._threads = threads
        saved = _Saved() if state is None else _Saved.read(state)
        if state is not None and len(saved.participants) != len(trainers):
            raise ValueError(
                f"the simulation to be resumed has {len(saved.participants)} participants, and not {len(trainers)}: "
                "give the same ones, in the same order"
            )
        self._resumed = state is not None
        self._now = saved.now if sealed is None else BEGINNING
        prob = min(_SUM_PROB, _SUMMERS / len(trainers))
        polling = protocol.Polling(_PAUSE, _PAUSE, 1.0, _PAUSE)
        self._sealed = sealed is not None
        self.model: _Array | None = saved.model
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
                ),
                trainer,
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
            self._members.append(_Member(machine, trainer))

    def begin(self) -> None:
        """Whoever goes on in the middle of a round has to have its global model."""
        if self._resumed:
            for member in self._members:
                if member.machine.parameters is not None:
                    member.new_round(self.model)

    def state(self) -> bytes | None:
        """All machines, and what time it is for them. Nothing in version 2: the committee cannot be saved."""
        if isinstance(self._coordinator, SealedCoordinator):
            return None
        participants = [member.machine.snapshot() for member in self._members]
        return _Saved(self._now, self._coordinator.snapshot(), participants, self.model).write()

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
                    self.model = model
                    return event

    def _step(self) -> float:
        """Has everyone do what is due now; tells when something is due next."""
        for member in self._members:
            if member.wake_at is not None and member.wake_at <= self._now:
                self._attend(member)
        self._coordinator.handle_input(self._now, protocol.Tick())
        outputs = list(protocol.settle(self._coordinator, self._now, threads=self._threads))
        self._events += outputs
        idle = outputs[-1]
        times = [member.wake_at for member in self._members if member.wake_at is not None]
        if isinstance(idle, protocol.Idle) and idle.wake_at is not None:
            times.append(idle.wake_at)
        return min(times, default=self._now)

    def _attend(self, member: _Member) -> None:
        for event in protocol.exchange(
            member.machine,
            self._coordinator,
            self._now,
            threads=self._threads,
            observe=self._events,
        ):
            try:
                match event:
                    case protocol.NewRound() if self._sealed:
                        # The model comes with its certificate, when the machine has checked it.
                        member.outcomes.take_in("round")
                        member.fetching, member.needed = True, False
                        member.machine.handle_input(self._now, protocol.FetchModel())
                    case protocol.GlobalModel(model) if self._sealed:
                        member.fetching = False
                        member.new_round(model)
                        if member.needed:
                            self._train(member)
                    case protocol.GlobalModelFailed() if self._sealed and member.fetching:
                        member.machine.handle_input(self._now, protocol.FetchModel())
                    case protocol.ModelNeeded() if self._sealed:
                        member.needed = True
                        if not member.fetching:
                            self._train(member)
                    case protocol.Refusal(error):
                        raise error
                    case protocol.Certified(number, count, included):
                        member.outcomes.take_in("certified", number, count, included)
                    case protocol.NotCertified(number, reason):
                        member.outcomes.take_in("not_certified", number, reason)
                    case protocol.NewRound():
                        # Of a round that this one knows nothing of, there may be a model already.
                        latest = self._coordinator.global_model()
                        if latest is not None:
                            # A restored coordinator has none until its next round ends.
                            self.model = latest
                        member.outcomes.take_in("round")
                        member.new_round(self.model)
                    case protocol.ModelNeeded():
                        self._train(member)
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

    def _train(self, member: _Member) -> None:
        member.needed = False
        weights = member.train()
        if weights is not None:
            member.outcomes.model_set()
            member.machine.handle_input(self._now, protocol.SetModel(weights))
            self._tell_of_precision_once(member.machine)

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

    _MAGIC: ClassVar[bytes] = b"PETf\x01"

    def write(self) -> bytes:
        dtype, weights = b"", b""
        if self.model is not None:
            dtype, weights = self.model.dtype.str.encode(), self.model.tobytes()
        head = [struct.pack("<d", self.now), dtype, weights, self.coordinator]
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
        if at != len(state) or len(parts) < 4 or len(parts[0]) != 8:
            raise ValueError("the state of the simulation is damaged")
        (now,) = struct.unpack("<d", parts[0])
        _, dtype, weights, coordinator, *participants = parts
        model = None
        if dtype:
            import numpy as np

            model = np.frombuffer(weights, np.dtype(dtype.decode("ascii", "replace"))).copy()
        return cls(now, coordinator, participants, model)


def _counted(reasons: Sequence[str]) -> str:
    """Each reason once, the most frequent first, and not too many of them."""
    counts = Counter(reasons).most_common()
    told = [f"{count} times because {reason}" for reason, count in counts[:_REASONS]]
    more = len(counts) - len(told)
    return "; ".join(told) + (f"; and {more} other reasons" if more else "")


def _seed(seed: int, what: str) -> bytes:
    return hashlib.sha256(f"xaynet_sdk.simulate {seed} {what}".encode()).digest()


# Showing how far it is.


class _Show(Protocol):
    def __enter__(self) -> Callable[[SimulatedRound], object]: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def _progress(progress: bool | Callable[[SimulatedRound], object], rounds: int) -> _Show:
    if not isinstance(progress, bool):
        return _Called(progress)
    if not progress:
        return _Called(lambda done: None)
    try:
        # A bar of its own in notebooks.
        from tqdm.auto import tqdm  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        return _Line(rounds)
    return _Bar(tqdm(total=rounds, unit="round"))


class _Called:
    def __init__(self, call: Callable[[SimulatedRound], object]) -> None:
        self._call = call

    def __enter__(self) -> Callable[[SimulatedRound], object]:
        return self._call

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        """Nothing is to be tidied up."""


class _Bar(_Called):
    def __init__(self, bar: Any) -> None:
        def show(done: SimulatedRound) -> None:
            bar.set_postfix({name: f"{value:.4g}" for name, value in done.metrics.items()})
            bar.update()

        super().__init__(show)
        self._bar = bar

    def _end(self) -> None:
        self._bar.close()


class _Line(_Called):
    """One line on standard error, written anew; nothing where nobody reads along."""

    def __init__(self, rounds: int) -> None:
        self._count = itertools.count(1)
        self._rounds = rounds
        self._shown = sys.stderr.isatty() or "ipykernel" in sys.modules
        super().__init__(self._show)

    def _show(self, done: SimulatedRound) -> None:
        number = next(self._count)
        if self._shown:
            metrics = "".join(f"  {name} {value:.4g}" for name, value in done.metrics.items())
            sys.stderr.write(f"\rround {number}/{self._rounds}{metrics}\x1b[K")
            sys.stderr.flush()

    def _end(self) -> None:
        if self._shown:
            sys.stderr.write("\n")

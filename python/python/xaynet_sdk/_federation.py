"""The machines of a federation in this process: what :mod:`xaynet_sdk.simulation` runs."""

from __future__ import annotations

import hashlib
import io
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from xaynet_sdk import protocol
from xaynet_sdk._sealed import BEGINNING, SealedCoordinator
from xaynet_sdk._settings import with_defaults
from xaynet_sdk._types import Weights
from xaynet_sdk.aggregation import Aggregate, Update, WeightedMean, packed
from xaynet_sdk.optimizers import ServerOptimizer
from xaynet_sdk.outcome import OutcomeTracker, UpdateOutcome
from xaynet_sdk.participant import ParticipantABC
from xaynet_sdk.pin import Budget, Noise
from xaynet_sdk.xaynet_sdk import XaynetError, _advice

if TYPE_CHECKING:
    import numpy.typing as npt

    _Array: TypeAlias = npt.NDArray[Any]

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


@dataclass(frozen=True, slots=True)
class Sealed:
    """What there is to a simulation of version 2."""

    groups: int
    members: int
    noise: Noise | None
    budget: Budget | None


class Member:
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


class Federation:
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
        sealed: Sealed | None = None,
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
        saved = Saved() if state is None else Saved.read(state)
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
            Member(
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
        sealed: Sealed,
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
            self._members.append(Member(machine, trainer, self._aggregation))

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
        return Saved(
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

    def _go_on(self, saved: Saved) -> None:
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
        due: list[Member] = []
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
            trained: list[Member] = []
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
        self, coordinator: protocol.CoordinatorMachine, members: Sequence[Member]
    ) -> list[Member]:
        """Has participants and coordinator do what they can; gives those who wait for a model."""
        waiting: list[Member] = []
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

    def _take_in_event(self, member: Member, event: tuple[Any, ...], waiting: list[Member]) -> None:
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

    def _begin_round(self, member: Member, task: str) -> None:
        # Whoever was not asked in the round before, which has failed, had the same global model.
        if member.untold:
            self._tell(member)
        member.untold = True
        if task != "update":
            self._tell(member)

    def _tell(self, member: Member) -> None:
        """Tells a participant of the global model; it is kept only for training."""
        member.new_round(self.model, self.aggregate)
        member.training_input = None

    def _attend(self, member: Member) -> None:
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

    def _train(self, member: Member) -> bool:
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
class Saved:
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
    def read(cls, state: bytes) -> Saved:
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

"""The protocol's state machines, which do no input or output themselves.

A machine is told what has happened (:meth:`ParticipantMachine.handle_input`) and says what should
happen next (:meth:`ParticipantMachine.poll_output`). It opens no socket, starts no thread, reads no
clock, and draws its randomness from one seed: the same inputs give the same outputs, byte for byte.
So it can be embedded in any event loop (trio, Twisted, Qt, a game's), and tested without one.

How to drive a machine:

1. Call ``poll_output`` until it gives :class:`Idle`, and do what each output says: send a
   :class:`Request`, run a :class:`Job` (anywhere: it does not hold the interpreter's lock), look at the
   events. A job's ``job_class`` says how to run it: ``short`` ones on the spot, ``serial`` ones on a
   thread, ``parallel`` ones on as many threads as you can spare.
2. Wait for whatever comes first: an answer, a finished job, a command of the user, or ``wake_at``.
3. Tell the machine with ``handle_input``, and begin again.

Times are seconds of any clock that does not run backwards, such as ``time.monotonic()`` or
``trio.current_time()``; begin a restored machine with any time that you like. (A participant with a roster, which is one of
version 2, compares the time with what others have signed: give it ``time.time()``.)

Example:
    A whole round in memory::

        from xaynet_sdk import protocol as p

        coordinator = p.CoordinatorMachine(model_length=2, seed=bytes(32))
        participants = [p.ParticipantMachine(seed=bytes([i] * 32)) for i in range(1, 11)]
        now = 0.0
        while coordinator.global_model() is None:
            for participant in participants:
                for event in p.exchange(participant, coordinator, now):
                    if isinstance(event, p.ModelNeeded):
                        participant.handle_input(now, p.SetModel([0.5, -0.25]))
            now += 0.1
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from xaynet_sdk import xaynet_sdk as _native
from xaynet_sdk._handle import NotCopied
from xaynet_sdk._settings import flat_settings as _flat_settings
from xaynet_sdk._types import State, Weights
from xaynet_sdk.pin import Budget, Noise, Pin, PrivacyBudget, _Path
from xaynet_sdk.pin import native_credential as _native_credential
from xaynet_sdk.pin import native_identity as _native_identity
from xaynet_sdk.pin import native_pin as _native_pin
from xaynet_sdk.pin import noise as _noise
from xaynet_sdk.pin import privacy_budget as _privacy_budget
from xaynet_sdk.sealing import as_bytes as _as_bytes
from xaynet_sdk.sealing import seal as _seal
from xaynet_sdk.sealing import unseal as _unseal
from xaynet_sdk.xaynet_sdk import CoordinatorInit, JobCancelled, ParticipantRestore, StaleInput
from xaynet_sdk.xaynet_sdk import _Job as Job
from xaynet_sdk.xaynet_sdk import _JobResult as JobResult

if TYPE_CHECKING:
    from xaynet_sdk._sealed import SealedCoordinator

    _Task: TypeAlias = Literal["none", "sum", "update"]
    _Tag: TypeAlias = Literal["sum", "update", "sum2"]

__all__ = [
    "Cancel",
    "Certified",
    "CoordinatorInput",
    "CoordinatorMachine",
    "CoordinatorOutput",
    "Fault",
    "FetchModel",
    "GaveUp",
    "GlobalModel",
    "GlobalModelFailed",
    "Idle",
    "Job",
    "JobCancelled",
    "JobDone",
    "JobLost",
    "JobResult",
    "Message",
    "MessageAccepted",
    "MessageRejected",
    "ModelMasked",
    "ModelNeeded",
    "ModelOutdated",
    "ModelRejected",
    "NewRound",
    "NotCertified",
    "Other",
    "ParticipantInput",
    "ParticipantMachine",
    "ParticipantOutput",
    "Patience",
    "PhaseBegan",
    "PhaseEnded",
    "Polling",
    "PrivacySpent",
    "Progress",
    "Refusal",
    "Rejected",
    "Request",
    "Response",
    "RoundCompleted",
    "RoundFailed",
    "RoundParameters",
    "Sent",
    "SetModel",
    "StaleInput",
    "Stop",
    "Tick",
    "Trouble",
    "exchange",
    "settle",
]


# What is known.


@dataclass(frozen=True, slots=True)
class RoundParameters:
    """What the coordinator tells everyone about a round."""

    #: The round's random seed: it names the round.
    seed: bytes
    #: The coordinator's public key for this round.
    public_key: bytes
    #: The probability of being a sum participant.
    sum_prob: float
    #: The probability of being an update participant, for those who do not sum.
    update_prob: float
    #: How models are masked: group, data type, bound, number of models; ``Prime/F32/B0/M3``.
    mask_config: str
    #: The models' data type, as NumPy calls it.
    dtype: str
    #: How many weights a model has.
    model_length: int

    @property
    def bound(self) -> float:
        """The bound that weights, multiplied by the scalar, are clamped to (infinite at Bmax)."""
        return {"B0": 1.0, "B2": 1e2, "B4": 1e4, "B6": 1e6}.get(
            self.mask_config.split("/")[2], math.inf
        )


@dataclass(frozen=True, slots=True)
class Polling:
    """How long a participant waits between two looks at the coordinator, in seconds."""

    after_progress: float = 0.1
    initial: float = 0.1
    factor: float = 1.2
    max: float = 10.0


# What may happen to a machine.


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed, and nothing else has happened."""


@dataclass(frozen=True, slots=True)
class Response:
    """A request was answered, whatever the status."""

    id: int
    status: int
    body: bytes = b""
    #: The answer's header ``Retry-After``, if it has one.
    retry_after: str | None = None
    #: Its header ``Content-Type``, if it has one: it tells the form of a global model. Needed by those that
    #: send the request's headers along.
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A request was not answered."""

    id: int
    kind: Literal["unreachable", "timed_out", "too_large"] = "unreachable"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JobDone:
    """A job is finished."""

    result: JobResult


@dataclass(frozen=True, slots=True)
class JobLost:
    """A job was lost. There is no need to say so: the machine sees that a job, or its result, was dropped, and gives
    it out again if it is still needed. One that is lost five times in a row is given up: :class:`GaveUp`,
    :class:`GlobalModelFailed` or :class:`RoundFailed` says so."""

    id: int


@dataclass(frozen=True, slots=True)
class SetModel:
    """A trained model, to be sent when this participant is next chosen to update."""

    model: Weights


@dataclass(frozen=True, slots=True)
class FetchModel:
    """Fetch the global model: the answer is a :class:`GlobalModel` or a :class:`GlobalModelFailed`."""


@dataclass(frozen=True, slots=True)
class Patience:
    """From now on the coordinator may hold answers back until there is news, for up to so many seconds (45 at most): then
    this participant takes a few requests a round, instead of asking again and again. For whoever does something else while
    a request is under way, waits for its answer for ``wait`` seconds longer, and takes :class:`Cancel`. A coordinator that
    does not know of this answers at once, and is asked as often as before. In version 2 all answers come at once."""

    seconds: float = 45.0


@dataclass(frozen=True, slots=True)
class Message:
    """The body of a participant's ``POST /message``, for a coordinator.

    :class:`MessageAccepted` or :class:`MessageRejected` with the same ticket tells what has become of it.
    """

    #: Your name for it, a number that is not negative.
    ticket: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Stop:
    """Do nothing more. Take a snapshot first if the machine is to go on later."""


ParticipantInput: TypeAlias = (
    Tick | Response | Fault | JobDone | JobLost | SetModel | FetchModel | Patience | Stop
)
CoordinatorInput: TypeAlias = Tick | Message | JobDone | JobLost | Stop


# What a machine says.


@dataclass(frozen=True, slots=True)
class Request:
    """Send this to the coordinator, and report the answer, or the lack of one, with the same id."""

    id: int
    method: str
    #: To be appended to the coordinator's URL; begins with a slash.
    path: str
    body: bytes
    #: Names and values of the headers to send, beside those that any client sends.
    headers: list[tuple[str, str]]
    #: For so many seconds the coordinator may hold its answer back: wait for it so much longer than for others. More
    #: than 0 only after :class:`Patience`.
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Cancel:
    """The answer to this request is not waited for any more: drop it. Only after :class:`Patience`."""

    id: int


@dataclass(frozen=True, slots=True)
class Idle:
    """There is nothing to do before the next input, or before ``wake_at`` if that is not None."""

    wake_at: float | None
    #: What is being waited for.
    why: str


@dataclass(frozen=True, slots=True)
class NewRound:
    """A new round has begun: there may be a new global model."""

    task: _Task
    parameters: RoundParameters


@dataclass(frozen=True, slots=True)
class ModelNeeded:
    """This participant is to update and has no local model: please set one. Said once a round."""

    dtype: str
    length: int


@dataclass(frozen=True, slots=True)
class ModelRejected:
    """A local model that was set earlier cannot be used and was dropped."""

    error: Exception


@dataclass(frozen=True, slots=True)
class ModelOutdated:
    """A local model was not used in the round that it was set in, and was dropped: see ``keep_models`` of
    :class:`ParticipantMachine`."""


@dataclass(frozen=True, slots=True)
class ModelMasked:
    """The local model was masked."""

    #: How many weights, multiplied by the scalar, were beyond the bound and put on it.
    clamped: int
    #: The largest of them, in absolute value.
    largest_clamped: float
    #: Whether the scalar was beyond its bound and put on it.
    scalar_clamped: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """A part of a message was delivered."""

    tag: _Tag
    sent: int
    total: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A message was delivered. Whether it was accepted is not known."""

    tag: _Tag


@dataclass(frozen=True, slots=True)
class Rejected:
    """The coordinator has rejected a message, for good: nothing more can be done in this round.

    Only coordinators of this project tell.
    """

    tag: _Tag
    #: A short, stable name of the reason.
    label: str
    #: The HTTP status of the answer.
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class GaveUp:
    """This participant can do nothing more in this round."""

    reason: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """The coordinator could not be asked, or gave a wrong answer: it is asked again later."""

    call: str
    reason: str


@dataclass(frozen=True, slots=True)
class GlobalModel:
    """The global model, as asked for; None while there is none."""

    #: An array or a list, as the machine was told to give.
    model: Any


@dataclass(frozen=True, slots=True)
class GlobalModelFailed:
    """The global model could not be fetched: ask again later."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Refusal:
    """Version 2: this participant does not go on as things are. It asks again: what is wrong may be put right."""

    #: A :class:`xaynet_sdk.Refused`: what is wrong, who is to blame, and what to do.
    error: Exception


@dataclass(frozen=True, slots=True)
class Certified:
    """Version 2: a round has ended with a global model, and its certificate holds."""

    round: int
    #: How many models were added up.
    count: int
    #: Whether this participant's is one of them, which is proven; None if it has sent none in that round.
    included: bool | None


@dataclass(frozen=True, slots=True)
class NotCertified:
    """Version 2: a round for which this participant has made an update has ended without a certificate."""

    round: int
    reason: str


@dataclass(frozen=True, slots=True)
class PrivacySpent:
    """Version 2: a model was masked for a round with noise, which costs privacy whether the round ends well or not."""

    round: int
    #: What was spent in all rounds so far, as an epsilon for this delta.
    spent: float
    delta: float
    #: The epsilon of the budget; None without one.
    budget: float | None


@dataclass(frozen=True, slots=True)
class MessageAccepted:
    """A coordinator has accepted a participant's message."""

    #: That of the :class:`Message`; None if it came by :meth:`CoordinatorMachine.request`.
    ticket: int | None = None


@dataclass(frozen=True, slots=True)
class MessageRejected:
    """A coordinator has discarded a message."""

    #: Why, for the coordinator's operator.
    reason: str
    #: That of the :class:`Message`; None if it came by :meth:`CoordinatorMachine.request`.
    ticket: int | None = None
    #: A short, stable name of the reason, such as ``duplicate_update``.
    label: str = ""
    #: With which HTTP status to tell the sender, if it wants to know (it sends ``Accept:
    #: application/problem+json`` then; others are answered with 200, whatever comes of their messages).
    status: int = 400
    #: What to tell such a sender: a document of the type ``application/problem+json``.
    problem: bytes = b""


@dataclass(frozen=True, slots=True)
class PhaseBegan:
    """A phase of a round has begun."""

    round_id: int
    phase: str


@dataclass(frozen=True, slots=True)
class PhaseEnded:
    """A phase has ended well."""

    round_id: int
    phase: str
    #: How many messages it has accepted.
    accepted: int
    #: How long it took, in seconds of the machine's time.
    took: float


@dataclass(frozen=True, slots=True)
class RoundCompleted:
    """A round has ended with a global model."""

    round_id: int
    #: How many models it is the mean of.
    models: int
    #: How many sum participants have voted for its mask.
    votes: int


@dataclass(frozen=True, slots=True)
class RoundFailed:
    """A round has failed. The next one begins."""

    round_id: int
    phase: str
    reason: str
    #: A short, stable name of the reason.
    label: str


@dataclass(frozen=True, slots=True)
class Other:
    """Something that this version of the package has no class for."""

    text: str


ParticipantOutput: TypeAlias = (
    Request
    | Cancel
    | Job
    | Idle
    | NewRound
    | ModelNeeded
    | ModelRejected
    | ModelOutdated
    | ModelMasked
    | Progress
    | Sent
    | Rejected
    | GaveUp
    | Trouble
    | GlobalModel
    | GlobalModelFailed
    | Refusal
    | Certified
    | NotCertified
    | PrivacySpent
    | Other
)
CoordinatorOutput: TypeAlias = (
    Job
    | Idle
    | MessageAccepted
    | MessageRejected
    | PhaseBegan
    | PhaseEnded
    | RoundCompleted
    | RoundFailed
    | Other
)

_OUTPUTS: dict[str, Any] = {
    "request": Request,
    "cancel": Cancel,
    "job": lambda job: job,
    "idle": lambda wake_at, why: Idle(None if wake_at is None else wake_at / 1000, why),
    "new_round": lambda task, parameters: NewRound(task, RoundParameters(*parameters)),
    "model_needed": ModelNeeded,
    "model_rejected": ModelRejected,
    "model_outdated": ModelOutdated,
    "model_masked": ModelMasked,
    "progress": Progress,
    "sent": Sent,
    "rejected": Rejected,
    "gave_up": GaveUp,
    "trouble": Trouble,
    "global_model": GlobalModel,
    "global_model_failed": GlobalModelFailed,
    "refused": Refusal,
    "certified": Certified,
    "not_certified": NotCertified,
    "budget_spent": PrivacySpent,
    "message_accepted": MessageAccepted,
    "message_rejected": MessageRejected,
    "phase_began": PhaseBegan,
    "phase_ended": PhaseEnded,
    "round_completed": RoundCompleted,
    "round_failed": RoundFailed,
    "other": Other,
}


def _millis(now: float) -> int:
    # A thousandth of a millisecond on top, so that whoever comes at `wake_at` exactly is not too early.
    millis = now * 1000 + 1e-3
    if not 0 <= millis < 2**63:
        raise ValueError(f"a time is a number of seconds that is not negative, not {now!r}")
    return int(millis)


class ParticipantMachine(NotCopied):
    """One participant. See the :mod:`module's page <xaynet_sdk.protocol>`.

    Args:
        seed: 32 bytes from which the participant's keys and all its randomness are derived: a secret.
            None takes the operating system's randomness.
        state: What :meth:`snapshot` gave, to go on from, instead of a seed.
        key, passphrase: What the state was sealed with, if it was.
        scalar: The weight of its models in the average, sum(s_i * w_i) / sum(s_i).
        max_message_size: Longer messages are split into parts of at most so many bytes.
        max_model_length: Rounds of longer models are not taken part in.
        polling: How often the coordinator is asked.
        arrays: Whether global models are NumPy arrays (then NumPy is needed) or lists.
        keep_models: Whether a local model that was not used in the round that it was set in is kept for a later one.
        roster, credential, identity, budget: As for :func:`xaynet_sdk.spawn_participant`: for rounds of version 2. The
            machine's time is then the time of day, as ``time.time()`` gives it.

    Raises:
        CryptoInit, ParticipantInit, ParticipantRestore, SealError
    """

    def __init__(
        self,
        seed: bytes | None = None,
        *,
        state: State | None = None,
        key: bytes | None = None,
        passphrase: str | None = None,
        scalar: float = 1.0,
        max_message_size: int | None = None,
        max_model_length: int | None = None,
        polling: Polling | None = None,
        arrays: bool = True,
        keep_models: bool = True,
        roster: Pin | _Path | None = None,
        credential: bytes | _Path | None = None,
        identity: bytes | _Path | None = None,
        budget: Budget | None = None,
        _hand_over: bool = False,
    ) -> None:
        if seed is not None and state is not None:
            raise ValueError("a machine is made from a seed or from a state, not from both")
        secret = _native_identity(identity, state)
        if state is not None:
            state = _unseal(state, key=key, passphrase=passphrase)
        self._arrays = arrays
        pauses = polling or Polling()
        self._native = _native._ParticipantMachine(
            seed,
            state,
            scalar,
            max_message_size,
            max_model_length,
            (pauses.after_progress, pauses.initial, pauses.factor, pauses.max),
            keep_models,
            _native_pin(roster, budget),
            _native_credential(credential, roster),
            secret,
            _hand_over,
        )

    def handle_input(self, now: float, input: ParticipantInput) -> None:
        """Tells the machine what has happened. Then call :meth:`poll_output` until it is idle.

        Raises:
            StaleInput: An answer or a result that is not waited for: ignore it.
            LocalModelLengthMisMatch, LocalModelDataTypeMisMatch: The model does not fit the round.
            UninitializedParticipant: The machine was stopped.
        """
        native, millis = self._native, _millis(now)
        match input:
            case Tick():
                native.tick(millis)
            case Response(id, status, body, retry_after, content_type):
                native.response(millis, id, status, body, retry_after, content_type)
            case Fault(id, kind, reason):
                native.fault(millis, id, kind, reason)
            case JobDone(result):
                native.job_done(millis, result)
            case JobLost(id):
                native.job_lost(millis, id)
            case SetModel(model):
                native.set_model(millis, model)
            case FetchModel():
                native.fetch_model(millis)
            case Patience(seconds):
                native.patience(millis, seconds)
            case Stop():
                native.stop(millis)
            case _:
                raise TypeError(f"a participant has no input such as {input!r}")

    def poll_output(self) -> ParticipantOutput:
        """Says what should happen next; :class:`Idle` once there is nothing."""
        name, *values = self._native.poll_output(self._arrays)
        output: ParticipantOutput = _OUTPUTS[name](*values)
        return output

    @property
    def task(self) -> _Task:
        """What this participant does in the current round."""
        return self._native.task

    @property
    def needs_model(self) -> bool:
        """Whether the participant waits for a local model."""
        return self._native.needs_model

    @property
    def has_model(self) -> bool:
        """Whether there is a local model that was not yet used."""
        return self._native.has_model

    @property
    def public_key(self) -> bytes:
        """The public key by which the coordinator knows this participant."""
        return self._native.public_key

    @property
    def budget(self) -> PrivacyBudget | None:
        """What was spent of its privacy, and what is left; None in version 1."""
        return _privacy_budget(self._native.spent)

    @property
    def noise(self) -> Noise | None:
        """The noise of the current round, if there is any."""
        return _noise(self._native.noise)

    @property
    def parameters(self) -> RoundParameters | None:
        """The parameters of the current round; None before the first."""
        known = self._native.parameters
        return None if known is None else RoundParameters(*known)

    def snapshot(self, *, key: bytes | None = None, passphrase: str | None = None) -> bytes:
        """Takes a snapshot: all that is needed to go on later, sealed if a key or a passphrase is given.

        It holds the participant's secret keys, and a local model that was not yet used.
        """
        return _seal(self._native.snapshot(), key=key, passphrase=passphrase)

    def __repr__(self) -> str:
        needs = ", needs a local model" if self.needs_model else ""
        return f"<ParticipantMachine: task {self.task}{needs}>"


class CoordinatorMachine(NotCopied):
    """A coordinator, with all that it publishes. See the :mod:`module's page <xaynet_sdk.protocol>`.

    It keeps nothing but in memory. A coordinator that others rely on is the program
    ``pet-coordinator``.

    Args:
        model_length: How many weights a model has.
        settings: Anything of the coordinator's settings file, by its dotted key, such as
            ``{"pet.sum.prob": 0.4}``.
        mask: How models are masked, such as ``Prime/F32/B0/M3``.
        seed: 32 bytes from which all keys are derived. None takes the operating system's randomness.
        state: What :meth:`snapshot` gave, to go on from, instead of a seed.
        key, passphrase: What the state was sealed with, if it was.
        now: The time at which it begins.
        arrays: Whether global models are NumPy arrays (then NumPy is needed) or lists.

    Raises:
        CoordinatorInit: Settings are wrong (all mistakes are told at once), or the state cannot be read.
        SealError: The state does not open with this key or passphrase, or needs one.
    """

    def __init__(
        self,
        model_length: int,
        *,
        settings: Mapping[str, object] | None = None,
        mask: str | None = None,
        seed: bytes | None = None,
        state: State | None = None,
        key: bytes | None = None,
        passphrase: str | None = None,
        now: float = 0.0,
        arrays: bool = True,
    ) -> None:
        if seed is not None and state is not None:
            raise ValueError("a machine is made from a seed or from a state, not from both")
        if state is not None:
            try:
                state = _as_bytes(_unseal(state, key=key, passphrase=passphrase))
            except ParticipantRestore as error:
                raise CoordinatorInit(str(error)) from error
        self._arrays = arrays
        self._native = _native._CoordinatorMachine(
            _flat_settings(model_length, mask, settings), seed, state, _millis(now)
        )

    def request(self, now: float, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Answers a participant's request: HTTP status and body.

        Poll the outputs until :class:`Idle` before (once) and after it. A message is answered with 200
        before it is processed, as old coordinators do. What becomes of it is an output,
        :class:`MessageAccepted` or :class:`MessageRejected`: hand in a :class:`Message` instead, and answer
        when the output with its ticket is there, to let the sender know.
        """
        return self._native.request(_millis(now), method, path, body)

    def handle_input(self, now: float, input: CoordinatorInput) -> None:
        """Tells the machine what has happened. Then call :meth:`poll_output` until it is idle.

        Raises:
            StaleInput: A result that is not waited for: ignore it.
            XaynetError: The machine was stopped.
        """
        native, millis = self._native, _millis(now)
        match input:
            case Tick():
                native.tick(millis)
            case Message(ticket, body):
                native.message(millis, ticket, body)
            case JobDone(result):
                native.job_done(millis, result)
            case JobLost(id):
                native.job_lost(millis, id)
            case Stop():
                native.stop(millis)
            case _:
                raise TypeError(f"a coordinator has no input such as {input!r}")

    def poll_output(self) -> CoordinatorOutput:
        """Says what should happen next; :class:`Idle` once there is nothing."""
        name, *values = self._native.poll_output()
        output: CoordinatorOutput = _OUTPUTS[name](*values)
        return output

    @property
    def round_id(self) -> int:
        """The number of the current round, from 1."""
        return self._native.round_id

    @property
    def phase(self) -> str:
        """The current phase."""
        return self._native.phase

    @property
    def accepted(self) -> int:
        """How many messages the current phase has accepted."""
        return self._native.accepted

    @property
    def parameters(self) -> RoundParameters:
        """The current round's parameters."""
        return RoundParameters(*self._native.parameters)

    def global_model(self) -> Any:
        """The latest global model, an array or a list; None while there is none, or where it has weights beyond the range of
        its data type."""
        return self._native.global_model(self._arrays)

    def snapshot(self, *, key: bytes | None = None, passphrase: str | None = None) -> bytes:
        """Takes a snapshot: all that is needed to go on later, sealed if a key or a passphrase is given.

        It holds secret keys.
        """
        return _seal(self._native.snapshot(), key=key, passphrase=passphrase)

    def __repr__(self) -> str:
        return f"<CoordinatorMachine: round {self.round_id}, {self.phase} phase>"


def settle(
    coordinator: CoordinatorMachine | SealedCoordinator, now: float, *, threads: int = 1
) -> Iterator[CoordinatorOutput]:
    """Runs a coordinator's jobs until it is idle, and gives its other outputs, :class:`Idle` last."""
    while True:
        output = coordinator.poll_output()
        if isinstance(output, Job):
            coordinator.handle_input(now, JobDone(output.run(threads)))
            continue
        yield output
        if isinstance(output, Idle):
            return


def exchange(
    participant: ParticipantMachine,
    coordinator: CoordinatorMachine | SealedCoordinator,
    now: float,
    *,
    threads: int = 1,
    observe: list[CoordinatorOutput] | None = None,
    tell: bool = False,
) -> Iterator[ParticipantOutput]:
    """Has a participant and a coordinator of this process do all that they can at this time.

    Jobs are run on the spot. For tests and simulations. The participant's events are given as they
    come, :class:`Idle` last, and may be answered with inputs meanwhile; the coordinator's are appended
    to ``observe``.

    With ``tell`` the participant is told when a message of it is rejected, as coordinators of this project
    do: :class:`Rejected`. Without, it takes every message for :class:`Sent`, as with older ones.
    """

    def settle_coordinator() -> list[CoordinatorOutput]:
        outputs = list(settle(coordinator, now, threads=threads))
        if observe is not None:
            observe.extend(outputs)
        return outputs

    coordinator.handle_input(now, Tick())
    settle_coordinator()
    participant.handle_input(now, Tick())
    while True:
        output = participant.poll_output()
        match output:
            case Request(id, "POST", "/message", body, _) if tell:
                coordinator.handle_input(now, Message(0, body))
                response = Response(id, 200)
                for told in settle_coordinator():
                    if isinstance(told, MessageRejected) and told.ticket is not None:
                        response = Response(id, told.status, told.problem)
                participant.handle_input(now, response)
            case Request(id, method, path, body, _):
                status, answer = coordinator.request(now, method, path, body)
                settle_coordinator()
                participant.handle_input(now, Response(id, status, answer))
            case Job():
                participant.handle_input(now, JobDone(output.run(threads)))
            case Idle():
                yield output
                return
            case _:
                yield output

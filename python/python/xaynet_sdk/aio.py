"""A participant for asyncio programs::

    async with xaynet_sdk.aio.connect("http://127.0.0.1:8081") as participant:
        async for round in participant.rounds():
            if round.task == "update":
                model = await participant.global_model()
                await participant.submit(train(model))

Requests go through `httpx <https://www.python-httpx.org>`_ (``pip install "xaynet-sdk[aio]"``), masking runs in
an executor, and everything else in the event loop. Any of these calls may be cancelled at any time.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from xaynet_sdk import protocol as p
from xaynet_sdk._handle import NotCopied
from xaynet_sdk._log import ParticipantLog
from xaynet_sdk._numbers import seconds, whole
from xaynet_sdk._types import State, Weights
from xaynet_sdk.aggregation import Aggregate, Update, WeightedMean, packed
from xaynet_sdk.outcome import OutcomeTracker, UpdateOutcome
from xaynet_sdk.pin import Budget, Noise, Pin, PrivacyBudget, _Path
from xaynet_sdk.sealing import sealer
from xaynet_sdk.tls import Tls
from xaynet_sdk.xaynet_sdk import (
    ParticipantInit,
    UninitializedParticipant,
    XaynetError,
    _Network,
    _RoundWatch,
)

if TYPE_CHECKING:
    import ssl

    from xaynet_sdk.xaynet_sdk import _PreparedModel

    import httpx
    import numpy.typing as npt

    _Task = p._Task
    _Model = npt.NDArray[Any]

__all__ = ["Participant", "Round", "SubmissionRejected", "connect"]

_T = TypeVar("_T")

# Calls with short answers; the others may have any that fit into memory.
_SHORT = 1 << 16
_LONG = 2 << 30
# The statuses of messages that came too late, or that there is no room for.
_TOO_LATE = (409, 503)
# Those of them that have other reasons.
_NOT_LATE = ("second_statement", "too_many_headers", "unknown_upload", "other_chunk")
# How long a look at the coordinator's status may take, in seconds.
_LOOK = 5.0
# And how long it may be, in bytes.
_MOST_STATUS = 1 << 20
# From so many weights on they are converted beside the event loop: below that, it takes less than to go there.
_LARGE = 1 << 14
# The slowest upload that is waited for, in bytes a second.
_UPLOAD_RATE = 16 << 10


class SubmissionRejected(XaynetError):
    """The coordinator has rejected the local model, or it could not be sent in this round."""


@dataclass(frozen=True, slots=True)
class Round:
    """A round that has begun."""

    #: What this participant does in it: ``none``, ``sum`` or ``update``.
    task: _Task
    #: What the coordinator tells everyone about it: data type and length of the models, and more.
    parameters: p.RoundParameters


def connect(
    url: str,
    *,
    state: State | None = None,
    key: bytes | None = None,
    passphrase: str | None = None,
    scalar: float = 1.0,
    seed: bytes | None = None,
    timeout: float = 60.0,
    polling: p.Polling | None = None,
    threads: int | None = None,
    tls: Tls | None = None,
    max_message_size: int | None = None,
    client: httpx.AsyncClient | None = None,
    executor: Executor | None = None,
    keep_models: bool = False,
    on_update_outcome: Callable[[UpdateOutcome], object] | None = None,
    roster: Pin | _Path | None = None,
    credential: bytes | _Path | None = None,
    identity: bytes | _Path | None = None,
    budget: Budget | None = None,
    on_refusal: Callable[[Exception], object] | None = None,
    aggregation: WeightedMean | None = None,
    patience: float | None = None,
) -> Participant:
    """Connects a participant, for an ``async with`` block; it stops at the block's end.

    Args:
        url: The coordinator's base URL; it may have a path.
        state: What :meth:`Participant.stop` gave, to go on from.
        key, passphrase: What the state was sealed with, if it was.
        scalar: The weight of its models in the average, sum(s_i * w_i) / sum(s_i).
        seed: 32 bytes from which its keys are derived: a secret. For tests.
        timeout: The longest wait for an answer of the coordinator, in seconds.
        polling: How often the coordinator is asked.
        threads: How many threads mask; all by default.
        tls: Whom to trust, and what to show, if the URL is an https one.
        max_message_size: Longer messages are split into parts of at most so many bytes, for proxies that take no
            larger ones.
        client: The HTTP client to use, which stays open. It has its own idea of TLS and of proxies.
        executor: Where to mask; the event loop's own executor by default.
        keep_models: Whether a model that was not used in the round that it was submitted for is kept for a later
            one. By default it counts for the round that :meth:`Participant.rounds` or
            :meth:`Participant.global_model` was asked in last, and for no other.
        on_update_outcome: What to call, in the event loop, with what has become of models: see
            :class:`xaynet_sdk.UpdateOutcome`.
        roster, credential, identity, budget: As for :func:`xaynet_sdk.spawn_participant`: for rounds of version 2.
        on_refusal: What to call, in the event loop, with a :class:`xaynet_sdk.Refused` that says why this participant does not
            go on as things are (version 2). It is logged in any case, and asked again.
        aggregation: As for :func:`xaynet_sdk.spawn_participant`: then :meth:`Participant.submit` takes a
            :class:`xaynet_sdk.Update`.
        patience: For how long the coordinator may hold an answer back until there is news, in seconds: up to 45, as ``timeout``
            allows. With a ``client`` none by default, as each participant that waits takes one of its connections.

    Raises:
        CryptoInit, ParticipantInit, ParticipantRestore, SealError
        ModuleNotFoundError: httpx or NumPy is not installed.
    """
    _need("httpx")
    _need("numpy")
    if seconds("timeout", timeout, ParticipantInit) == 0:
        raise ParticipantInit("timeout must be a positive number of seconds, and 0 is not")
    if threads is not None:
        whole("threads", threads, 1, ParticipantInit)
    if patience is None:
        patience = timeout if client is None else 0.0
    patience = min(seconds("patience", patience, ParticipantInit), timeout)
    if tls is not None and client is not None:
        raise ParticipantInit(
            "give tls, or a client that has certificates of its own, but not both"
        )
    if not isinstance(url, str):
        raise ParticipantInit(
            f"{url!r} is not a coordinator's URL; give one such as http://127.0.0.1:8081"
        )
    network = _Network(url, client is None)
    verify: ssl.SSLContext | bool = True
    if tls is not None or network.authorities is not None:
        verify = (tls or Tls())._context(network.authorities)
    machine = p.ParticipantMachine(
        seed,
        state=state,
        key=key,
        passphrase=passphrase,
        scalar=scalar,
        max_message_size=max_message_size,
        polling=polling or p.Polling(),
        keep_models=keep_models,
        roster=roster,
        credential=credential,
        identity=identity,
        budget=budget,
    )
    return Participant(
        machine,
        network,
        timeout,
        verify,
        client,
        executor,
        threads or os.cpu_count() or 1,
        keep_models,
        on_update_outcome,
        on_refusal,
        aggregation,
        patience,
    )


def _need(module: str) -> None:
    """Says how to get what is not there, before anything is begun."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"xaynet_sdk.aio needs {module}, which cannot be imported ({error}): install it with "
            "pip install 'xaynet-sdk[aio]'",
            name=module,
        ) from error


def _is_large(weights: object) -> bool:
    try:
        return len(weights) >= _LARGE  # type: ignore[arg-type]
    except TypeError:
        # It will be refused, or is something that takes its time to become an array.
        return hasattr(weights, "__array__")


class _Clock:
    """The machine's time: it never runs backwards. In version 2 it is the time of day."""

    def __init__(self, of_day: bool) -> None:
        self._ahead = 0.0 if of_day else None

    def __call__(self) -> float:
        now = time.monotonic()
        if self._ahead is None:
            return now
        # A computer that sleeps counts no time.
        self._ahead = max(self._ahead, time.time() - now)
        return now + self._ahead


class Participant(NotCopied):
    """A running participant, made by :func:`connect`."""

    def __init__(
        self,
        machine: p.ParticipantMachine,
        network: _Network,
        timeout: float,
        verify: ssl.SSLContext | bool,
        client: httpx.AsyncClient | None,
        executor: Executor | None,
        threads: int,
        keep_models: bool,
        on_update_outcome: Callable[[UpdateOutcome], object] | None,
        on_refusal: Callable[[Exception], object] | None = None,
        aggregation: WeightedMean | None = None,
        patience: float = 0.0,
    ) -> None:
        self._machine = machine
        self._aggregation = aggregation
        self._clock = _Clock(machine._native.needs_time_of_day)
        self._on_refusal = on_refusal
        self._patience = patience
        self._log = ParticipantLog(machine.public_key)
        self._keep_models = keep_models
        self._on_update_outcome = on_update_outcome
        self._outcomes = OutcomeTracker(self._tell_outcome)
        self._watch: _RoundWatch | None = _RoundWatch()
        self._looking: asyncio.Task[None] | None = None
        # The round that a model that is handed over was trained for; 0 if nobody has asked for one yet.
        self._trained_for = 0
        # How often submit was called, and which of the calls has set a model last.
        self._submissions = 0
        self._set_by = 0
        self._network = network
        self._timeout = timeout
        self._verify = verify
        self._given_client = client
        self._executor = executor
        self._threads = threads
        self._round: Round | None = None
        self._rounds = 0
        self._changed = asyncio.Condition()
        self._woken = asyncio.Event()
        self._children: set[asyncio.Task[None]] = set()
        # The request whose answer may be held back, of which there is one at most.
        self._held: tuple[int, asyncio.Task[None]] | None = None
        self._models: list[asyncio.Future[_Model | None]] = []
        # Who waits for the model that is next, and for the one that is being masked or sent.
        self._next: list[asyncio.Future[bool]] = []
        self._sending: list[asyncio.Future[bool]] = []
        self._driver: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._stopped = False
        # The state of a participant that was stopped, as long as nobody has got it.
        self._state: bytes | None = None

    async def __aenter__(self) -> Participant:
        if self._driver is not None:
            raise RuntimeError("a participant can be entered only once: connect again")
        if self._given_client is None:
            import httpx

            # What is in a body is counted, so it must be no compressed form of something larger.
            # The environment was read already, as all transports read it.
            proxy = None
            if self._network.proxy is not None:
                proxy_url, user = self._network.proxy
                proxy = httpx.Proxy(proxy_url, auth=user)
            self._client = httpx.AsyncClient(
                headers={"accept-encoding": "identity"},
                verify=self._verify,
                proxy=proxy,
                trust_env=False,
            )
        else:
            self._client = self._given_client
        self._machine.handle_input(self._clock(), p.Patience(self._patience))
        self._driver = asyncio.create_task(self._drive(), name="xaynet-participant")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    @property
    def round(self) -> Round | None:
        """The current round; None before the first contact with the coordinator."""
        return self._round

    @property
    def budget(self) -> PrivacyBudget | None:
        """What was spent of the privacy of this participant's data, and what is left; None in version 1."""
        return self._machine.budget

    @property
    def noise(self) -> Noise | None:
        """The noise of the current round, if there is any."""
        return self._machine.noise

    async def rounds(self) -> AsyncIterator[Round]:
        """Yields every round that begins, the current one first.

        Whoever takes longer than a round gets the latest one next. It ends when the participant stops.
        """
        seen = 0
        if not self._stopped:
            self._check()
        while True:
            async with self._changed:
                while self._rounds == seen and not self._stopped:
                    await self._changed.wait()
                if self._stopped:
                    self._raise_error()
                    return
                seen = self._trained_for = self._rounds
                current = self._round
            assert current is not None, "a round that was counted is known"
            yield current

    async def global_model(self) -> _Model | None:
        """Fetches the global model, a NumPy array; None while there is none.

        With an ``aggregation`` of :func:`connect` it is the model alone, without what is summed beside it:
        :meth:`aggregate` gives all.

        Raises:
            GlobalModelUnavailable: The coordinator cannot be reached; try again later.
            GlobalModelLengthMisMatch: The model is of another setup of the coordinator, or the coordinator lies.
            GlobalModelDataTypeMisMatch: The model has weights that its data type does not have.
            Refused: Version 2: this participant does not go on as things are; a subclass says what is wrong, who is to
                blame, and what to do.
            UninitializedParticipant: The participant was stopped.
        """
        if self._aggregation is None:
            return await self._fetch()
        aggregate = await self.aggregate()
        return None if aggregate is None else aggregate.model

    async def aggregate(self) -> Aggregate | None:
        """Fetches what has come of all participants' updates, metrics included; None while there is no global model.

        Raises:
            AggregationError: The global model is no mean of the aggregation's vectors.
            XaynetError: What :meth:`global_model` raises.
        """
        if self._aggregation is None:
            raise TypeError(
                "this participant has no aggregation: give one to connect, or ask for global_model"
            )
        vector = await self._fetch()
        return None if vector is None else self._aggregation.unpack(vector)

    async def _fetch(self) -> _Model | None:
        self._check()
        self._trained_for = self._rounds
        self._machine.handle_input(self._clock(), p.FetchModel())
        return await self._answer(self._models)

    async def submit(self, weights: Weights | Update) -> bool:
        """Submits a local model (with an ``aggregation`` a :class:`xaynet_sdk.Update`), and waits until it is sent.

        A later call replaces a model that is not yet being masked. To cancel the waiting does not take the
        model back once it is handed over. A large model is converted beside the event loop: leave it as it is until this returns.

        Returns:
            True once it is sent. False if it does not count in the round that it was trained for (the one that
            :meth:`rounds` or :meth:`global_model` was asked in last): because the round, or its
            update phase, is over before; because a later call has replaced it; or because this participant
            does not update in the round, or has already. Such a model is dropped; with ``keep_models`` of
            :func:`connect` it is used when this participant next updates.

        Raises:
            LocalModelLengthMisMatch, LocalModelDataTypeMisMatch: It does not fit.
            SubmissionRejected: The coordinator has rejected it, and not because it came too late. (Only
                coordinators of this project tell.)
            UninitializedParticipant: The participant was stopped.
        """
        self._check()
        self._submissions += 1
        number, trained_for = self._submissions, self._trained_for
        model = weights.model if isinstance(weights, Update) else weights
        if _is_large(model):
            loop = asyncio.get_running_loop()
            prepared = await loop.run_in_executor(None, self._prepare, weights)
            self._check()
        else:
            prepared = self._prepare(weights)
        if number < self._set_by:
            # A later call was quicker, and has replaced it before it was there.
            return False
        if not self._keep_models and 0 < trained_for < self._rounds:
            self._outcomes.late("the round that it was trained for is over")
            return False
        # (It is here that a warning is raised, where the user's line can be named.)
        self._machine._native._set_prepared(p._millis(self._clock()), prepared)
        self._set_by = number
        self._outcomes.model_set()
        self._settle(self._next, lambda waiting: waiting.set_result(False))
        return await self._answer(self._next)

    def _prepare(self, weights: Weights | Update) -> _PreparedModel:
        return self._machine._native._prepare(packed(self._aggregation, weights))

    async def stop(self, *, key: bytes | None = None, passphrase: str | None = None) -> bytes:
        """Stops at once and returns the saved state, sealed if a key or a passphrase is given.

        It holds the participant's secret keys, and a local model that was not yet used. If this is cancelled
        the participant stops nevertheless: call it again for the state.

        Raises:
            UninitializedParticipant: The participant was stopped before.
        """
        seal = sealer(key, passphrase)
        if self._state is None:
            # Whoever has ended with an error has a state, too.
            if self._error is None or self._closing is not None:
                self._check()
            self._state = self._machine.snapshot()
        await self._close()
        state = seal(self._state)
        self._state = None
        return state

    # What is behind it.

    def _check(self) -> None:
        self._raise_error()
        if self._stopped or self._driver is None:
            raise UninitializedParticipant(
                "the participant is not running: use it within `async with connect(...)`, and before stop()"
            )

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    async def _answer(self, waiting: list[asyncio.Future[_T]]) -> _T:
        answer: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        waiting.append(answer)
        self._woken.set()
        return await answer

    async def _drive(self) -> None:
        """Does what the machine says, until it is cancelled."""
        try:
            while True:
                self._woken.clear()
                self._machine.handle_input(self._clock(), p.Tick())
                idle = await self._drain()
                if idle.wake_at is None:
                    await self._woken.wait()
                    continue
                try:
                    async with asyncio.timeout(max(0.0, idle.wake_at - self._clock())):
                        await self._woken.wait()
                except TimeoutError:
                    # It is time to go on.
                    continue
        except Exception as error:
            self._log.critical("the participant ends", exc_info=True)
            self._error = error
            await self._end(error)

    async def _drain(self) -> p.Idle:
        while True:
            match self._machine.poll_output():
                case p.Idle() as idle:
                    return idle
                case p.Request() as request:
                    task = self._spawn(self._request(request))
                    if request.wait > 0:
                        self._held = request.id, task
                case p.Cancel(id):
                    if self._held is not None and self._held[0] == id:
                        self._held[1].cancel()
                case p.Job() as job:
                    if job.kind == "mask_model":
                        # It takes the local model.
                        self._sending += self._next
                        self._next.clear()
                    self._spawn(self._run(job))
                case event:
                    await self._tell(event)

    def _feed(self, input: p.ParticipantInput) -> None:
        try:
            self._machine.handle_input(self._clock(), input)
        except p.StaleInput as error:
            self._log.debug("%s", error)
        self._woken.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._children.add(task)
        task.add_done_callback(self._child_ended)
        return task

    def _child_ended(self, task: asyncio.Task[None]) -> None:
        self._children.discard(task)
        if task is self._looking:
            self._looking = None
        if not task.cancelled() and task.exception() is not None and self._driver is not None:
            # A bug, or no memory: nobody would ever answer the machine.
            self._driver.cancel(f"{task.exception()!r}")
            self._error = task.exception()
            self._ending = asyncio.ensure_future(self._end(self._error))

    async def _request(self, request: p.Request) -> None:
        import httpx

        short = request.path in ("/params", "/message", "/v2/round") or request.method == "POST"
        limit = _SHORT if short else _LONG
        upload = len(request.body) / _UPLOAD_RATE
        timeout = httpx.Timeout(
            self._timeout, write=self._timeout + upload, read=self._timeout + request.wait
        )
        # Only who has said what it knows is told that there is nothing else.
        has_known = any(name == "if-none-match" for name, _ in request.headers)
        answer: p.ParticipantInput
        try:
            async with self._client.stream(
                request.method,
                self._network.url + request.path,
                content=request.body or None,
                headers=request.headers,
                timeout=timeout,
                follow_redirects=False,
            ) as response:
                body = bytearray()
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > limit:
                        break
                location = response.headers.get("location")
                if 300 <= response.status_code < 400 and not (
                    has_known and response.status_code == 304
                ):
                    # A message could be lost by that.
                    words = self._network.redirected(request.path, response.status_code, location)
                    answer = p.Fault(request.id, "unreachable", words)
                elif response.status_code == 407 and self._network.proxy is not None:
                    words = self._network.explain("HTTP status 407")
                    answer = p.Fault(request.id, "unreachable", words)
                elif len(body) > limit:
                    answer = p.Fault(request.id, "too_large")
                else:
                    answer = p.Response(
                        request.id,
                        response.status_code,
                        bytes(body),
                        retry_after=response.headers.get("retry-after"),
                        content_type=response.headers.get("content-type"),
                    )
        except httpx.TimeoutException:
            answer = p.Fault(request.id, "timed_out")
        # Not every OSError of TLS becomes one of httpx's.
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            words = self._network.explain(str(error) or type(error).__name__)
            answer = p.Fault(request.id, "unreachable", words)
        self._feed(answer)

    async def _run(self, job: p.Job) -> None:
        loop = asyncio.get_running_loop()
        try:
            result = await loop.run_in_executor(self._executor, job.run, self._threads)
        except asyncio.CancelledError:
            # The thread goes on until it looks.
            job.cancel()
            raise
        self._feed(p.JobDone(result))

    def _tell_outcome(self, outcome: UpdateOutcome) -> None:
        self._log.debug("what has become of the local model: %s %s", outcome.kind, outcome.reason)
        if self._on_update_outcome is None:
            return
        try:
            self._on_update_outcome(outcome)
        except Exception:
            self._log.exception("on_update_outcome has raised an exception")

    def _refused(self, error: Exception) -> None:
        if self._on_refusal is None:
            return
        try:
            self._on_refusal(error)
        except Exception:
            self._log.exception("on_refusal has raised an exception")

    async def _look(self, watch: _RoundWatch) -> None:
        """What has become of the round before, if the coordinator tells: those of old do not."""
        import httpx

        status = bytearray()
        try:
            async with (
                asyncio.timeout(_LOOK),
                self._client.stream("GET", self._network.url + watch.PATH) as answer,
            ):
                async for part in answer.aiter_bytes():
                    status += part
                    if len(status) > _MOST_STATUS:
                        return
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            self._log.debug("the coordinator's status cannot be had: %s", error)
            return
        if answer.status_code in (404, 405, 501):
            self._watch = None
        if answer.status_code != 200:
            return
        over, advice = watch.take_in(bytes(status))
        for news in over:
            self._outcomes.take_in(*news)
        if advice is not None:
            self._log.warning("%s", advice)

    def _look_again(self) -> None:
        """One look at a time: who is slow misses none, since a status has the latest rounds."""
        if self._watch is None or self._looking is not None:
            return
        self._looking = self._spawn(self._look(self._watch))

    async def _tell(self, event: p.ParticipantOutput) -> None:
        match event:
            case p.NewRound(task, parameters):
                self._log.info("a new round; task: %s", task)
                if self._round is not None:
                    self._submitted(lambda waiting: waiting.set_result(False))
                self._outcomes.take_in("round")
                await self._enter(Round(task, parameters))
                self._look_again()
            case p.ModelOutdated():
                self._outcomes.take_in("outdated")
            case p.ModelMasked():
                await self._enter_restored()
                self._outcomes.take_in("masked")
            case p.ModelNeeded() | p.Progress():
                await self._enter_restored()
            case p.Sent(tag):
                await self._enter_restored()
                self._log.info("the %s message is sent", tag)
                if tag == "update":
                    self._settle(self._sending, lambda waiting: waiting.set_result(True))
                    self._outcomes.take_in("sent")
            case p.Refusal(error):
                self._log.error(
                    "this participant does not take part: %s [to blame: %s]",
                    error,
                    getattr(error, "blame", ""),
                )
                self._refused(error)
            case p.Certified(number, count, included):
                mine = ""
                if included is not None:
                    mine = ", this participant's " + ("among them" if included else "left out")
                level = logging.WARNING if included is False else logging.INFO
                text = "round %d is certified: %d models were added up%s"
                self._log.log(level, text, number, count, mine)
                self._outcomes.take_in("certified", number, count, included)
            case p.NotCertified(number, reason):
                self._log.info("round %d has no certificate: %s", number, reason)
                self._outcomes.take_in("not_certified", number, reason)
            case p.Rejected(tag, label, status, reason):
                # To be late is nothing unusual: a round ends once there are enough.
                late = status in _TOO_LATE and label not in _NOT_LATE
                level = logging.INFO if late else logging.WARNING
                self._log.log(level, "the coordinator has rejected the %s message: %s", tag, reason)
                if tag == "update" and late:
                    self._settle(self._sending, lambda waiting: waiting.set_result(False))
                elif tag == "update":
                    rejected = SubmissionRejected(reason)
                    self._settle(self._sending, lambda waiting: waiting.set_exception(rejected))
                if tag == "update":
                    self._outcomes.take_in("rejected", late, reason)
            case p.GaveUp(reason):
                self._outcomes.take_in("gave_up", reason)
                self._log.error("this participant is out of the round: %s", reason)
                gave_up = SubmissionRejected(reason)
                self._submitted(lambda waiting: waiting.set_exception(gave_up))
            case p.ModelRejected(error):
                self._log.error("the local model was dropped: %s", error)
                self._settle(
                    self._sending or self._next, lambda waiting: waiting.set_exception(error)
                )
            case p.GlobalModel(model):
                self._settle(self._first_wish(), lambda waiting: waiting.set_result(model))
            case p.GlobalModelFailed(error):
                self._settle(self._first_wish(), lambda waiting: waiting.set_exception(error))
            case p.Trouble(call, reason):
                self._log.warning("%s: %s; the coordinator is asked again", call, reason)
            case _:
                self._log.debug("%s", event)
        if isinstance(event, p.ModelMasked) and event.clamped:
            self._log.warning(
                "%d weights of the local model were beyond the bound (the largest is %g) and were put on it",
                event.clamped,
                event.largest_clamped,
            )

    async def _enter(self, round: Round) -> None:
        async with self._changed:
            self._round = round
            self._rounds += 1
            self._changed.notify_all()

    async def _enter_restored(self) -> None:
        """A restored participant gets on in the round that it was saved in, which has not begun anew."""
        parameters = self._machine.parameters
        if self._round is None and parameters is not None:
            await self._enter(Round(self._machine.task, parameters))

    def _first_wish(self) -> list[asyncio.Future[_Model | None]]:
        """Answers come in the order of the wishes; that to a call which was cancelled is for nobody else."""
        wish = self._models[:1]
        del self._models[:1]
        return wish

    @staticmethod
    def _settle(
        waiting: list[asyncio.Future[_T]], settle: Callable[[asyncio.Future[_T]], None]
    ) -> None:
        for future in waiting:
            # Whoever was cancelled does not wait any more.
            if not future.done():
                settle(future)
        waiting.clear()

    def _submitted(self, settle: Callable[[asyncio.Future[bool]], None]) -> None:
        self._settle(self._next, settle)
        self._settle(self._sending, settle)

    async def _end(self, error: BaseException | None) -> None:
        """Has everyone who waits know that nothing comes any more."""
        self._stopped = True
        last = error or UninitializedParticipant("the participant was stopped")
        self._settle(self._models, lambda waiting: waiting.set_exception(last))
        self._submitted(lambda waiting: waiting.set_exception(last))
        async with self._changed:
            self._changed.notify_all()

    async def _close(self) -> None:
        """Stops at once. Whoever is cancelled while waiting here leaves nothing half done."""
        if self._closing is None:
            tasks = [*self._children]
            if self._driver is not None:
                tasks.append(self._driver)
            for task in tasks:
                task.cancel()
            self._driver = None
            self._stopped = True
            self._closing = asyncio.create_task(self._wind_up(tasks))
        await asyncio.shield(self._closing)

    async def _wind_up(self, tasks: list[asyncio.Task[None]]) -> None:
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._end(self._error)
        if self._given_client is None:
            await self._client.aclose()

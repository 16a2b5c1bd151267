"""The machines themselves."""

from __future__ import annotations

import copy
import json
import pickle
import struct
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import xaynet_sdk
from xaynet_sdk import protocol as p

LENGTH = 3
TIMES = {f"pet.{phase}.time.max": 30 for phase in ("sum", "update", "sum2")}


def coordinator(**arguments: Any) -> p.CoordinatorMachine:
    return p.CoordinatorMachine(
        LENGTH, seed=bytes(32), settings={**TIMES, "pet.sum.prob": 0.4}, **arguments
    )


def machines(count: int) -> list[p.ParticipantMachine]:
    return [p.ParticipantMachine(bytes([i + 1] * 32)) for i in range(count)]


def round_of(
    server: p.CoordinatorMachine, participants: list[p.ParticipantMachine], value: float = 0.5
) -> Iterator[p.ParticipantOutput]:
    now = 0.0
    while server.global_model() is None:
        for participant in participants:
            for event in p.exchange(participant, server, now):
                yield event
                if isinstance(event, p.ModelNeeded):
                    participant.handle_input(now, p.SetModel(np.full(LENGTH, value, np.float32)))
        now += 0.1
        assert now < 200, "no round in sight"


def test_a_round() -> None:
    server, participants = coordinator(), machines(12)
    events = list(round_of(server, participants))
    model = server.global_model()
    assert isinstance(model, np.ndarray)
    assert np.allclose(model, 0.5, atol=1e-6)
    kinds = {type(event) for event in events}
    assert {p.NewRound, p.ModelNeeded, p.ModelMasked, p.Sent, p.Idle} <= kinds
    assert server.round_id >= 2
    assert server.parameters.model_length == LENGTH
    assert server.parameters.bound == 1


def test_it_is_the_same_every_time() -> None:
    """Also where jobs run on several threads."""

    def requests(threads: int) -> list[bytes]:
        server, participants = coordinator(), machines(12)
        sent: list[bytes] = []
        now = 0.0
        while server.global_model() is None:
            for participant in participants:
                participant.handle_input(now, p.Tick())
                while not isinstance(output := participant.poll_output(), p.Idle):
                    match output:
                        case p.Request(id, method, path, body):
                            sent.append(path.encode() + body)
                            answer = server.request(now, method, path, body)
                            list(p.settle(server, now))
                            participant.handle_input(now, p.Response(id, *answer))
                        case p.Job():
                            participant.handle_input(now, p.JobDone(output.run(threads)))
                        case p.ModelNeeded():
                            participant.handle_input(now, p.SetModel([0.5] * LENGTH))
            now += 0.1
            server.handle_input(now, p.Tick())
            list(p.settle(server, now))
        return sent

    first = requests(1)
    assert len(first) > 50
    assert requests(3) == first


@given(st.floats(0, 1e9, allow_nan=False))
def test_who_comes_at_the_time_told_is_not_too_early(begin: float) -> None:
    machine = p.ParticipantMachine(bytes(32))
    machine.handle_input(begin, p.Tick())
    request = machine.poll_output()
    assert isinstance(request, p.Request)
    machine.handle_input(begin, p.Fault(request.id, "timed_out"))
    while not isinstance(idle := machine.poll_output(), p.Idle):
        pass
    assert idle.wake_at is not None
    assert begin < idle.wake_at <= begin + 0.2
    machine.handle_input(idle.wake_at, p.Tick())
    assert isinstance(machine.poll_output(), p.Request)


@pytest.mark.parametrize("now", [-1.0, float("nan"), float("inf"), 1e17])
def test_what_is_no_time(now: float) -> None:
    with pytest.raises(ValueError, match="number of seconds"):
        p.ParticipantMachine().handle_input(now, p.Tick())


class Storm(RuleBasedStateMachine):
    """A participant is told whatever comes to mind, restored at any time, and must get through."""

    @initialize(seed=st.binary(min_size=32, max_size=32))
    def begin(self, seed: bytes) -> None:
        self.now = 0.0
        self.machine = p.ParticipantMachine(seed)
        self.server = coordinator()
        list(p.settle(self.server, 0.0))
        self.requests: list[p.Request] = []
        self.jobs: list[p.Job] = []
        self.results: list[p.JobResult] = []
        self.idle: p.Idle | None = None

    def tell(self, input: p.ParticipantInput) -> None:
        try:
            self.machine.handle_input(self.now, input)
        except p.StaleInput:
            pass
        self.idle = None

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.server.handle_input(self.now, p.Tick())
        list(p.settle(self.server, self.now))
        self.tell(p.Tick())

    @rule()
    def drain(self) -> None:
        for _ in range(1000):
            match self.machine.poll_output():
                case p.Request() as request:
                    self.requests.append(request)
                case p.Job() as job:
                    self.jobs.append(job)
                case p.Idle() as idle:
                    self.idle = idle
                    return
        raise AssertionError("it never comes to rest")

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), again=st.booleans())
    def answered(self, data: st.DataObject, again: bool) -> None:
        index = data.draw(st.integers(0, len(self.requests) - 1))
        request = self.requests[index] if again else self.requests.pop(index)
        answer = self.server.request(self.now, request.method, request.path, request.body)
        list(p.settle(self.server, self.now))
        self.tell(p.Response(request.id, *answer))

    @precondition(lambda self: self.requests)
    @rule(
        status=st.sampled_from([200, 204, 400, 404, 409, 500, 503]),
        body=st.binary(max_size=200),
        retry_after=st.sampled_from([None, "1", "soon", "99999999999999999999"]),
    )
    def answered_with_rubbish(self, status: int, body: bytes, retry_after: str | None) -> None:
        self.tell(p.Response(self.requests.pop().id, status, body, retry_after))

    @precondition(lambda self: self.requests)
    @rule(kind=st.sampled_from(["unreachable", "timed_out", "too_large"]))
    def not_answered(self, kind: Any) -> None:
        self.tell(p.Fault(self.requests.pop().id, kind, "cable cut"))

    @precondition(lambda self: self.jobs)
    @rule(lost=st.booleans(), threads=st.integers(1, 3))
    def a_job_ends(self, lost: bool, threads: int) -> None:
        job = self.jobs.pop()
        if lost:
            self.tell(p.JobLost(job.id))
        else:
            self.tell(p.JobDone(job.run(threads)))

    @rule(weights=st.lists(st.floats(-1, 1, width=32), min_size=LENGTH - 1, max_size=LENGTH + 1))
    def a_model(self, weights: list[float]) -> None:
        try:
            self.tell(p.SetModel(weights))
        except xaynet_sdk.LocalModelLengthMisMatch:
            assert len(weights) != LENGTH

    @rule()
    def fetch(self) -> None:
        self.tell(p.FetchModel())

    @rule()
    def restored(self) -> None:
        key, has_model = self.machine.public_key, self.machine.has_model
        self.machine = p.ParticipantMachine(state=self.machine.snapshot())
        assert (self.machine.public_key, self.machine.has_model) == (key, has_model)
        self.requests.clear()
        self.jobs.clear()
        self.idle = None
        self.tell(p.Tick())

    @invariant()
    def it_waits_for_something(self) -> None:
        if getattr(self, "idle", None) is not None and not self.requests and not self.jobs:
            assert self.idle is not None
            assert self.idle.wake_at is not None


Storm.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
TestStorm = Storm.TestCase


def test_snapshots_go_on_in_the_middle() -> None:
    server, participants = coordinator(), machines(12)
    now, restarts = 0.0, 0
    while server.global_model() is None:
        for index, participant in enumerate(participants):
            for event in p.exchange(participant, server, now):
                if isinstance(event, p.ModelNeeded):
                    participant.handle_input(now, p.SetModel([0.25] * LENGTH))
            participants[index] = p.ParticipantMachine(state=participant.snapshot())
            restarts += 1
        list(p.settle(server, now))
        server = p.CoordinatorMachine(
            LENGTH, settings={**TIMES, "pet.sum.prob": 0.4}, state=server.snapshot(), now=now
        )
        list(p.settle(server, now))
        now += 0.1
        assert now < 200
    assert restarts > 100
    model = server.global_model()
    assert model is not None
    assert np.allclose(model, 0.25, atol=1e-6)


def test_lists_and_arrays() -> None:
    for arrays in (True, False):
        server = coordinator(arrays=arrays)
        list(round_of(server, machines(12)))
        participant = p.ParticipantMachine(bytes(32), arrays=arrays)
        list(p.exchange(participant, server, 100.0))
        participant.handle_input(100.0, p.FetchModel())
        models = [
            event.model
            for event in p.exchange(participant, server, 100.0)
            if isinstance(event, p.GlobalModel)
        ]
        assert len(models) == 1
        for model in (models[0], server.global_model()):
            assert isinstance(model, np.ndarray if arrays else list)


def masking_job(length: int = LENGTH) -> tuple[p.Job, p.ParticipantMachine, p.CoordinatorMachine]:
    """Of the first participant that is about to mask a model."""
    server = p.CoordinatorMachine(length, seed=bytes(32), settings=TIMES)
    participants = machines(12)
    list(p.settle(server, 0))
    for tick in range(200):
        now = tick / 10
        for participant in participants:
            participant.handle_input(now, p.Tick())
            while not isinstance(output := participant.poll_output(), p.Idle):
                match output:
                    case p.Request(id, method, path, body):
                        answer = server.request(now, method, path, body)
                        list(p.settle(server, now))
                        participant.handle_input(now, p.Response(id, *answer))
                    case p.ModelNeeded():
                        weights = np.zeros(length, np.float32)
                        participant.handle_input(now, p.SetModel(weights))
                    case p.Job() if participant.task == "update":
                        return output, participant, server
                    case p.Job():
                        participant.handle_input(now, p.JobDone(output.run()))
        server.handle_input(now, p.Tick())
        list(p.settle(server, now))
    raise AssertionError("nobody updates")


def test_a_job_is_run_once_and_its_result_told_once() -> None:
    job, machine, server = masking_job()
    assert (job.name, job.kind, job.job_class) == ("mask local model", "mask_model", "parallel")
    assert str(job.id) in repr(job)
    result = job.run()
    assert result.id == job.id
    with pytest.raises(ValueError, match="only once"):
        job.run()
    with pytest.raises(ValueError, match="another machine's"):
        server.handle_input(50.0, p.JobDone(result))
    machine.handle_input(50.0, p.JobDone(result))
    with pytest.raises(ValueError, match="only once"):
        machine.handle_input(50.0, p.JobDone(result))


def test_a_cancelled_job_is_given_out_again() -> None:
    job, machine, server = masking_job()
    job.cancel()
    with pytest.raises(p.JobCancelled):
        job.run()
    machine.handle_input(50.0, p.JobLost(job.id))
    while not isinstance(output := machine.poll_output(), p.Job):
        assert isinstance(output, p.Request), "it looks first whether the round goes on"
        answer = server.request(50.0, output.method, output.path)
        machine.handle_input(50.0, p.Response(output.id, *answer))
    assert output.run() is not None


def test_other_threads_get_on_while_a_job_runs() -> None:
    """The interpreter's lock is not held: a thread of Python's counts meanwhile."""
    job, _, _ = masking_job(400_000)
    running, counted = threading.Event(), 0

    def count() -> None:
        nonlocal counted
        running.set()
        while running.is_set():
            counted += 1

    thread = threading.Thread(target=count)
    thread.start()
    running.wait()
    before = counted
    job.run()
    during = counted - before
    running.clear()
    thread.join()
    # With the lock held it could not count at all.
    assert during > 100


def test_what_is_no_input() -> None:
    with pytest.raises(TypeError, match="no input such as 'tick'"):
        p.ParticipantMachine().handle_input(0, "tick")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no input such as FetchModel"):
        coordinator().handle_input(0, p.FetchModel())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not from both"):
        p.ParticipantMachine(bytes(32), state=b"x")
    with pytest.raises(ValueError, match="a seed has 32 bytes, and this one has 3"):
        p.ParticipantMachine(b"abc")
    with pytest.raises(ValueError, match='"unreachable", "timed_out" or "too_large", not "bored"'):
        p.ParticipantMachine().handle_input(0, p.Fault(0, "bored"))  # type: ignore[arg-type]


def test_a_stopped_machine() -> None:
    machine = p.ParticipantMachine()
    machine.handle_input(0, p.Stop())
    while not isinstance(idle := machine.poll_output(), p.Idle):
        pass
    assert idle == p.Idle(None, "stopped")
    for input in (p.Tick(), p.FetchModel(), p.SetModel([0.0])):
        with pytest.raises(xaynet_sdk.UninitializedParticipant):
            machine.handle_input(0, input)


def test_requests_that_are_none() -> None:
    server = coordinator()
    for method, path in (("GET", "/"), ("POST", "/params"), ("GET", "/seeds?pk=!"), ("PUT", "/x")):
        assert server.request(0, method, path)[0] == 404
    assert server.request(0, "POST", "/message", b"rubbish") == (200, b"")
    assert p.MessageRejected in {type(output) for output in p.settle(server, 0)}


def test_what_becomes_of_a_message_is_told_with_its_ticket() -> None:
    server = p.CoordinatorMachine(2, seed=bytes(32), settings={"pet.sum.prob": 0.9})
    list(p.settle(server, 0.0))
    machine = next(each for each in machines(20) if task_in_first_round(each, server) == "sum")
    body = message_of(machine, server)

    def outcome(message: p.Message) -> p.CoordinatorOutput:
        server.handle_input(0.0, message)
        outputs = p.settle(server, 0.0)
        return next(
            each for each in outputs if isinstance(each, p.MessageAccepted | p.MessageRejected)
        )

    assert outcome(p.Message(7, body)) == p.MessageAccepted(7)
    again = outcome(p.Message(8, body))
    assert isinstance(again, p.MessageRejected)
    assert (again.ticket, again.label, again.status) == (8, "duplicate_sum", 409)
    assert "duplicate_sum" in json.loads(again.problem)["type"]
    # One that does not even open is told, too; what is wrong with it is the operator's to know.
    broken = outcome(p.Message(9, body[:-1]))
    assert isinstance(broken, p.MessageRejected)
    assert (broken.ticket, broken.status) == (9, 400)
    assert server.request(0.0, "POST", "/message", body) == (200, b"")
    assert [
        each.ticket for each in p.settle(server, 0.0) if isinstance(each, p.MessageRejected)
    ] == [None]
    with pytest.raises(OverflowError):
        server.handle_input(0.0, p.Message(-1, body))


def test_a_message_before_the_first_poll() -> None:
    server = p.CoordinatorMachine(2)
    server.handle_input(0.0, p.Message(1, b"early"))
    told = server.poll_output()
    assert isinstance(told, p.MessageRejected)
    assert (told.ticket, told.status) == (1, 503)


@pytest.mark.parametrize("tell", [False, True])
def test_a_participant_of_an_exchange_may_be_told(tell: bool) -> None:
    server = p.CoordinatorMachine(2, seed=bytes(32), settings={"pet.sum.prob": 0.9})
    list(p.settle(server, 0.0))
    machine = next(each for each in machines(20) if task_in_first_round(each, server) == "sum")
    twin = p.ParticipantMachine(state=machine.snapshot())
    for each in (machine, twin):
        seen = [
            event
            for now in (1.0, 1.2, 1.4, 1.6)
            for event in p.exchange(each, server, now, tell=tell)
            if isinstance(event, p.Sent | p.Rejected)
        ]
        told = each is twin and tell
        assert [type(event) for event in seen[:1]] == [p.Rejected if told else p.Sent]


def task_in_first_round(machine: p.ParticipantMachine, server: p.CoordinatorMachine) -> str:
    """Its task, once it knows the round."""
    machine.handle_input(0.0, p.Tick())
    request = machine.poll_output()
    assert isinstance(request, p.Request)
    status, body = server.request(0.0, request.method, request.path)
    machine.handle_input(0.0, p.Response(request.id, status, body))
    return machine.task


def message_of(machine: p.ParticipantMachine, server: p.CoordinatorMachine) -> bytes:
    """The first message that it sends."""
    for step in range(20):
        machine.handle_input(step / 5, p.Tick())
        while not isinstance(output := machine.poll_output(), p.Idle):
            if isinstance(output, p.Job):
                machine.handle_input(step / 5, p.JobDone(output.run()))
            elif isinstance(output, p.Request) and output.path == "/message":
                return output.body
            elif isinstance(output, p.Request):
                status, body = server.request(0.0, output.method, output.path)
                machine.handle_input(step / 5, p.Response(output.id, status, body))
    raise AssertionError("no message")


def test_a_coordinators_snapshot_may_be_sealed() -> None:
    server = p.CoordinatorMachine(2, seed=bytes(32))
    state = server.snapshot(passphrase="a few words")
    assert p.CoordinatorMachine(2, state=state, passphrase="a few words").round_id == 1
    assert p.CoordinatorMachine(2, state=list(server.snapshot())).round_id == 1
    with pytest.raises(xaynet_sdk.SealError):
        p.CoordinatorMachine(2, state=state, passphrase="others")
    with pytest.raises(xaynet_sdk.SealError):
        p.CoordinatorMachine(2, state=state)
    for damaged in (b"", server.snapshot()[:-1], p.ParticipantMachine().snapshot(), "state"):
        with pytest.raises(xaynet_sdk.CoordinatorInit):
            p.CoordinatorMachine(2, state=damaged)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not from both"):
        p.CoordinatorMachine(2, seed=bytes(32), state=server.snapshot())


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), 0.5, -1.0])
def test_pauses_do_not_shrink(factor: float) -> None:
    with pytest.raises(xaynet_sdk.ParticipantInit, match="factor"):
        p.ParticipantMachine(polling=p.Polling(factor=factor))


def test_machines_say_what_they_are_and_are_not_copied() -> None:
    for machine, what in (
        (p.ParticipantMachine(), "task none"),
        (p.CoordinatorMachine(2), "round 1"),
    ):
        assert what in repr(machine)
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="saved state"):
                duplicate(machine)


@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=300)), max_size=20), st.data())
def test_whatever_arrives_is_answered_and_does_no_harm(
    messages: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    """Bytes from anywhere, or a true message with a few bits turned: each ticket is told once."""
    server = p.CoordinatorMachine(2, seed=bytes(32), settings={"pet.sum.prob": 0.9})
    list(p.settle(server, 0.0))
    machine = next(each for each in machines(20) if task_in_first_round(each, server) == "sum")
    true = message_of(machine, server)
    turned = bytearray(true)
    turned[data.draw(st.integers(0, len(true) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    for ticket, body in [*messages, (1000, bytes(turned))]:
        server.handle_input(0.0, p.Message(ticket, body))
        told = [each for each in p.settle(server, 0.0) if isinstance(each, p.MessageRejected)]
        assert [each.ticket for each in told] == [ticket]
    server.handle_input(0.0, p.Message(2000, true))
    assert p.MessageAccepted(2000) in list(p.settle(server, 0.0))


def test_who_waits_for_news_is_told_how_long_and_gives_up_what_is_not_waited_for() -> None:
    server = p.CoordinatorMachine(
        2, seed=bytes(32), settings={"pet.sum.prob": 1e-4, "pet.update.prob": 1e-4}
    )
    list(p.settle(server, 0.0))
    machine = p.ParticipantMachine(seed=bytes([1] * 32))
    machine.handle_input(0.0, p.Patience(30.5))
    now, requests = 0.0, []
    while len(requests) < 4:
        match machine.poll_output():
            case p.Request() as request:
                requests.append(request)
                if request.wait == 0 or request.path != "/params":
                    answer = server.request(now, request.method, request.path, request.body)
                    machine.handle_input(now, p.Response(request.id, *answer))
                    continue
                assert request.wait == 30
                headers = dict(request.headers)
                assert headers["prefer"] == "wait=30" and len(headers["if-none-match"]) == 66
                now += request.wait
                machine.handle_input(now, p.Response(request.id, 304))
            case p.Idle(wake_at):
                assert wake_at is not None
                now = wake_at
                machine.handle_input(now, p.Tick())
            case p.NewRound():
                pass
            case other:
                raise AssertionError(other)
    # The first look wants its answer at once.
    assert [request.wait for request in requests[:3]] == [0, 30, 30]
    with pytest.raises(ValueError, match="not negative"):
        machine.handle_input(now, p.Patience(-1))


def test_a_request_that_is_not_waited_for_is_given_up() -> None:
    server = p.CoordinatorMachine(2, seed=bytes(32))
    list(p.settle(server, 0.0))
    parameters = server.request(0.0, "GET", "/params")[1]
    # Everybody updates.
    parameters = parameters[:40] + struct.pack("<dd", 0.0, 2.0) + parameters[56:]
    machine = p.ParticipantMachine(seed=bytes([1] * 32))
    machine.handle_input(0.0, p.Patience())
    now, held = 0.0, None
    sums = struct.pack("<QQ", 1, 32) + bytes([9] * 32) + struct.pack("<Q", 32) + bytes([7] * 32)
    while held is None:
        match machine.poll_output():
            case p.Request(id, _, "/params") as request if request.wait > 0:
                held = id
            case p.Request(id, _, "/params"):
                machine.handle_input(now, p.Response(id, 200, parameters))
            case p.Request(id, _, "/sums") as request:
                assert len(dict(request.headers)["pet-round"]) == 64
                machine.handle_input(now, p.Response(id, 200, sums))
            case p.Idle(wake_at):
                assert wake_at is not None
                now = wake_at
                machine.handle_input(now, p.Tick())
    machine.handle_input(now, p.SetModel([0.5, 0.5]))
    assert machine.poll_output() == p.Cancel(held)
    with pytest.raises(p.StaleInput):
        machine.handle_input(now, p.Response(held, 304))

"""Version 2: participants that pin a roster."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake import FakeCoordinator

import xaynet_sdk
from xaynet_sdk import Budget, Noise, Pin
from xaynet_sdk import protocol as p
from xaynet_sdk._sealed import BEGINNING, SealedCoordinator
from xaynet_sdk.xaynet_sdk import _credential, _roster_hash

TARGETS = np.linspace(-0.5, 0.5, 5)
SECRET = bytes([7] * 32)


def trainer(target: float) -> Any:
    def train(model: Any) -> Any:
        start = np.zeros(3, np.float32) if model is None else model
        return start + (target - start) / 2

    return train


def run(**arguments: Any) -> xaynet_sdk.Simulation:
    settings: dict[str, Any] = {
        "model_length": 3,
        "rounds": 3,
        "progress": False,
        "protocol": "v2",
        **arguments,
    }
    return xaynet_sdk.simulate([trainer(target) for target in TARGETS + 0.25], **settings)


# Whole federations.


def test_everybody_trains_and_the_model_is_the_mean() -> None:
    result = run()
    assert [(each.models, each.votes, each.failures) for each in result.rounds] == [(5, 9, ())] * 3
    assert result.model is not None
    assert np.allclose(result.model, 0.25 * (1 - 0.5**3), atol=1e-5)


@pytest.mark.parametrize(("groups", "members"), [(1, 1), (2, 3)])
def test_committees_of_other_sizes(groups: int, members: int) -> None:
    result = run(groups=groups, members=members, rounds=2)
    assert [each.votes for each in result.rounds] == [groups * members] * 2


class Outcomes(xaynet_sdk.ParticipantABC[Any, Any]):
    global_model_as_array = True

    def __init__(self, target: float) -> None:
        self.target = target
        self.outcomes: list[xaynet_sdk.UpdateOutcome] = []

    def train_round(self, training_input: Any) -> Any:
        return trainer(self.target)(training_input)

    def serialize_training_result(self, training_result: Any) -> Any:
        return training_result

    def deserialize_training_input(self, global_model: Any) -> Any:
        return global_model

    def on_update_outcome(self, outcome: xaynet_sdk.UpdateOutcome) -> None:
        self.outcomes.append(outcome)


def test_outcomes_say_that_the_own_model_is_certified_and_among_how_many() -> None:
    participants = [Outcomes(target) for target in TARGETS]
    xaynet_sdk.simulate(participants, model_length=3, rounds=3, progress=False, protocol="v2")
    for participant in participants:
        told = [(each.kind, each.round, each.count) for each in participant.outcomes]
        # What became of the last round is known when the next one begins.
        assert told[:4] == [
            ("accepted", None, None),
            ("certified", 1, 5),
            ("accepted", None, None),
            ("certified", 2, 5),
        ]


def test_noise_is_added_and_costs_privacy() -> None:
    noise = Noise(multiplier=8.0, clip=0.5)
    noisy, again = run(noise=noise, rounds=1), run(noise=noise, rounds=1)
    other = run(noise=noise, rounds=1, seed=1)
    assert noisy.model is not None and again.model is not None and other.model is not None
    assert (noisy.model == again.model).all(), "replicas agree, and so does the same seed"
    assert (noisy.model != other.model).all()
    # sqrt(3) * 8 * 0.5 / 5 is the deviation: far from the mean, and not beyond all bounds.
    assert 0.01 < np.abs(noisy.model - other.model).max() < 20


def test_a_spent_budget_ends_it() -> None:
    with pytest.raises(xaynet_sdk.BudgetSpent, match="privacy budget is spent") as caught:
        run(noise=Noise(8.0, 0.5), budget=Budget(1.0), rounds=50)
    assert caught.value.name == "budget"
    assert caught.value.blame == "the settings here"
    done = caught.value.simulation.rounds  # type: ignore[attr-defined]
    assert 0 < len(done) < 50


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"protocol": "v3"}, ValueError),
        ({"members": 2}, ValueError),
        ({"groups": 17}, ValueError),
        ({"noise": 4.0}, TypeError),
        ({"noise": Noise(0.0, 1.0)}, xaynet_sdk.CoordinatorInit),
        ({"settings": {"pet.sum.prob": 0.4}}, ValueError),
        ({"resume": xaynet_sdk.Simulation()}, ValueError),
        ({"mask": "Prime/F32/B0/M3"}, xaynet_sdk.CoordinatorInit),
        ({"protocol": "v1", "noise": Noise(1.0, 1.0)}, ValueError),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        run(**arguments)


def test_two_hide_nobody() -> None:
    with pytest.raises(ValueError, match="at least 3 participants"):
        xaynet_sdk.simulate([trainer(0), trainer(1)], model_length=3, progress=False, protocol="v2")


# What is refused, by name.


class World:
    """A coordinator with its committee, and one participant."""

    def __init__(self, noise: Noise | None = None) -> None:
        self.coordinator = SealedCoordinator(
            3, "Word32/F32/B0/M3", 3, 3, 3, noise, bytes(32), BEGINNING, 1
        )
        self.now = BEGINNING
        self.lies: dict[str, Callable[[int, bytes], tuple[int, bytes]]] = {}
        self.key = self.machine(credential=None).public_key

    def machine(self, **arguments: Any) -> p.ParticipantMachine:
        roster = arguments.pop("roster", self.coordinator.roster)
        return p.ParticipantMachine(SECRET, identity=SECRET, roster=roster, **arguments)

    def request(self, now: float, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        status, answer = self.coordinator.request(now, method, path, body)
        lie = self.lies.get(path.split("?")[0])
        return (status, answer) if lie is None else lie(status, answer)

    def run(self, machine: p.ParticipantMachine, pauses: int = 30) -> list[Any]:
        """Lets time pass, and gives the participant's events."""
        events: list[Any] = []
        for _ in range(pauses):
            self.coordinator.handle_input(self.now, p.Tick())
            machine.handle_input(self.now, p.Tick())
            while True:
                match machine.poll_output():
                    case p.Request(id, method, path, body, _):
                        status, answer = self.request(self.now, method, path, body)
                        machine.handle_input(self.now, p.Response(id, status, answer))
                    case p.Job() as job:
                        machine.handle_input(self.now, p.JobDone(job.run()))
                    case p.Idle():
                        break
                    case p.ModelNeeded() as event:
                        machine.handle_input(self.now, p.SetModel([0.5, 0.25, 0.125]))
                        events.append(event)
                    case event:
                        events.append(event)
            self.now += 0.2
        return events

    def refusals(self, machine: p.ParticipantMachine) -> list[Any]:
        return [event.error for event in self.run(machine) if isinstance(event, p.Refusal)]


def change(at: int, to: int) -> Callable[[int, bytes], tuple[int, bytes]]:
    def lie(status: int, body: bytes) -> tuple[int, bytes]:
        body = bytearray(body)  # type: ignore[assignment]
        body[at] = to  # type: ignore[index]
        return status, bytes(body)

    return lie


def only_first(status: int, body: bytes) -> tuple[int, bytes]:
    """The first announcement of the list."""
    return status, body[:1] + struct.pack("<I", 1) + body[5:136]


@pytest.mark.parametrize(
    ("arguments", "noise", "lies", "error", "blame", "told"),
    [
        ({}, None, {"/v2/round": lambda *_: (404, b"")}, "CoordinatorWithoutV2", "the coordinator", "pet.v2"),
        ({}, None, {"/v2/round": change(0, 3)}, "UnknownVersion", "the coordinator", "version 3"),
        ({"roster": "00" * 32}, None, {}, "WrongRoster", "the coordinator", "is pinned"),
        ({"n_min": 4}, None, {}, "TooFewUpdates", "the coordinator", "n_min"),
        ({}, None, {"/v2/announcements": change(-1, 0)}, "ForgedAnnouncements", "the coordinator", "forged"),
        ({}, None, {"/v2/announcements": only_first}, "MissingMajority", "the coordinator", "of the 2 members"),
        ({"credential": None}, None, {}, "NotAdmitted", "the admission authority", "no credential"),
        ({"expires_at": 1}, None, {}, "CredentialExpired", "the admission authority", "renewed"),
        ({"expires_at": 2**40}, None, {}, "NotAdmitted", "updater", "authority"),
        ({"budget": Budget(1.0)}, None, {}, "NoNoise", "the coordinator", "pet.v2.noise"),
        ({"budget": Budget(0.01)}, Noise(8.0, 1.0), {}, "BudgetSpent", "the settings here", "larger budget"),
        ({"scalar": 0.5}, Noise(8.0, 1.0), {}, "WrongScalar", "the settings here", "set it to 1"),
        ({"late": 8 * 86_400}, None, {}, "WrongTerms", "the coordinator", "more than 7 days"),
    ],
)  # fmt: skip
def test_each_refusal_is_an_exception_of_its_own(
    arguments: dict[str, Any],
    noise: Noise | None,
    lies: dict[str, Any],
    error: str,
    blame: str,
    told: str,
) -> None:
    world = World(noise)
    world.lies = lies
    arguments = {"credential": world.coordinator.credential(world.key), **arguments}
    if "n_min" in arguments:
        arguments["roster"] = Pin(world.coordinator.roster, arguments.pop("n_min"))
    if "expires_at" in arguments:
        # Of another authority, where it does not matter.
        arguments["credential"] = _credential(bytes(32), world.key, arguments.pop("expires_at"))
    late = arguments.pop("late", 0)
    machine = world.machine(**arguments)
    if late:
        # A clock that is days ahead of the coordinator's.
        world.coordinator.handle_input(world.now, p.Tick())
        world.now += late
        world.coordinator.handle_input = lambda *_: None  # type: ignore[method-assign]
    refusals = world.refusals(machine)
    assert len(refusals) == 1, refusals
    (refusal,) = refusals
    assert type(refusal) is getattr(xaynet_sdk, error)
    assert isinstance(refusal, xaynet_sdk.Refused) and isinstance(refusal, xaynet_sdk.XaynetError)
    assert refusal.blame.startswith(blame) and refusal.name
    assert told in str(refusal)


def test_it_goes_on_when_all_is_right() -> None:
    """The control of the test above."""
    world = World(Noise(8.0, 1.0))
    machine = world.machine(
        credential=world.coordinator.credential(world.key), budget=Budget(10.0, 1e-6)
    )
    assert machine.budget == xaynet_sdk.PrivacyBudget(0.0, 1e-6, 0, 10.0)
    events = world.run(machine)
    assert not [event for event in events if isinstance(event, p.Refusal)]
    (spent,) = [event for event in events if isinstance(event, p.PrivacySpent)]
    budget = machine.budget
    assert budget is not None and budget.left is not None
    assert budget.spent == spent.spent > 0 and budget.rounds == 1
    assert budget.left == pytest.approx(10.0 - budget.spent)
    assert machine.noise == Noise(8.0, 1.0)
    assert p.Sent("update") in events


def test_states_of_one_version_are_refused_by_the_other() -> None:
    roster = "ab" * 32
    first = p.ParticipantMachine(SECRET).snapshot()
    second = p.ParticipantMachine(SECRET, roster=roster).snapshot()
    p.ParticipantMachine(state=first)
    p.ParticipantMachine(state=second, roster=roster)
    with pytest.raises(
        xaynet_sdk.ParticipantRestore, match="version 1 .* version 2 .* with the pin|version 1"
    ):
        p.ParticipantMachine(state=first, roster=roster)
    with pytest.raises(xaynet_sdk.ParticipantRestore, match="version 2"):
        p.ParticipantMachine(state=second)


# What is given.


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"roster": 7}, "a roster is"),
        ({"roster": "no such file"}, "no such file"),
        ({"roster": Pin("ab" * 32, n_min=2)}, "3 or more"),
        ({"roster": Pin("ab" * 32, n_min="3")}, "n_min"),  # type: ignore[arg-type]
        ({"roster": "ab" * 32, "budget": 3.0}, "Budget"),
        ({"roster": "ab" * 32, "budget": Budget(-1.0)}, "epsilon"),
        ({"roster": "ab" * 32, "budget": Budget(1.0, 2.0)}, "delta"),
        ({"budget": Budget(1.0)}, "roster="),
        ({"credential": b"x"}, "roster="),
        ({"roster": "ab" * 32, "credential": b"x"}, "credential"),
        ({"roster": "ab" * 32, "credential": "nowhere"}, "nowhere"),
        ({"roster": "ab" * 32, "identity": b"x"}, "32 secret bytes"),
        ({"roster": "ab" * 32, "identity": "nowhere"}, "nowhere"),
    ],
)
def test_bad_input_is_told_at_once(arguments: dict[str, Any], told: str) -> None:
    for make in (
        lambda: xaynet_sdk.spawn_async_participant("http://127.0.0.1:1", **arguments),
        lambda: p.ParticipantMachine(**arguments),
    ):
        with pytest.raises(xaynet_sdk.ParticipantInit, match=told):
            make()


def test_credentials_and_identities_come_from_files(tmp_path: Path) -> None:
    key = tmp_path / "updater.key"
    key.write_text(SECRET.hex() + "\n")
    roster = "ab" * 32
    machine = p.ParticipantMachine(identity=key, roster=roster)
    assert machine.public_key == p.ParticipantMachine(identity=SECRET, roster=roster).public_key
    credential = _credential(bytes(32), machine.public_key, 2**40)
    (tmp_path / "credential").write_text(credential.hex() + "\n")
    for given in (credential, credential.hex(), tmp_path / "credential"):
        p.ParticipantMachine(identity=key, roster=roster, credential=given)
    key.write_text("nonsense")
    with pytest.raises(xaynet_sdk.ParticipantInit, match="no key file"):
        p.ParticipantMachine(identity=key, roster=roster)
    (tmp_path / "credential").write_text("nonsense")
    with pytest.raises(xaynet_sdk.ParticipantInit, match="hexadecimal"):
        p.ParticipantMachine(roster=roster, credential=tmp_path / "credential")


def test_a_roster_file_is_pinned_by_its_hash(tmp_path: Path) -> None:
    public = p.ParticipantMachine(SECRET).public_key.hex()
    file = tmp_path / "roster.toml"
    file.write_text(
        f'version = 2\n[admission]\nauthority = "{public}"\n'
        f'[[groups]]\nname = "one"\nmembers = [{{ key = "{public}" }}]\n'
    )
    p.ParticipantMachine(SECRET, roster=file)
    p.ParticipantMachine(SECRET, roster=Pin(str(file), 5))
    file.write_text("version = 3\n")
    with pytest.raises(xaynet_sdk.ParticipantInit, match="roster"):
        p.ParticipantMachine(SECRET, roster=file)


# Over HTTP.


@pytest.fixture
def v1() -> Iterator[FakeCoordinator]:
    """A coordinator of version 1, which knows no call of version 2."""
    fake = FakeCoordinator()
    fake.new_round(1)
    fake.set("/v2/round", b"", 404)
    yield fake
    fake.stop()


class Errors(Outcomes):
    def __init__(self, errors: list[Exception], happened: threading.Event) -> None:
        super().__init__(0.5)
        self.errors = errors
        self.happened = happened

    def on_error(self, error: Exception) -> bool:
        self.errors.append(error)
        self.happened.set()
        return True


def test_a_coordinator_of_version_1_is_refused_and_never_spoken_to(v1: FakeCoordinator) -> None:
    errors: list[Exception] = []
    happened = threading.Event()
    participant = xaynet_sdk.spawn_participant(
        v1.url, Errors, args=(errors, happened), roster="ab" * 32
    )
    assert participant.budget == xaynet_sdk.PrivacyBudget(0.0, 1e-5, 0, None)
    assert participant.noise is None
    assert happened.wait(30)
    v1.wait_for_request("/v2/round", 3)
    participant.stop()
    assert [type(error) for error in errors] == [xaynet_sdk.CoordinatorWithoutV2], "told once"
    assert {path for path in v1.requests if path != "/status"} == {"/v2/round"}


def test_an_async_participant_raises_what_is_refused(v1: FakeCoordinator) -> None:
    participant, _ = xaynet_sdk.spawn_async_participant(v1.url, roster="ab" * 32)
    with pytest.raises(xaynet_sdk.CoordinatorWithoutV2):
        participant.get_global_model()
    assert participant.budget is not None
    participant.stop()


async def _connect(url: str) -> list[Exception]:
    refused: list[Exception] = []
    async with xaynet_sdk.aio.connect(
        url, roster="ab" * 32, on_refusal=refused.append
    ) as participant:
        with pytest.raises(xaynet_sdk.CoordinatorWithoutV2):
            await participant.global_model()
        assert participant.budget is not None and participant.noise is None
    return refused


def test_an_asyncio_participant_raises_what_is_refused(v1: FakeCoordinator) -> None:
    import asyncio

    began = time.monotonic()
    refused = asyncio.run(_connect(v1.url))
    assert [type(error) for error in refused] == [xaynet_sdk.CoordinatorWithoutV2]
    assert time.monotonic() - began < 30


class Told(Outcomes):
    """Says what became of its models to whoever waits."""

    def __init__(self, target: float, told: list[Any], happened: threading.Condition) -> None:
        super().__init__(target)
        self.told = told
        self.happened = happened

    def on_update_outcome(self, outcome: xaynet_sdk.UpdateOutcome) -> None:
        with self.happened:
            self.told.append((self.target, outcome.kind, outcome.round, outcome.count))
            self.happened.notify_all()


def _public(secret: bytes) -> bytes:
    return p.ParticipantMachine(SECRET, identity=secret, roster="ab" * 32).public_key


AUTHORITY = bytes([9] * 32)


def _admitted(secret: bytes) -> dict[str, bytes]:
    return {"identity": secret, "credential": _credential(AUTHORITY, _public(secret), 2**40)}


@contextmanager
def federation(tmp_path: Path, **more: object) -> Iterator[tuple[xaynet_sdk.Coordinator, Path]]:
    """A coordinator and a committee of two, and the roster's file; rounds of three updates."""
    homes = [tmp_path / name for name in ("north", "south")]
    groups = "".join(
        f'[[groups]]\nname = "{home.name}"\nmembers = [{{ key = "{xaynet_sdk.create_member_key(home)}" }}]\n'
        for home in homes
    )
    file = tmp_path / "roster.toml"
    file.write_text(f'version = 2\n[admission]\nauthority = "{_public(AUTHORITY).hex()}"\n{groups}')
    settings: dict[str, object] = {
        "pet.v2.roster_file": str(file),
        "pet.v2.update.count.max": 3,
        **{f"pet.v2.{phase}.time.min": 0 for phase in ("announce", "check", "agree", "sum2")},
        "pet.v2.update.time.min": 0,
        # Members take part in rounds that are opened after they were started.
        "pet.v2.announce.time.max": 2,
        **more,
    }
    with xaynet_sdk.Coordinator(3, mask="Word32/F32/B0/M3", settings=settings) as coordinator:
        roster = _roster_hash(str(file)).hex()
        members = [
            xaynet_sdk.Member(coordinator.url, roster=roster, data_dir=home, poll=0.1).start()
            for home in homes
        ]
        yield coordinator, file
        for member in members:
            member.stop()


def test_a_federation_over_http_with_members_and_credentials(tmp_path: Path) -> None:
    told: list[Any] = []
    happened = threading.Condition()
    with federation(tmp_path) as (coordinator, file):
        participants = [
            xaynet_sdk.spawn_participant(
                coordinator.url,
                Told,
                args=(target, told, happened),
                roster=file,
                identity=_admitted(secret)["identity"],
                credential=_admitted(secret)["credential"],
            )
            for target, secret in zip(
                (0.25, 0.5, 0.75), (bytes([number] * 32) for number in (1, 2, 3)), strict=True
            )
        ]

        def all_are_certified() -> bool:
            return len({each[0] for each in told if (each[1], each[3]) == ("certified", 3)}) == 3

        with happened:
            assert happened.wait_for(all_are_certified, 180), told
        for participant in participants:
            participant.stop(raise_error=True)


KILLED = """
import sys, threading
import xaynet_sdk

url, roster, file, credential = sys.argv[1:]
participant, _ = xaynet_sdk.spawn_async_participant(
    url, roster=roster, identity=bytes([1] * 32), credential=bytes.fromhex(credential),
    budget=xaynet_sdk.Budget(1e6, 1e-5), state_file=file,
)
participant.set_local_model([0.1, 0.2, 0.3])
threading.Event().wait()
"""


def test_a_killed_participant_has_not_forgotten_what_it_has_spent(tmp_path: Path) -> None:
    noise = {"pet.v2.noise.multiplier": 1.0, "pet.v2.noise.clip": 1.0}
    file = tmp_path / "participant.state"
    with federation(tmp_path, **noise) as (coordinator, roster):
        credential = _admitted(bytes([1] * 32))["credential"].hex()
        arguments = [coordinator.url, str(roster), str(file), credential]
        process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments])
        try:
            # It is there before the update leaves.
            deadline = time.monotonic() + 180
            while not file.exists():
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
        assert file.stat().st_mode & 0o777 == 0o600
        budget = xaynet_sdk.Budget(1e6, 1e-5)
        participant, _ = xaynet_sdk.spawn_async_participant(
            coordinator.url, roster=roster, budget=budget, state_file=file
        )
        spent = participant.budget
        assert spent is not None and spent.spent > 0
        with pytest.raises(xaynet_sdk.ParticipantInit, match="in use by another participant"):
            xaynet_sdk.spawn_async_participant(coordinator.url, roster=roster, state_file=file)
        participant.stop()
        again, _ = xaynet_sdk.spawn_async_participant(
            coordinator.url, roster=roster, budget=budget, state_file=file
        )
        after = again.budget
        assert after is not None and after.spent >= spent.spent
        again.stop()

"""What participants learn about their models and about rounds."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import fake as wire
import pytest
from conftest import wait_until
from fake import FakeCoordinator

import xaynet_sdk
from xaynet_sdk import UpdateOutcome

SECONDS = 60.0


class Trainer(xaynet_sdk.ParticipantABC[Any, Any]):
    """Trains until it may go on, and writes down what becomes of it."""

    def __init__(self, outcomes: list[UpdateOutcome], began: threading.Event) -> None:
        self.outcomes, self.began = outcomes, began
        self.go_on = threading.Event()
        self.inputs: list[Any] = []

    def train_round(self, training_input: Any) -> list[float]:
        self.inputs.append(training_input)
        self.began.set()
        assert self.go_on.wait(SECONDS)
        return [0.5] * 4

    def serialize_training_result(self, training_result: list[float]) -> list[float]:
        return training_result

    def deserialize_training_input(self, global_model: Any) -> Any:
        return global_model

    def on_update_outcome(self, outcome: UpdateOutcome) -> None:
        self.outcomes.append(outcome)


class Spawned:
    def __init__(self, url: str, **arguments: Any) -> None:
        self.outcomes: list[UpdateOutcome] = []
        self.began = threading.Event()
        made: list[Trainer] = []

        class Noting(Trainer):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                made.append(self)

        self.participant = xaynet_sdk.spawn_participant(
            url, Noting, (self.outcomes, self.began), **arguments
        )
        self.trainer = made[0]

    def wait_for(self, *kinds: str) -> None:
        wait_until(
            lambda: [outcome.kind for outcome in self.outcomes] == list(kinds),
            f"{kinds}",
            SECONDS,
        )


def update_round(fake: FakeCoordinator, number: int) -> None:
    fake.set("/sums", wire.sum_dict())
    fake.new_round(number, task="update")


def status(current: int, *failures: tuple[int, str | None]) -> bytes:
    """A status with what has become of rounds."""

    def past(number: int, reason: str | None) -> dict[str, Any]:
        failure = {"phase": "sum", "reason": reason, "message": f"only 0 of {number}"}
        return {"id": number, "failure": None if reason is None else failure}

    document = {"round": {"id": current}, "rounds": [past(*each) for each in failures]}
    return json.dumps(document).encode()


def problem(label: str, code: int) -> bytes:
    return json.dumps(
        {"type": f"urn:pet:problem:{label}", "title": "no", "status": code, "detail": "told"}
    ).encode()


def test_a_model_for_one_round_is_not_used_in_another(fake: FakeCoordinator) -> None:
    update_round(fake, 1)
    spawned = Spawned(fake.url)
    assert spawned.began.wait(SECONDS)
    spawned.began.clear()
    rounds = spawned.participant._native.rounds
    seen = rounds()
    update_round(fake, 2)
    wait_until(lambda: rounds() > seen, "the second round", SECONDS)
    spawned.trainer.go_on.set()
    # It is late, and trained anew; only that is sent.
    spawned.wait_for("late", "accepted")
    assert len(spawned.trainer.inputs) == 2
    assert len(fake.messages) == 1
    spawned.participant.stop()


def test_as_in_xaynet_if_it_is_asked_for(fake: FakeCoordinator) -> None:
    update_round(fake, 1)
    spawned = Spawned(fake.url, keep_models=True)
    assert spawned.began.wait(SECONDS)
    rounds = spawned.participant._native.rounds
    seen = rounds()
    update_round(fake, 2)
    wait_until(lambda: rounds() > seen, "the second round", SECONDS)
    spawned.trainer.go_on.set()
    spawned.wait_for("accepted")
    assert len(spawned.trainer.inputs) == 1
    spawned.participant.stop()


def test_a_rejected_model_is_told_and_lateness_is_no_warning(
    fake: FakeCoordinator, records: Callable[[int], list[str]]
) -> None:
    for number, (label, code, kind) in enumerate(
        [("wrong_phase", 409, "late"), ("full", 409, "late"), ("mask_config", 422, "rejected")], 1
    ):
        fake.set("/message", problem(label, code), code)
        update_round(fake, number)
        spawned = Spawned(fake.url)
        spawned.trainer.go_on.set()
        spawned.wait_for(kind)
        assert "told" in spawned.outcomes[0].reason
        spawned.participant.stop()
    warnings = [record for record in records(logging.WARNING) if "rejected" in record]
    assert len(warnings) == 1 and "mask_config" in warnings[0]
    assert sum("rejected" in record for record in records(logging.INFO)) == 3


def test_a_failed_round_is_told_to_whom_it_concerns(fake: FakeCoordinator) -> None:
    fake.set("/status", status(1))
    update_round(fake, 1)
    spawned = Spawned(fake.url)
    spawned.trainer.go_on.set()
    spawned.wait_for("accepted")
    fake.wait_for_request("/status")
    fake.set("/status", status(2, (1, "too_few_update")))
    fake.new_round(2, task="none")
    spawned.wait_for("accepted", "round_failed")
    assert "only 0 of 1" in spawned.outcomes[1].reason
    # A round that ends well has no second outcome, and one that it had no part in has none at all.
    fake.set("/status", status(3, (1, "too_few_update"), (2, "too_few_sum")))
    fake.new_round(3, task="none")
    fake.wait_for_request("/status", 3)
    update_round(fake, 4)
    fake.set("/status", status(4, (2, "too_few_sum"), (3, "too_few_sum")))
    spawned.wait_for("accepted", "round_failed", "accepted")
    spawned.participant.stop()


def test_failing_rounds_are_told_with_advice(
    fake: FakeCoordinator, records: Callable[[int], list[str]]
) -> None:
    # What was before this participant came does not concern it.
    fake.set("/status", status(7, *((number, "too_few_sum") for number in range(1, 7))))
    fake.new_round(1, task="none")
    participant, _ = xaynet_sdk.spawn_async_participant(fake.url)
    fake.wait_for_request("/status")

    def fail(number: int) -> None:
        looks = fake.requests.count("/status")
        fake.set("/status", status(number + 1, *((n, "too_few_sum") for n in range(4, number + 1))))
        fake.new_round(number, task="none")
        fake.wait_for_request("/status", looks + 1)

    def warnings() -> list[str]:
        return [record for record in records(logging.WARNING) if "in a row have failed" in record]

    fail(7)
    fail(8)
    wait_until(lambda: len(warnings()) == 1, "a warning", SECONDS)
    (told,) = warnings()
    assert "2 rounds in a row have failed, the last one (round 8) in its sum phase" in told
    assert "only 0 of 8" in told
    assert "four participants" in told and "pet.sum.prob" in told
    # Not every time.
    for number in (9, 10):
        fail(number)
    wait_until(lambda: len(warnings()) == 2, "another warning", SECONDS)
    assert "4 rounds in a row" in warnings()[1]
    participant.stop()


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}", b"[]", b'{"round": {"id": -1}, "rounds": []}', b"\xff" * 100, b"[" * 9999],
)
def test_a_coordinator_that_tells_nothing_or_nonsense_is_no_trouble(
    fake: FakeCoordinator, records: Callable[[int], list[str]], answer: bytes
) -> None:
    fake.set("/status", answer, 200)
    fake.new_round(1, task="none")
    participant, event = xaynet_sdk.spawn_async_participant(fake.url)
    for number in (1, 2, 3):
        fake.new_round(number, task="none")
        fake.wait_for_request("/status", number)
    participant.stop()
    assert not records(logging.WARNING)


def test_a_coordinator_of_old_is_asked_once(
    fake: FakeCoordinator, records: Callable[[int], list[str]]
) -> None:
    fake.set("/status", b"no", 404)
    fake.new_round(1, task="none")
    participant, _ = xaynet_sdk.spawn_async_participant(fake.url)
    fake.wait_for_request("/status")
    for number in (2, 3):
        seen = participant._native.rounds()
        fake.new_round(number, task="none")
        wait_until(lambda seen=seen: participant._native.rounds() > seen, "a round", SECONDS)  # type: ignore[misc]
    participant.stop()
    assert fake.requests.count("/status") == 1
    assert not records(logging.WARNING)


def test_a_silent_status_holds_up_nobody(fake: FakeCoordinator) -> None:
    fake.silent.add("/status")
    update_round(fake, 1)
    spawned = Spawned(fake.url)
    fake.wait_for_request("/status")
    spawned.trainer.go_on.set()
    spawned.wait_for("accepted")
    spawned.participant.stop()


def test_models_of_async_participants_may_be_for_one_round(fake: FakeCoordinator) -> None:
    outcomes: list[UpdateOutcome] = []
    fake.new_round(1, task="none")
    participant, event = xaynet_sdk.spawn_async_participant(
        fake.url, keep_models=False, on_update_outcome=outcomes.append
    )
    assert event.wait(SECONDS)
    participant.get_global_model()
    # Set in time, but this participant does not update in its round.
    participant.set_local_model([0.25] * 4)
    seen = participant._native.rounds()
    update_round(fake, 2)
    wait_until(lambda: participant._native.rounds() > seen, "the second round", SECONDS)
    wait_until(lambda: [each.kind for each in outcomes] == ["late"], "it is dropped", SECONDS)
    # Trained on the global model of the round before.
    participant.set_local_model([0.25] * 4)
    assert [each.kind for each in outcomes] == ["late", "late"]
    participant.get_global_model()
    participant.set_local_model([0.25] * 4)
    wait_until(lambda: len(outcomes) == 3, "the third", SECONDS)
    assert outcomes[2].kind == "accepted"
    participant.stop()


def test_lines_of_the_log_say_whose_they_are(
    fake: FakeCoordinator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="participant")
    fake.new_round(1, task="none")
    participants = [xaynet_sdk.spawn_async_participant(fake.url) for _ in range(3)]
    for _, event in participants:
        assert event.wait(SECONDS)

    def named() -> set[str]:
        lines = (record.getMessage() for record in caplog.records)
        return {line.split()[0] for line in lines if "a new round" in line}

    wait_until(lambda: len(named()) == 3, "each is told", SECONDS)
    keys = {participant._native.public_key.hex()[:8] for participant, _ in participants}
    assert named() == {f"[{key}]" for key in keys}
    assert all(participant.name.endswith(tuple(keys)) for participant, _ in participants)
    for participant, _ in participants:
        participant.stop()


def test_participants_ask_for_no_more_of_a_status_than_they_need() -> None:
    """Fifty rounds and ten minutes of measurements, each round, for each of ten thousand, would be much."""
    from urllib.request import urlopen

    from xaynet_sdk.xaynet_sdk import _RoundWatch

    settings = {"pet.sum.time.min": 0, "pet.sum.time.max": 0.02}
    with xaynet_sdk.Coordinator(1, settings=settings) as coordinator:
        wait_until(lambda: len(coordinator.status()["rounds"]) > 12, "rounds that fail", SECONDS)
        with urlopen(coordinator.url + _RoundWatch.PATH, timeout=30) as answer:
            body = answer.read()
        told = json.loads(body)
        assert [each["id"] for each in told["rounds"]] == list(
            range(told["round"]["id"] - 8, told["round"]["id"])
        )
        assert told["samples"] == [] and len(body) < 6000
        with urlopen(coordinator.url + "/status", timeout=30) as answer:
            assert len(json.load(answer)["rounds"]) > 12
        with urlopen(coordinator.url + "/status?rounds=x&samples=-1&y", timeout=30) as answer:
            assert len(json.load(answer)["rounds"]) > 12

"""Native events reach Python's logger `participant`, with fitting levels."""

from __future__ import annotations

import logging
from collections.abc import Callable

import fake as wire
from conftest import wait_until
from fake import FakeCoordinator

import xaynet_sdk


def test_rounds_and_messages(fake: FakeCoordinator, records: Callable[[int], list[str]]) -> None:
    fake.set("/sums", wire.sum_dict())
    fake.new_round(1, task="update")
    participant, event = xaynet_sdk.spawn_async_participant(fake.url)
    assert event.wait(30)
    wait_until(
        lambda: any("waiting for a local model" in r for r in records(logging.INFO)), "it asks"
    )
    participant.set_local_model([0.5] * 4)
    fake.wait_for_message()
    wait_until(lambda: "the update message is sent" in records(logging.INFO), "it tells")
    participant.stop()
    info = records(logging.INFO)
    assert "a new round; task: update; models: 4 weights, Prime/F32/B0/M3" in info
    assert "waiting for a local model of 4 F32 weights" in info
    assert "the local model is masked" not in info
    assert "the local model is masked" in records(logging.DEBUG)
    assert not records(logging.WARNING)


def test_talk_does_not_crowd_out_warnings(
    fake: FakeCoordinator, records: Callable[[int], list[str]]
) -> None:
    """Nobody looks for a while: of what is kept, warnings are the last to go."""
    from xaynet_sdk.xaynet_sdk import Participant

    fake.set("/params", b"rubbish")
    participant = Participant(fake.url, 1.0)
    fake.wait_for_request("/params")
    for number in range(1, 67):
        seen = participant.rounds()
        fake.new_round(number, task="none")
        wait_until(lambda seen=seen: participant.rounds() > seen, "the next round")  # type: ignore[misc]
    participant.tick(30)
    participant.save()
    assert any("asked again" in record for record in records(logging.WARNING))
    assert len(records(logging.DEBUG)) == 64

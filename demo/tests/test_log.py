"""Rounds are read from the coordinator's log as it is."""

from __future__ import annotations

import json

import pytest

from coordinator import Log, Round

LOG = """
{"timestamp":"2026-01-02T03:00:00.100000Z","level":"INFO","message":"the coordinator listens","address":"127.0.0.1:9"}
{"timestamp":"2026-01-02T03:00:00.500000Z","level":"INFO","message":"phase begins","round":1,"phase":"sum"}
{"timestamp":"2026-01-02T03:00:02.500000Z","level":"WARN","message":"round failed","round":1,"phase":"sum","reason":"only 0 of at least 1 sum messages came in time","rejected":"none"}
{"timestamp":"2026-01-02T03:00:02.500100Z","level":"INFO","message":"phase begins","round":1,"phase":"failure"}
{"timestamp":"2026-01-02T03:00:02.500200Z","level":"INFO","message":"phase begins","round":2,"phase":"sum"}
{"timestamp":"2026-01-02T03:00:03.000200Z","level":"INFO","message":"phase ends","round":2,"phase":"sum","accepted":3,"took":"500ms"}
{"timestamp":"2026-01-02T03:00:03.000300Z","level":"INFO","message":"phase begins","round":2,"phase":"update"}
{"timestamp":"2026-01-02T03:00:04.000300Z","level":"INFO","message":"phase ends","round":2,"phase":"update","accepted":7,"took":"1s"}
{"timestamp":"2026-01-02T03:00:04.000400Z","level":"INFO","message":"phase begins","round":2,"phase":"sum2"}
{"timestamp":"2026-01-02T03:00:04.250400Z","level":"INFO","message":"phase ends","round":2,"phase":"sum2","accepted":2,"took":"250ms"}
{"timestamp":"2026-01-02T03:00:04.250500Z","level":"INFO","message":"phase begins","round":2,"phase":"unmask"}
{"timestamp":"2026-01-02T03:00:04.260500Z","level":"INFO","message":"round completed: there is a new global model","round":2,"models":7,"votes":2,"rejected":"none"}
"""


def read(log: str) -> list[Round]:
    reader = Log()
    rounds = [reader.read(json.loads(line)) for line in log.split("\n") if line]
    return [round for round in rounds if round is not None]


def test_rounds_are_put_together() -> None:
    failed, completed = read(LOG)
    assert failed.number == 1
    assert failed.failure == "sum: only 0 of at least 1 sum messages came in time"
    assert completed.number == 2
    assert completed.failure is None
    assert completed.ended - completed.began == pytest.approx(1.7603)
    accepted = {name: phase.accepted for name, phase in completed.phases.items()}
    assert accepted == {"sum": 3, "update": 7, "sum2": 2, "unmask": 0}
    seconds = {name: phase.seconds for name, phase in completed.phases.items()}
    assert seconds == pytest.approx({"sum": 0.5, "update": 1.0, "sum2": 0.25, "unmask": 0.01})


def test_a_round_that_goes_on_is_not_over() -> None:
    assert read(LOG[: LOG.index('"round completed')].rsplit("\n", 1)[0])[1:] == []


def test_what_was_strange_is_kept_with_its_round() -> None:
    begins = '"message":"phase begins","round":7,"phase":"announce"'
    strange = '"message":"member 1.2 lies","round":7,"name":"lying_mask"'
    ends = '"message":"round completed: new global model","round":7,"models":10'
    at = '{"timestamp":"2026-01-02T03:00:00.100000Z",'
    (completed,) = read("\n".join(f"{at}{line}}}" for line in (begins, strange, ends)))
    assert completed.notes == [("lying_mask", "member 1.2 lies")]

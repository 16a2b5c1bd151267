"""The demo of version 2 finds what is wrong."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import sealed
import sealed_check
from coordinator import Round
from processes import Process, ProcessFailed, run

RNG = np.random.default_rng(7)
MODELS = [RNG.normal(size=513).astype(np.float32) for _ in range(10)]


def mean(models: list[Any]) -> Any:
    total = np.sum([sealed_check.encode(model) for model in models], axis=0)
    return (total / (sealed_check.STEPS * len(models)) - sealed_check.BOUND).astype(np.float32)


def test_a_global_model_that_is_off_by_one_step_of_one_hospital_is_found() -> None:
    model = mean(MODELS)
    assert sealed_check.compare(model, MODELS, 1) < 1 / sealed_check.STEPS
    with pytest.raises(sealed_check.WrongModel, match="round 1: .* of the 9"):
        sealed_check.compare(model, MODELS[:9], 1)
    model[100] += 1 / sealed_check.STEPS / 10
    with pytest.raises(sealed_check.WrongModel, match="round 2: .* of the 10"):
        sealed_check.compare(model, MODELS, 2)


def test_hospitals_with_different_global_models_are_found() -> None:
    sealed_check.the_model([*MODELS[:1] * 10], 1)
    for other in (MODELS[1], None):
        with pytest.raises(sealed_check.WrongModel, match="not all hospitals"):
            sealed_check.the_model([*[MODELS[0]] * 9, other], 1)


def test_a_coalition_with_more_or_less_than_it_should_have_is_found() -> None:
    model = MODELS[0]
    right = sealed_check.encode(model).astype(np.uint32)
    noise = RNG.integers(0, 2**32, size=513, dtype=np.uint32)
    left = {"version_1": right, "all_groups": right, "two_groups": noise}
    sealed_check.judge(model, left)
    with pytest.raises(sealed_check.WrongModel, match="two whole groups .*should have noise"):
        sealed_check.judge(model, {**left, "two_groups": right})
    # What hides the model badly.
    little = right + RNG.integers(0, 2**14, size=513, dtype=np.uint32)
    with pytest.raises(sealed_check.WrongModel, match="two whole groups .*should have noise"):
        sealed_check.judge(model, {**left, "two_groups": little})
    for name in ("version_1", "all_groups"):
        with pytest.raises(sealed_check.WrongModel, match="should have the model"):
            sealed_check.judge(model, {**left, name: noise})


def test_a_lie_is_found_by_the_note_or_by_the_answer() -> None:
    vote, mask = sealed.LIES[0], sealed.LIES[1]
    liar = SimpleNamespace(lied={3: ("vote", "bad_signature"), 4: ("vote", "taken")})
    federation: Any = SimpleNamespace(liar=liar)

    def found(number: int, notes: list[tuple[str, str]], lie: sealed.Lie) -> bool:
        round = Round(number, 0.0, notes=notes)
        return sealed.is_found(federation, round, lie)

    assert found(3, [], vote)
    assert not found(4, [], vote)
    assert not found(3, [], mask)
    assert found(5, [("lying_mask", "...")], mask)
    assert not found(5, [("members_missing", "...")], mask)


def test_a_process_that_ends_is_told_with_its_log_and_one_that_is_killed_is_not() -> None:
    ends = [sys.executable, "-c", "import sys; sys.exit('the disk is full')"]
    process = Process("member 1", ends)
    process._process.wait(30)
    with pytest.raises(ProcessFailed, match="(?s)member 1 ended with status 1:.*the disk is full"):
        process.check()
    process.stop()
    stays = Process("member 2", [sys.executable, "-c", "input()"])
    stays.check()
    stays.kill()
    stays.check()
    stays.stop()
    with pytest.raises(ProcessFailed, match="cannot run member 3"):
        Process("member 3", ["/nowhere/pet-coordinator"])
    with pytest.raises(ProcessFailed, match="(?s)status 1:.*the disk is full"):
        run(ends)

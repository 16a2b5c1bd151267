"""The demo's check must find what it is there to find."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

import ledger as ledger_module
from coordinator import Phase, Round
from ledger import STEPS, Ledger, WrongModel
from network import Weights

SCALARS = [1.0, 0.75, 0.5, 0.125]
MODELS = [np.array(weights, np.float32) for weights in ([1, -2], [0.5, 3], [-7, 0.25], [90, -90])]


def never() -> float:
    """When the next model comes."""
    return np.inf


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr("ledger.time.time", clock.time)
    yield clock


def mean(*hospitals: int) -> Weights:
    scalars = np.array([SCALARS[hospital] for hospital in hospitals])
    weights = np.array([MODELS[hospital] for hospital in hospitals], np.float64)
    mean: Weights = (scalars @ weights / scalars.sum()).astype(np.float32)
    return mean


def play(clock: Clock, received: list[Weights], trained: int = 3) -> Ledger:
    """Round 2, from 100 to 110: the first hospitals train at 105, and receive models at 111."""
    ledger = Ledger(SCALARS, STEPS["Prime"])
    clock.now = 99.0
    ledger.note_trained(0, MODELS[3])
    ledger.note_received(0, MODELS[3])
    clock.now = 105.0
    for hospital in range(trained):
        ledger.note_trained(hospital, MODELS[hospital])
    clock.now = 111.0
    for hospital, weights in enumerate(received):
        ledger.note_received(hospital, weights)
    return ledger


def ended(accepted: int = 3) -> Round:
    return Round(2, began=100.0, ended=110.0, phases={"update": Phase(1.0, accepted)})


def test_the_mean_passes(clock: Clock) -> None:
    verdict = play(clock, [mean(0, 1, 2)] * 4).judge(ended(), never, None)
    assert verdict.hospitals == (0, 1, 2)
    assert verdict.late == ()
    assert np.array_equal(verdict.model, mean(0, 1, 2))
    assert verdict.difference < 1e-6


@pytest.mark.parametrize("weight", [0, 1])
def test_a_model_that_is_off_by_little_is_found(clock: Clock, weight: int) -> None:
    wrong = mean(0, 1, 2)
    wrong[weight] = np.nextafter(np.nextafter(wrong[weight], np.float32(9)), np.float32(9))
    with pytest.raises(WrongModel, match=r"round 2: .* 3 local models"):
        play(clock, [wrong] * 4).judge(ended(), never, None)


def test_a_model_that_is_no_number_is_found(clock: Clock) -> None:
    wrong = mean(0, 1, 2)
    wrong[1] = np.nan
    with pytest.raises(WrongModel, match="differs"):
        play(clock, [wrong]).judge(ended(), never, None)


def test_a_plain_mean_without_scalars_is_found(clock: Clock) -> None:
    wrong: Weights = np.mean(MODELS[:3], axis=0).astype(np.float32)
    with pytest.raises(WrongModel):
        play(clock, [wrong] * 4).judge(ended(), never, None)


@pytest.mark.parametrize("late", range(4))
def test_who_came_too_late_is_told_by_the_mean(clock: Clock, late: int) -> None:
    in_time = [hospital for hospital in range(4) if hospital != late]
    ledger = play(clock, [mean(*in_time)] * 4, trained=4)
    verdict = ledger.judge(ended(accepted=3), never, None)
    assert verdict.hospitals == tuple(in_time)
    assert verdict.late == (late,)


def test_a_model_that_missed_its_round_belongs_to_a_later_one(clock: Clock) -> None:
    ledger = play(clock, [mean(0, 1, 2)] * 4, trained=4)
    assert ledger.judge(ended(), never, None).late == (3,)
    # Round 3: the hospitals 1 to 3 train anew, and the fourth, which was late, adds up masks. Round 4: its
    # model of round 2 counts, and the second hospital is not in it.
    for number, trained, group in [(3, (0, 1, 2), (0, 1, 2)), (4, (0, 2), (0, 2, 3))]:
        began = 10.0 * (number + 8)
        clock.now = began + 5
        for hospital in trained:
            ledger.note_trained(hospital, MODELS[hospital])
        clock.now = began + 11
        ledger.note_received(0, mean(*group))
        phases = {"update": Phase(1.0, 3)}
        verdict = ledger.judge(Round(number, began, began + 10, phases), never, None)
        assert verdict.hospitals == group
        assert verdict.late == ()


def test_a_model_counts_only_once(clock: Clock) -> None:
    ledger = play(clock, [mean(0, 1, 2)] * 4)
    ledger.judge(ended(), never, None)
    clock.now = 121.0
    ledger.note_received(0, mean(0, 1, 2))
    with pytest.raises(WrongModel, match="3 models were accepted, but only 0 were trained"):
        ledger.judge(Round(3, 110.0, 120.0, {"update": Phase(1.0, 3)}), never, None)


def test_the_next_model_may_come_while_this_one_is_judged(clock: Clock) -> None:
    ledger = play(clock, [mean(0, 1, 2)] * 4)

    def next_model() -> float:
        ledger.note_received(0, mean(0, 3))
        return 111.0

    clock.now = 112.0
    assert ledger.judge(ended(), next_model, None).hospitals == (0, 1, 2)
    # Nor does it matter when the log tells of it later than the hospital.
    again = play(clock, [mean(0, 1, 2)] * 4)
    again.note_received(0, mean(0, 3))
    assert again.judge(ended(), never, None).hospitals == (0, 1, 2)


def test_a_model_from_nowhere_is_found(clock: Clock) -> None:
    with pytest.raises(WrongModel, match="3 models were accepted, but only 2 were trained"):
        play(clock, [mean(0, 1, 2)] * 4, trained=2).judge(ended(), never, None)


def test_hospitals_that_receive_different_models_are_found(clock: Clock) -> None:
    received = [mean(0, 1, 2), mean(0, 1, 2), mean(0, 1)]
    with pytest.raises(WrongModel, match="hospitals 1 and 3 have received different"):
        play(clock, received).judge(ended(), never, None)


def test_the_model_of_the_round_before_may_come_late(clock: Clock) -> None:
    before = mean(0, 3)
    ledger = play(clock, [before, mean(0, 1, 2)])
    assert ledger.judge(ended(), never, before).hospitals == (0, 1, 2)
    with pytest.raises(WrongModel, match="different"):
        ledger.judge(ended(), never, None)


def test_no_model_at_all_is_found(clock: Clock) -> None:
    ledger = play(clock, [mean(0, 1, 2)] * 4)
    with pytest.raises(WrongModel, match="no hospital has received"):
        ledger.judge(ended(), lambda: 110.5, None)


def test_waiting_ends_when_everybody_has_received(clock: Clock) -> None:
    ledger = play(clock, [mean(0, 1, 2)] * 3)
    with pytest.raises(WrongModel, match="round 2: hospital 4 has not received"):
        ledger.wait_until_received(ended(), 0.0, lambda: None)
    ledger.note_received(3, mean(0, 1, 2))
    ledger.wait_until_received(ended(), 0.0, lambda: None)


@pytest.mark.parametrize("group_type", STEPS)
def test_the_precision_holds_for_what_masking_does(group_type: str) -> None:
    """Rounds down as masking does, with exact fractions of the step, and stays within the bound."""
    steps = STEPS[group_type]
    rng = np.random.default_rng(7)
    for hospitals in itertools.chain(range(3, 11), [3] * 50):
        scalars = rng.uniform(0.01, 1.0, hospitals)
        weights = rng.uniform(-1.5, 1.5, (hospitals, 200))
        exact = scalars @ weights / scalars.sum()
        masked = steps.weight * np.floor(scalars[:, None] * weights / steps.weight).sum(axis=0)
        unmasked = masked / (steps.scalar * np.floor(scalars / steps.scalar)).sum()
        off = np.abs(unmasked.astype(np.float32) - exact)
        assert (off <= ledger_module.precision(exact, scalars, steps)).all()

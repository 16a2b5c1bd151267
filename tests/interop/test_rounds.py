"""Participants of the published package, alone and beside ours, in rounds of our coordinator."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import GlobalModel, Phase, Settings, is_beginning
from models import Config

F32 = Config("Prime", "F32", "B0", "M3", magnitude=1)
F64 = Config("Prime", "F64", "B2", "M6", magnitude=16)
I32 = Config("Integer", "I32", "B6", "M3", magnitude=4096)
I64 = Config("Power2", "I64", "B6", "M9", magnitude=4096)

# At B0 the scalar itself is bounded by 1. Some are no exact multiples of the config's step.
SCALARS = [1.0, 0.5, 0.25, 0.75, 0.125, 0.0625, 0.3, 0.9]
LARGE_SCALARS = [1.0, 0.5, 6.0, 0.25, 2.5, 1.75, 0.1, 3.0]

# For two rounds, and those that fail by a draw: this passes on the slowest machine.
ROUND_SECONDS = 240
SUM_TASK, UPDATE_TASK = 1, 2


def rounds(models: list[GlobalModel]) -> int:
    return len({model.round_seed for model in models})


def kinds(model: GlobalModel) -> set:
    return {participant.kind for participant in model.contributors}


def named(*cases: tuple[Config, list[float]]) -> list:
    return [pytest.param(config, scalars, id=str(config)) for config, scalars in cases]


@pytest.mark.parametrize(
    "config, scalars", named((F32, SCALARS), (F64, LARGE_SCALARS), (I32, LARGE_SCALARS))
)
def test_old_participants_alone(world, config: Config, scalars: list[float]) -> None:
    settings = Settings(config, length=24)
    crowd = world.gather(world.start_coordinator(settings), settings, len(scalars))
    world.join("old", scalars)
    crowd.wait_until(lambda models: rounds(models) >= 2, ROUND_SECONDS, "two rounds")
    world.finish()


@pytest.mark.parametrize(
    "config, scalars", named((F32, SCALARS), (F64, LARGE_SCALARS), (I64, LARGE_SCALARS))
)
def test_old_and_our_participants_together(world, config: Config, scalars: list[float]) -> None:
    settings = Settings(config, length=24)
    crowd = world.gather(world.start_coordinator(settings), settings, len(scalars))
    world.join("old", scalars[:4])
    world.join("ours", scalars[4:], first_index=4)

    def mixed(models: list[GlobalModel]) -> bool:
        return any(kinds(model) == {"old", "ours"} for model in models) and rounds(models) >= 2

    crowd.wait_until(mixed, ROUND_SECONDS, "two rounds, one of them with updates of both kinds")
    world.finish()


def test_masks_summed_by_either_kind_unmask_models_of_the_other(world) -> None:
    """The native interface tells the tasks: who derived the masks that unmasked whose models."""
    settings = Settings(F32, length=24)
    crowd = world.gather(world.start_coordinator(settings), settings, len(SCALARS))
    world.join("old", SCALARS[:4], api="native")
    world.join("ours", SCALARS[4:], api="native", first_index=4)

    def summed(kind: str, round_seed: str) -> bool:
        return any(
            entry["task"] == SUM_TASK and entry["round"] == round_seed
            for participant in crowd.participants
            if participant.kind == kind
            for entry in participant.reports("task")
        )

    def both_ways(models: list[GlobalModel]) -> bool:
        return any(
            "ours" in kinds(model) and summed("old", model.round_seed) for model in models
        ) and any("old" in kinds(model) and summed("ours", model.round_seed) for model in models)

    crowd.wait_until(both_ways, ROUND_SECONDS, "sum tasks of both kinds for models of the other")
    world.finish()


def test_models_set_at_any_time(world) -> None:
    settings = Settings(F32, length=24)
    crowd = world.gather(world.start_coordinator(settings), settings, len(SCALARS))
    world.join("old", SCALARS[:4], api="async")
    world.join("ours", SCALARS[4:], api="async", first_index=4)

    def mixed(models: list[GlobalModel]) -> bool:
        return len(models) >= 2 and any(kinds(model) == {"old", "ours"} for model in models)

    crowd.wait_until(mixed, ROUND_SECONDS, "two rounds, one with updates of both kinds")
    world.finish()


def test_old_participants_go_on_after_the_coordinator_restarts(world) -> None:
    settings = Settings(F32, length=24)
    coordinator = world.start_coordinator(settings)
    crowd = world.gather(coordinator, settings, len(SCALARS))
    world.join("old", SCALARS)
    crowd.wait_until(lambda models: rounds(models) >= 1, ROUND_SECONDS, "a round")

    coordinator.stop()
    before = len(crowd.global_models())
    world.start_coordinator(settings, bind_address=coordinator.address, name="coordinator-again")
    crowd.wait_until(
        lambda models: len(models) > before, ROUND_SECONDS, "a round after the restart"
    )
    # A message that was on its way is sealed for a key that nobody has any more.
    world.finish(rejected={"wrong_phase", "does_not_open"})


def test_old_participants_leave_and_come_back_with_their_state(world, tmp_path: Path) -> None:
    settings = Settings(
        F32,
        length=24,
        sum=Phase(min_count=1, min_time=2, max_time=8),
        # In one of these all have left and come back, with interpreters that start anew.
        update=Phase(min_count=3, min_time=4, max_time=90),
        sum2=Phase(min_count=1, min_time=1, max_time=90),
    )
    crowd = world.gather(world.start_coordinator(settings), settings, len(SCALARS))
    states = [tmp_path / f"state-{index}.json" for index in range(len(SCALARS))]
    first = world.join("old", SCALARS, api="native", states=states)

    def everybody_has_a_task() -> bool:
        tasks = [participant.reports("task") for participant in first]
        if not all(tasks) or not crowd.rounds:
            return False
        current = [entries[-1]["task"] for entries in tasks]
        return (
            all(entries[-1]["round"] == crowd.rounds[-1] for entries in tasks)
            and current.count(SUM_TASK) >= 1
            and current.count(UPDATE_TASK) >= len(SCALARS) - current.count(SUM_TASK) >= 3
        )

    crowd.events.wait_until(everybody_has_a_task, ROUND_SECONDS, "a round with enough of each task")
    interrupted = crowd.rounds[-1]
    for participant in first:
        participant.ask_to_leave()
    for participant in first:
        participant.leave()
    world.join("old", SCALARS, api="native", states=states, restarted=1)

    def finished(models: list[GlobalModel]) -> bool:
        # Only the ephemeral keys in the states open the mask seeds of that round.
        return any(model.round_seed == interrupted for model in models)

    crowd.wait_until(finished, ROUND_SECONDS, "the interrupted round is finished")
    world.finish()


@pytest.mark.parametrize(
    ("seen", "repeats", "expected"),
    [
        ([7, 7, 6], False, True),
        ([7, 7], False, True),
        ([], False, True),
        ([7, 6], False, False),
        ([7, 6], True, True),
        ([6], True, False),
        ([7, 7, 6, 7], True, False),
        ([7, 7, 7], True, False),
    ],
)
def test_a_lost_round_is_found(seen: list[int], repeats: bool, expected: bool) -> None:
    assert is_beginning(seen, [7, 7, 6], repeats) == expected

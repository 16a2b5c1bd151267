"""What somebody sees who meets the package for the first time, and makes a mistake."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake import FakeCoordinator

import xaynet_sdk
from xaynet_sdk import aio, protocol
from xaynet_sdk.simulation import SimulationError


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if "XAYNET" not in key}
    return subprocess.run(
        [sys.executable, "-c", program],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_there_is_a_version() -> None:
    from importlib.metadata import PackageNotFoundError, version

    assert xaynet_sdk.__version__.count(".") == 2
    try:
        assert version("xaynet-sdk") == xaynet_sdk.__version__
    except PackageNotFoundError:
        pass


@pytest.mark.parametrize("module", ["httpx", "numpy"])
def test_what_aio_needs_is_named_with_the_extra(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for arguments in ({}, {"client": object()}):
        with pytest.raises(ModuleNotFoundError, match=r"'xaynet-sdk\[aio\]'") as caught:
            aio.connect("http://127.0.0.1:1", **arguments)  # type: ignore[arg-type]
        assert caught.value.name == module


def test_what_a_plot_needs_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"'xaynet-sdk\[plot\]'"):
        xaynet_sdk.Simulation().plot()


@pytest.mark.parametrize("name", ["XAYNET_CLIENT", "XAYNET__CLIENT"])
@pytest.mark.parametrize(
    "wrong", ["infoo", "warn,infoo", "debg,xaynet_sdk=info", "my_module=debug"]
)
def test_a_log_filter_that_shows_nothing_is_told(name: str, wrong: str) -> None:
    """Native code takes an unknown level for the name of a module."""
    told = run("import xaynet_sdk", **{name: wrong}).stderr
    assert name in told and "info, debug" in told, told
    assert any(f'called "{part}"' in told or part in told for part in wrong.split(","))


@pytest.mark.parametrize(
    "right",
    [
        "info",
        "INFO",
        "0",
        "off",
        "",
        "debug,pet_core=trace",
        "ureq=info,xaynet_sdk::driver=debug",
        "warn,pet=debug",
    ],
)
def test_a_log_filter_that_means_something_is_not(right: str) -> None:
    done = run("import xaynet_sdk", XAYNET_CLIENT=right)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("number", [1e300, -1e300, 1.7976931348623157e308])
def test_large_numbers_are_told_shortly(
    fake: FakeCoordinator, records: Callable[[int], list[str]], number: float
) -> None:
    told: list[str] = []
    for call in (
        lambda: xaynet_sdk.spawn_async_participant(fake.url, scalar=-abs(number)),
        lambda: xaynet_sdk.spawn_async_participant(fake.url, timeout=number),
        lambda: protocol.ParticipantMachine(bytes(32), polling=protocol.Polling(max=number)),
        lambda: protocol.ParticipantMachine(bytes(32), polling=protocol.Polling(factor=-number)),
        lambda: xaynet_sdk.simulate([lambda model: [0.0]] * 4, model_length=1, rounds=number),  # type: ignore[arg-type]
    ):
        try:
            call()
        except Exception as error:
            told.append(str(error))
    fake.new_round(1, task="none")
    participant, event = xaynet_sdk.spawn_async_participant(fake.url, scalar=abs(number))
    assert event.wait(30)
    with pytest.warns(xaynet_sdk.ClampWarning) as caught:
        participant.set_local_model([0.5] * 4)
    participant.stop()
    told += [str(each.message) for each in caught]
    assert len(told) >= 3
    assert all("00000000" not in each and len(each) < 600 for each in told), told


@pytest.mark.parametrize(
    "wrong",
    [
        {"rounds": -3},
        {"rounds": 1.5},
        {"rounds": float("nan")},
        {"rounds": True},
        {"rounds": "3"},
        {"model_length": 0},
        {"model_length": -1},
        {"max_failures": 0},
        {"threads": 0},
        {"threads": -2},
    ],
)
def test_numbers_that_make_no_sense_are_refused_by_simulate(wrong: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"model_length": 1, "progress": False, **wrong}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        xaynet_sdk.simulate([lambda model: [0.0]] * 5, **arguments)


@pytest.mark.parametrize("wrong", [-1, float("nan"), "soon", None, True])
def test_times_that_make_no_sense_are_refused(wrong: Any) -> None:
    with xaynet_sdk.Coordinator(1) as coordinator:
        with pytest.raises(ValueError, match="timeout"):
            coordinator.wait_for_round(1, timeout=wrong)
        with pytest.raises(ValueError, match="timeout"):
            coordinator.stop(wrong)
        with pytest.raises(xaynet_sdk.ParticipantInit, match="timeout"):
            aio.connect(coordinator.url, timeout=wrong)
    for number in (0, -1, 1.5):
        with pytest.raises(ValueError, match="round_id"):
            coordinator.wait_for_round(number)  # type: ignore[arg-type]


def test_waiting_in_vain_tells_why_and_what_to_do() -> None:
    settings = {"pet.sum.time.min": 0, "pet.sum.time.max": 0.1}
    with xaynet_sdk.Coordinator(1, settings=settings) as coordinator:
        with pytest.raises(
            TimeoutError, match=r"too_few_sum.*round \d+ at last.*four participants"
        ):
            coordinator.wait_for_round(1, timeout=2)


def test_a_failed_simulation_tells_all_reasons() -> None:
    def train(model: Any) -> Any:
        return None

    with pytest.raises(SimulationError) as caught:
        xaynet_sdk.simulate(
            [train] * 4,
            model_length=1,
            progress=False,
            max_failures=30,
            settings={"pet.sum.prob": 0.2},
        )
    told = str(caught.value)
    assert "sum messages" in told and "update messages" in told and len(told) < 1500
    assert len(caught.value.failures) == 30
    assert caught.value.simulation.rounds == []  # type: ignore[attr-defined]


def test_submitting_a_large_model_leaves_the_loop_free(fake: FakeCoordinator) -> None:
    """Its conversion takes long, of whatever type it is; meanwhile the loop turns. What counts is how often, not how
    fast; and the best of some tries, since on a busy machine the loop may not get its turn while one lasts."""
    fake.new_round(1, task="none")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    async def main() -> None:
        nonlocal ticks
        async with aio.connect(fake.url, polling=protocol.Polling(0.01, 0.01, 1.0, 0.01)) as it:
            await anext(it.rounds())
            ticking = asyncio.create_task(tick())
            weights = np.full(20_000_000, 0.5)
            await asyncio.sleep(0)
            most = 0
            for _ in range(20):
                before = ticks
                with pytest.raises(xaynet_sdk.LocalModelLengthMisMatch):
                    await it.submit(weights)
                most = max(most, ticks - before)
                if most >= 5:
                    break
            # Were the loop, or the interpreter, held meanwhile, it would have turned twice at most.
            assert most >= 5
            ticking.cancel()

    asyncio.run(main())


def is_clamping(warning: warnings.WarningMessage) -> bool:
    """And not what the garbage collector has to say of earlier tests."""
    return issubclass(warning.category, xaynet_sdk.ClampWarning)


def test_the_thread_beside_the_loop_warns_at_the_users_line(fake: FakeCoordinator) -> None:
    fake.new_round(1, task="none", length=20_000)

    async def main() -> None:
        async with aio.connect(fake.url) as it:
            await anext(it.rounds())
            with pytest.warns(xaynet_sdk.ClampWarning) as caught:
                submitting = asyncio.ensure_future(it.submit(np.full(20_000, 3.0)))
                while not (mine := [each for each in caught.list if is_clamping(each)]):
                    await asyncio.sleep(0.01)
            submitting.cancel()
            assert "20000 of 20000" in str(mine[0].message)

    asyncio.run(asyncio.wait_for(main(), 60))


def test_nothing_is_said_twice_of_the_same_trouble(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="participant")
    participant, _ = xaynet_sdk.spawn_async_participant("http://127.0.0.1:1")

    def records() -> list[str]:
        # Other loggers, and participants of earlier tests, may have something to say as well.
        told = [record.getMessage() for record in caplog.records]
        return [text for text in told if text.startswith(f"[{participant._log.participant}] ")]

    for _ in range(300):
        if records():
            break
        participant._native.tick(0.1)
    participant.stop()
    assert len(records()) == 1

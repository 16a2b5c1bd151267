"""Participants in asyncio programs."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import warnings
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fake as wire
import httpx
import numpy as np
import pytest
from fake import FakeCoordinator

import xaynet_sdk
from xaynet_sdk import aio, protocol

QUICK = protocol.Polling(0.01, 0.01, 1.0, 0.01)


def run(program: Awaitable[Any]) -> Any:
    async def within_time() -> Any:
        async with asyncio.timeout(180):
            return await program

    return asyncio.run(within_time())


def update_round(fake: FakeCoordinator, number: int = 1, **settings: Any) -> None:
    fake.set("/sums", wire.sum_dict())
    fake.new_round(number, task="update", **settings)


def test_a_federation() -> None:
    async def take_part(url: str, index: int, enough: asyncio.Event) -> int:
        sent = 0
        async with aio.connect(url, polling=QUICK, scalar=0.5) as participant:
            async for round in participant.rounds():
                if enough.is_set():
                    break
                if round.task == "update":
                    model = await participant.global_model()
                    start = np.zeros(3, np.float32) if model is None else model
                    sent += await participant.submit(start + np.float32(0.125))
        return sent

    async def main() -> None:
        settings = {f"pet.{phase}.time.min": 0.05 for phase in ("sum", "update", "sum2")}
        settings |= {f"pet.{phase}.time.max": 2 for phase in ("sum", "update", "sum2")}
        with xaynet_sdk.Coordinator(3, settings=settings) as coordinator:
            enough = asyncio.Event()
            everyone = [
                asyncio.create_task(take_part(coordinator.url, i, enough)) for i in range(8)
            ]
            await asyncio.to_thread(coordinator.wait_for_round, 3)
            enough.set()
            assert sum(await asyncio.gather(*everyone)) >= 3
            first = coordinator.global_model(coordinator.rounds()[0])
            assert first is not None
            assert np.allclose(first, 0.125, atol=1e-6)

    run(main())


def test_submit_tells_whether_it_was_sent(fake: FakeCoordinator) -> None:
    async def main() -> None:
        update_round(fake)
        async with aio.connect(fake.url, polling=QUICK, keep_models=True) as participant:
            rounds = participant.rounds()
            assert (await anext(rounds)).task == "update"
            assert await participant.submit([0.5] * 4) is True
            assert fake.messages
            fake.new_round(2, task="none")
            current = await anext(rounds)
            assert (current.task, current.parameters.dtype) == ("none", "float32")
            assert participant.round is current
            submission = asyncio.create_task(participant.submit([0.25] * 4))
            await asyncio.sleep(0)
            fake.new_round(3, task="none")
            assert await submission is False
            # It is used as soon as this participant updates.
            count = len(fake.messages)
            update_round(fake, 4)
            await asyncio.to_thread(
                fake.wait_for, lambda: len(fake.messages) > count, "another message"
            )

    run(main())


def test_only_the_model_that_was_sent_is_told_to_be(fake: FakeCoordinator) -> None:
    async def main() -> None:
        update_round(fake)
        async with aio.connect(fake.url, polling=QUICK) as participant:
            await anext(participant.rounds())
            models = ([number / 4] * 4 for number in range(3))
            assert await asyncio.gather(*map(participant.submit, models)) == [False, False, True]

    run(main())


def test_a_model_that_comes_while_another_is_masked_is_for_later(fake: FakeCoordinator) -> None:
    class Held(ThreadPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Any:
            asked.set()
            return super().submit(*args, **kwargs)

    asked, released = asyncio.Event(), threading.Event()

    async def main() -> None:
        update_round(fake)
        with Held(1) as executor:
            executor.submit(released.wait)
            asked.clear()
            async with aio.connect(fake.url, polling=QUICK, executor=executor) as participant:
                await anext(participant.rounds())
                first = asyncio.create_task(participant.submit([0.5] * 4))
                await asked.wait()
                second = asyncio.create_task(participant.submit([0.25] * 4))
                await asyncio.sleep(0)
                released.set()
                assert await first is True
                assert not second.done()
                update_round(fake, 2)
                assert await second is False

    try:
        run(main())
    finally:
        released.set()


def test_submitting_again_after_cancelling(fake: FakeCoordinator) -> None:
    async def main() -> None:
        fake.new_round(1, task="none")
        async with aio.connect(fake.url, polling=QUICK, keep_models=True) as participant:
            rounds = participant.rounds()
            await anext(rounds)
            given_up = asyncio.create_task(participant.submit([0.5] * 4))
            await asyncio.sleep(0)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            update_round(fake, 2)
            # To cancel does not take the model back.
            await asyncio.to_thread(fake.wait_for_message)
            fake.new_round(3, task="none")
            await anext(rounds)
            again = asyncio.create_task(participant.submit([0.25] * 4))
            await asyncio.sleep(0)
            update_round(fake, 4)
            # The round that it was handed over in is over.
            assert await again is False
            await asyncio.to_thread(fake.wait_for, lambda: len(fake.messages) == 2, "the other")

    run(main())


def test_models_that_do_not_fit(fake: FakeCoordinator) -> None:
    async def main() -> None:
        update_round(fake)
        async with aio.connect(fake.url, polling=QUICK) as participant:
            await anext(participant.rounds())
            with pytest.raises(xaynet_sdk.LocalModelLengthMisMatch):
                await participant.submit([0.5])
            with pytest.raises(xaynet_sdk.LocalModelDataTypeMisMatch):
                await participant.submit(np.array(["x"] * 4))
            with pytest.warns(xaynet_sdk.ClampWarning):
                assert await participant.submit([2.0, 0, 0, 0])
        # Before the first contact it is checked later.
        async with aio.connect(fake.url, polling=QUICK) as participant:
            with pytest.raises(xaynet_sdk.LocalModelLengthMisMatch):
                await participant.submit([0.5])

    run(main())


def test_the_global_model(fake: FakeCoordinator) -> None:
    async def main() -> None:
        fake.new_round(1, task="none")
        async with aio.connect(fake.url, polling=QUICK) as participant:
            await anext(participant.rounds())
            assert await participant.global_model() is None
            fake.set("/model", wire.model([1, 0, -1, 0]))
            one, other = await asyncio.gather(
                participant.global_model(), participant.global_model()
            )
            assert isinstance(one, np.ndarray)
            assert isinstance(other, np.ndarray)
            assert one.tolist() == other.tolist() == [1, 0, -1, 0]
            fake.set("/model", b"", status=500)
            with pytest.raises(xaynet_sdk.GlobalModelUnavailable, match="500"):
                await participant.global_model()

    run(main())


def test_a_cancelled_call_leaves_no_old_model_to_the_next(fake: FakeCoordinator) -> None:
    async def main() -> None:
        fake.set("/model", wire.model([1, 1, 1, 1]))
        fake.new_round(1, task="none")
        let_go = fake.held["/model"] = threading.Event()
        # It does not look at the round by itself in the meantime.
        async with aio.connect(fake.url, polling=protocol.Polling(60, 60, 1.0, 0.0)) as participant:
            await anext(participant.rounds())
            call = asyncio.ensure_future(participant.global_model())
            await asyncio.to_thread(fake.wait_for_request, "/model")
            call.cancel()
            fake.set("/model", wire.model([0, 0, 0, 0]))
            fake.new_round(2, task="none")
            next_call = asyncio.ensure_future(participant.global_model())
            await asyncio.sleep(0)
            let_go.set()
            model = await next_call
            assert model is not None
            assert model.tolist() == [0, 0, 0, 0]

    run(main())


def test_cancelling_does_no_harm(fake: FakeCoordinator) -> None:
    # Participants of earlier tests may have been stopped without waiting for them.
    before = set(threading.enumerate())

    def threads() -> list[threading.Thread]:
        return [
            thread
            for thread in threading.enumerate()
            if thread.name.startswith("xaynet") and thread not in before
        ]

    async def main() -> None:
        fake.silent.add("/model")
        fake.new_round(1, task="none")
        async with aio.connect(fake.url, polling=QUICK, keep_models=True) as participant:
            rounds = participant.rounds()
            await anext(rounds)
            for call in (participant.global_model(), participant.submit([0.5] * 4)):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await call
            next_round = asyncio.ensure_future(anext(participant.rounds()))
            next_round.cancel()
            # What was submitted is still there, and the silent call is in nobody's way.
            update_round(fake, 2)
            await asyncio.to_thread(fake.wait_for_message)
            state = await participant.stop()
            with pytest.raises(xaynet_sdk.UninitializedParticipant):
                await participant.global_model()
            assert [round async for round in participant.rounds()] == []
        assert not threads()
        assert protocol.ParticipantMachine(state=state).task == "update"

    run(main())


def test_the_block_may_be_cancelled(fake: FakeCoordinator) -> None:
    async def main() -> None:
        fake.silent.add("/params")
        entered = asyncio.Event()

        async def wait_for_nothing() -> None:
            async with aio.connect(fake.url) as participant:
                entered.set()
                await participant.global_model()

        task = asyncio.create_task(wait_for_nothing())
        await entered.wait()
        await asyncio.to_thread(fake.wait_for_request, "/params")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_a_cancelled_stop_does_not_lose_the_state(fake: FakeCoordinator) -> None:
    async def main() -> None:
        fake.silent.add("/params")
        async with aio.connect(fake.url) as participant:
            await asyncio.to_thread(fake.wait_for_request, "/params")
            waiting = asyncio.ensure_future(anext(participant.rounds(), None))
            stopping = asyncio.create_task(participant.stop())
            await asyncio.sleep(0)
            stopping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stopping
            # It is stopped nevertheless, and nobody is left waiting.
            assert await waiting is None
            protocol.ParticipantMachine(state=await participant.stop())
            with pytest.raises(xaynet_sdk.UninitializedParticipant):
                await participant.stop()

    run(main())


def test_whoever_waits_learns_of_the_end_even_if_leaving_is_cancelled(
    fake: FakeCoordinator,
) -> None:
    async def main() -> None:
        fake.silent.add("/params")
        leave = asyncio.Event()

        async def hold() -> None:
            async with aio.connect(fake.url) as participant:
                waiting.append(asyncio.ensure_future(participant.global_model()))
                waiting.append(asyncio.ensure_future(anext(participant.rounds(), None)))
                await leave.wait()

        waiting: list[asyncio.Future[Any]] = []
        task = asyncio.create_task(hold())
        await asyncio.to_thread(fake.wait_for_request, "/params")
        leave.set()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(ended[0], xaynet_sdk.UninitializedParticipant)
        assert ended[1] is None

    run(main())


def test_nothing_works_before_the_block(fake: FakeCoordinator) -> None:
    async def main() -> None:
        participant = aio.connect(fake.url)
        calls: list[Awaitable[Any]] = [
            anext(participant.rounds()),
            participant.global_model(),
            participant.submit([0.5] * 4),
            participant.stop(),
        ]
        for call in calls:
            with pytest.raises(xaynet_sdk.UninitializedParticipant, match="async with"):
                await call

    run(main())


def test_going_on_from_a_state(fake: FakeCoordinator) -> None:
    async def main() -> None:
        update_round(fake)
        async with aio.connect(fake.url, polling=QUICK) as participant:
            await anext(participant.rounds())
            state = await participant.stop(passphrase="correct horse")
        with pytest.raises(xaynet_sdk.SealError):
            aio.connect(fake.url, state=state)
        restored = aio.connect(fake.url, state=state, passphrase="correct horse", polling=QUICK)
        async with restored as participant:
            # The round has not begun anew, but is this one's first.
            assert (await anext(participant.rounds())).task == "update"
            assert await participant.submit([0.5] * 4)

    run(main())


# Connections that are given up in the middle of their beginning are left to the garbage collector by anyio.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_unreachable_coordinator(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with aio.connect("http://127.0.0.1:9", polling=QUICK) as participant:
            with pytest.raises(xaynet_sdk.GlobalModelUnavailable):
                await participant.global_model()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await anext(participant.rounds())

    with caplog.at_level(logging.WARNING, "participant"):
        run(main())
    gc.collect()
    assert any("asked again" in record.message for record in caplog.records)


def test_a_coordinator_that_comes_back() -> None:
    async def main() -> None:
        settings = {"pet.sum.time.max": 1}
        coordinator = xaynet_sdk.Coordinator(4, settings=settings)
        async with aio.connect(coordinator.url, polling=QUICK) as participant:
            rounds = participant.rounds()
            first = await anext(rounds)
            coordinator.stop()
            with pytest.raises(xaynet_sdk.GlobalModelUnavailable):
                await participant.global_model()
            # Its rounds are others.
            again = xaynet_sdk.Coordinator(
                4, settings=settings, bind=coordinator.url.removeprefix("http://")
            )
            with again:
                assert (await anext(rounds)).parameters.seed != first.parameters.seed
                assert await participant.global_model() is None

    run(main())


def test_clamping_names_the_line_that_submits(fake: FakeCoordinator) -> None:
    async def main() -> None:
        update_round(fake)
        async with aio.connect(fake.url, polling=QUICK) as participant:
            await anext(participant.rounds())
            with pytest.warns(xaynet_sdk.ClampWarning, match="1 of 4") as caught:
                assert await participant.submit([0.5, 2.0, 0.5, 0.5])
            (mine,) = [each for each in caught if each.category is xaynet_sdk.ClampWarning]
            assert mine.filename == __file__
            with warnings.catch_warnings():
                warnings.simplefilter("error", xaynet_sdk.ClampWarning)
                with pytest.raises(xaynet_sdk.ClampWarning):
                    await participant.submit([0.5, 2.0, 0.5, 0.5])

    run(main())


def test_an_answer_that_is_too_long(fake: FakeCoordinator, caplog: Any) -> None:
    async def main() -> None:
        fake.set("/params", bytes(1 << 17))
        async with aio.connect(fake.url, polling=QUICK):
            await asyncio.to_thread(fake.wait_for_request, "/params", 2)

    with caplog.at_level(logging.WARNING, "participant"):
        run(main())
    assert any("too long" in record.message for record in caplog.records)


def test_what_is_no_url() -> None:
    for url in (
        "127.0.0.1:8081",
        "ftp://host",
        "http://",
        "http://host?x",
        "http://host#x",
        "http://host:99999",
        "http://a b",
        "http://host:x",
        "http://host\n",
        None,
        b"http://host",
    ):
        with pytest.raises(xaynet_sdk.ParticipantInit, match="not a coordinator's URL"):
            aio.connect(url)  # type: ignore[arg-type]
    with pytest.raises(xaynet_sdk.ParticipantInit, match="positive"):
        aio.connect("http://host", timeout=0)
    with pytest.raises(xaynet_sdk.ParticipantInit, match="negative"):
        aio.connect("http://host", scalar=-1)


def test_a_failing_job_is_told(
    fake: FakeCoordinator, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    async def main() -> None:
        update_round(fake)

        async def fail(self: Any, job: Any) -> None:
            raise MemoryError("no room")

        monkeypatch.setattr(aio.Participant, "_run", fail)
        async with aio.connect(fake.url, polling=QUICK) as participant:
            with pytest.raises(MemoryError):
                await participant.submit([0.5] * 4)
            with pytest.raises(MemoryError):
                await anext(participant.rounds())
            protocol.ParticipantMachine(state=await participant.stop())

    run(main())


def test_a_round_takes_few_requests() -> None:
    """Whoever waits for news does not ask again and again."""

    async def take_part(url: str, index: int, enough: asyncio.Event) -> tuple[int, int]:
        requests = rounds = 0

        async def count(request: httpx.Request) -> None:
            nonlocal requests
            requests += request.url.path in ("/params", "/sums", "/seeds", "/model", "/message")

        async with httpx.AsyncClient(event_hooks={"request": [count]}) as client:
            connected = aio.connect(url, polling=QUICK, client=client, patience=45)
            async with connected as participant:
                async for round in participant.rounds():
                    if enough.is_set():
                        break
                    rounds += 1
                    model = await participant.global_model()
                    if round.task == "update":
                        start = np.zeros(3, np.float32) if model is None else model
                        await participant.submit(start + np.float32(0.125))
        return requests, rounds

    async def main() -> None:
        settings = {f"pet.{phase}.time.min": 0.5 for phase in ("sum", "update", "sum2")}
        settings |= {f"pet.{phase}.time.max": 3 for phase in ("sum", "update", "sum2")}
        with xaynet_sdk.Coordinator(3, settings=settings) as coordinator:
            enough = asyncio.Event()
            everyone = [
                asyncio.create_task(take_part(coordinator.url, i, enough)) for i in range(8)
            ]
            await asyncio.to_thread(coordinator.wait_for_round, 2)
            enough.set()
            for requests, rounds in await asyncio.gather(*everyone):
                assert rounds <= requests <= 8 * (rounds + 1), (requests, rounds)

    run(main())

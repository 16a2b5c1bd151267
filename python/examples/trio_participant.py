"""A participant in a trio program: the protocol's machine, and the few lines that drive it.

All that an event loop has to do is here: send requests, run jobs on threads, wait until something happens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import numpy as np
import trio
from company import coordinator

from xaynet_sdk import protocol as p

MODEL_LENGTH = 10
Train = Callable[[p.ModelNeeded], Awaitable[np.ndarray]]


async def take_part(url: str, train: Train, updates: int) -> None:
    """Takes part until so many local models are sent."""
    machine = p.ParticipantMachine()
    # A request that waits for news holds nothing up here.
    machine.handle_input(trio.current_time(), p.Patience(30))
    held: dict[int, trio.CancelScope] = {}
    happened, inputs = trio.open_memory_channel[p.ParticipantInput](100)

    async def request(output: p.Request) -> None:
        try:
            answer = await client.request(
                output.method,
                url + output.path,
                content=output.body,
                headers=output.headers,
                timeout=30 + output.wait,
            )
            result = p.Response(
                output.id,
                answer.status_code,
                answer.content,
                retry_after=answer.headers.get("retry-after"),
                content_type=answer.headers.get("content-type"),
            )
        except httpx.HTTPError as error:
            result = p.Fault(output.id, "unreachable", repr(error))
        await happened.send(result)

    async def patient_request(output: p.Request) -> None:
        with trio.CancelScope() as held[output.id]:
            await request(output)
        del held[output.id]

    async def run(job: p.Job) -> None:
        await happened.send(p.JobDone(await trio.to_thread.run_sync(job.run)))

    async def local_model(event: p.ModelNeeded) -> None:
        await happened.send(p.SetModel(await train(event)))

    async with httpx.AsyncClient() as client, trio.open_nursery() as nursery:
        happens: p.ParticipantInput = p.Tick()
        while True:
            try:
                machine.handle_input(trio.current_time(), happens)
            except p.StaleInput:
                pass  # an answer that came too late
            wake_at: float | None = None
            while True:
                match machine.poll_output():
                    case p.Request() as output:
                        nursery.start_soon(patient_request, output)
                    case p.Cancel(id):
                        if id in held:
                            held[id].cancel()
                    case p.Job() as job:
                        nursery.start_soon(run, job)
                    case p.ModelNeeded() as event:
                        nursery.start_soon(local_model, event)
                    case p.Sent("update"):
                        updates -= 1
                    case p.Idle(wake_at):
                        break
                    case event:
                        print(event, flush=True)
            if updates == 0:
                nursery.cancel_scope.cancel()
                return
            with trio.move_on_at(float("inf") if wake_at is None else wake_at):
                happens = await inputs.receive()
                continue
            happens = p.Tick()


async def train(event: p.ModelNeeded) -> np.ndarray:
    await trio.sleep(0.01)
    return np.full(event.length, 0.25, event.dtype)


with coordinator(MODEL_LENGTH) as url:
    trio.run(take_part, url, train, 2)

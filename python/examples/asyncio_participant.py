"""A participant in an asyncio program, among whatever else that does."""

import asyncio

import numpy as np
from company import coordinator

from xaynet_sdk import aio

MODEL_LENGTH = 10


def train(model):
    start = np.zeros(MODEL_LENGTH, np.float32) if model is None else model
    return start + np.float32(0.1) * (np.float32(0.5) - start)


async def main(url):
    updates = 0
    async with aio.connect(url) as participant:
        async for round in participant.rounds():
            print("a new round; task:", round.task, flush=True)
            if round.task == "update":
                model = await participant.global_model()
                # Training takes its time: not in the event loop.
                weights = await asyncio.to_thread(train, model)
                updates += await participant.submit(weights)
            if updates == 2:
                break


with coordinator(MODEL_LENGTH) as url:
    asyncio.run(main(url))

"""A coordinator and some company, so that each example can be run by itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import xaynet_sdk

# Rounds follow each other quickly, and a draw by which nobody sums is not waited for long.
QUICK = {"pet.sum.time.max": 3, "pet.update.time.max": 20, "pet.sum2.time.max": 5}


class Other(xaynet_sdk.ParticipantABC[Any, Any]):
    """Moves the global model a little towards a model of its own."""

    global_model_as_array = True

    def __init__(self, model_length: int, number: int) -> None:
        self.target = np.random.default_rng(number).uniform(-0.5, 0.5, model_length)

    def train_round(self, training_input: Any) -> Any:
        start = np.zeros(len(self.target)) if training_input is None else training_input
        return start + 0.2 * (self.target - start)

    def serialize_training_result(self, training_result: Any) -> Any:
        return training_result

    def deserialize_training_input(self, global_model: Any) -> Any:
        return global_model


@contextmanager
def coordinator(model_length: int, others: int = 8, **arguments: Any) -> Iterator[str]:
    """The URL of the coordinator that is named on the command line, or of one of our own."""
    if len(sys.argv) > 1:
        yield sys.argv[1]
        return
    with xaynet_sdk.Coordinator(model_length, settings=QUICK, **arguments) as own:
        company = [
            xaynet_sdk.spawn_participant(own.url, Other, (model_length, number))
            for number in range(others)
        ]
        try:
            yield own.url
        finally:
            for participant in company:
                participant.stop()

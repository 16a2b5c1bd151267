"""A program that a strict type checker has to accept. It is checked, not run."""

import array
import threading

import numpy as np
import numpy.typing as npt

import xaynet_sdk
from xaynet_sdk import xaynet_sdk as native

Weights = npt.NDArray[np.float32]


class Trainer(xaynet_sdk.ParticipantABC[Weights, Weights]):
    global_model_as_array = True

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def train_round(self, training_input: Weights | None) -> Weights:
        return np.zeros(3, np.float32) if training_input is None else training_input

    def serialize_training_result(self, training_result: Weights) -> Weights:
        return training_result

    def deserialize_training_input(self, global_model: Weights) -> Weights:
        return global_model

    def on_new_global_model(self, global_model: Weights | None) -> None: ...

    def on_error(self, error: Exception) -> bool:
        return isinstance(error, ArithmeticError)


class Listed(xaynet_sdk.ParticipantABC[list[float], list[float]]):
    def train_round(self, training_input: list[float] | None) -> list[float]:
        return training_input or [0.0]

    def serialize_training_result(self, training_result: list[float]) -> list[float]:
        return training_result

    def deserialize_training_input(self, global_model: list[float]) -> list[float]:
        return global_model


def synchronous(url: str, state: list[int] | None) -> list[int]:
    participant = xaynet_sdk.spawn_participant(url, Trainer, (0.1,), state=state, scalar=0.5)
    xaynet_sdk.spawn_participant(url, Listed, kwargs={})
    error: BaseException | None = participant.error
    print(error)
    return participant.stop()


def asynchronous(url: str) -> None:
    participant, event = xaynet_sdk.spawn_async_participant(url, state=b"")
    waiting: threading.Event = event
    waiting.wait()
    listed: list[float] | None = participant.get_global_model()
    arrayed: npt.NDArray[np.generic] | None = participant.get_global_model(as_array=True)
    print(listed, arrayed)
    participant.set_local_model([1, 2])
    participant.set_local_model((1.0, 2.0))
    participant.set_local_model(array.array("f", [1.0]))
    participant.set_local_model(np.zeros(3))
    participant.set_local_model("model")  # type: ignore[arg-type]


def step_by_step(url: str) -> int:
    participant = native.Participant(url, 1.0, None)
    participant.tick()
    if participant.should_set_model():
        participant.set_model([0.5])
    native.Participant(url, "1.0")  # type: ignore[arg-type]
    return participant.task()

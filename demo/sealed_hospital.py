"""A hospital in version 2, and where all hospitals meet before each training."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

import network
from data import Patients
from network import Weights
from xaynet_sdk import ParticipantABC, UpdateOutcome


class Late(Exception):
    """Not all hospitals have come in time."""


class Meeting:
    """The hospitals wait for each other before each training, until the demo lets them go on.

    Meanwhile the round's update phase is under way: what the demo does then happens during the training. And
    since participants check certificates before they train, everybody then knows what became of the models
    of the round before.
    """

    def __init__(self, hospitals: int) -> None:
        self._hospitals = hospitals
        self._arrived: dict[int, Weights | None] = {}
        self._number = 0
        self._is_over = False
        self._changed = threading.Condition()
        # What each hospital has trained, and nobody has told yet what became of it.
        self._trained: dict[int, Weights] = {}
        #: By round, the models that are proven to be in the global one, by hospital; and who was left out.
        self.counted: dict[int, dict[int, Weights]] = {}
        self.left_out: dict[int, set[int]] = {}

    def arrive(self, hospital: int, begin: Weights | None) -> None:
        """Waits for the others; the hospital is about to begin its training with this global model."""
        with self._changed:
            self._arrived[hospital] = begin
            number = self._number
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._number > number or self._is_over)

    def note_trained(self, hospital: int, weights: Weights) -> None:
        with self._changed:
            self._trained[hospital] = weights.copy()

    def note_outcome(self, hospital: int, outcome: UpdateOutcome) -> None:
        with self._changed:
            if outcome.kind == "accepted":
                return
            weights = self._trained.pop(hospital, None)
            if outcome.round is None or weights is None:
                return
            if outcome.kind == "certified":
                self.counted.setdefault(outcome.round, {})[hospital] = weights
            elif outcome.kind == "left_out":
                self.left_out.setdefault(outcome.round, set()).add(hospital)

    def wait(self, seconds: float, check: Callable[[], None]) -> list[Weights | None]:
        """Waits until all hospitals are there; what each begins its training with.

        Calls `check` now and then, which may raise.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while len(self._arrived) < self._hospitals:
                self._changed.wait(0.1)
                check()
                if time.monotonic() > deadline:
                    missing = sorted(set(range(self._hospitals)) - set(self._arrived))
                    names = ", ".join(str(hospital + 1) for hospital in missing)
                    raise Late(f"hospitals {names} have not come to train in {seconds:.0f} s")
            return [self._arrived[hospital] for hospital in range(self._hospitals)]

    def go_on(self) -> None:
        """Has the hospitals train."""
        with self._changed:
            self._arrived.clear()
            self._number += 1
            self._changed.notify_all()

    def end(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()


class SealedHospital(ParticipantABC[Weights, Weights]):
    """Trains on its own patients. For the check it also tells the meeting what it has trained, and what became of it."""

    def __init__(self, number: int, patients: Patients, meeting: Meeting) -> None:
        super().__init__()
        self._number = number
        self._patients = patients
        self._meeting = meeting
        self._rng = np.random.default_rng(number)

    def deserialize_training_input(self, global_model: list[float]) -> Weights:
        return np.array(global_model, dtype=np.float32)

    def train_round(self, training_input: Weights | None) -> Weights:
        self._meeting.arrive(self._number, training_input)
        begin = network.initial_weights() if training_input is None else training_input
        trained = network.train(begin, self._patients, self._rng)
        self._meeting.note_trained(self._number, trained)
        return trained

    def serialize_training_result(self, training_result: Weights) -> list[float]:
        return list(training_result.tolist())

    def on_update_outcome(self, outcome: UpdateOutcome) -> None:
        self._meeting.note_outcome(self._number, outcome)

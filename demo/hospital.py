"""A hospital: a participant that trains on its own patients.

This is all that a user of `xaynet_sdk` writes.
"""

from __future__ import annotations

import numpy as np

import network
from data import Patients
from ledger import Ledger
from xaynet_sdk import ParticipantABC


class Hospital(ParticipantABC[network.Weights, network.Weights]):
    """Trains on its own patients. It also notes what it did in the demo's ledger, for the check."""

    def __init__(self, number: int, patients: Patients, ledger: Ledger) -> None:
        super().__init__()
        self._number = number
        self._patients = patients
        self._ledger = ledger
        self._rng = np.random.default_rng(number)

    def deserialize_training_input(self, global_model: list[float]) -> network.Weights:
        return np.array(global_model, dtype=np.float32)

    def train_round(self, training_input: network.Weights | None) -> network.Weights:
        begin = network.initial_weights() if training_input is None else training_input
        trained = network.train(begin, self._patients, self._rng)
        self._ledger.note_trained(self._number, trained)
        return trained

    def serialize_training_result(self, training_result: network.Weights) -> list[float]:
        return list(training_result.tolist())

    def on_new_global_model(self, global_model: network.Weights | None) -> None:
        if global_model is not None:
            self._ledger.note_received(self._number, global_model)

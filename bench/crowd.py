"""How many trainings are for nothing, depending on how long the update phase lasts at least.

    python bench/crowd.py --seconds 60

Twenty participants, whose training takes 0.05 to 4 seconds, and the coordinator of the package, in one process. For
each setting it is counted how many trainings there were, and what has become of them (`on_update_outcome`).
"""

from __future__ import annotations

import argparse
import logging
import threading
import time
from collections import Counter
from typing import Any

import numpy as np
import xaynet_sdk

PARTICIPANTS, FASTEST, SLOWEST, WEIGHTS = 20, 0.05, 4.0, 1000
SETTINGS: dict[str, dict[str, object]] = {
    "count.min 3, time.min 0.5 s": {},
    "time.min 2 s (half of the slowest)": {"pet.update.time.min": 2},
    "time.min 5 s (1.25 times the slowest)": {"pet.update.time.min": 5},
    "count.min 14 (all who are drawn, on average)": {
        "pet.update.count.min": 14,
        "pet.update.time.max": 8,
    },
}


class Participant(xaynet_sdk.ParticipantABC[Any, Any]):
    """Trains for so long, and writes down what becomes of it."""

    global_model_as_array = True

    def __init__(self, takes: float, counts: Counter[str], lock: threading.Lock) -> None:
        self.takes, self.counts, self.lock = takes, counts, lock

    def train_round(self, training_input: Any) -> Any:
        time.sleep(self.takes)
        with self.lock:
            self.counts["trainings"] += 1
        return np.zeros(WEIGHTS, np.float32)

    def serialize_training_result(self, training_result: Any) -> Any:
        return training_result

    def deserialize_training_input(self, global_model: Any) -> Any:
        return global_model

    def on_update_outcome(self, outcome: xaynet_sdk.UpdateOutcome) -> None:
        with self.lock:
            self.counts[outcome.kind] += 1


def measure(settings: dict[str, object], seconds: float) -> tuple[Counter[str], int]:
    """What has become of trainings, and how many global models there were."""
    counts: Counter[str] = Counter()
    lock = threading.Lock()
    settings = {"pet.sum.time.max": 2, **settings}
    with xaynet_sdk.Coordinator(WEIGHTS, settings=settings) as coordinator:
        everyone = [
            xaynet_sdk.spawn_participant(coordinator.url, Participant, (takes, counts, lock))
            for takes in np.geomspace(FASTEST, SLOWEST, PARTICIPANTS).tolist()
        ]
        time.sleep(seconds)
        rounds = coordinator.status()["totals"]["completed"]
        with lock:
            counted = Counter(counts)
        for each in everyone:
            each.stop()
    return counted, rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="for each setting")
    seconds = parser.parse_args().seconds
    logging.getLogger("participant").setLevel(logging.ERROR)
    print(f"{'pet.update':46} {'rounds':>6} {'trainings':>9} {'counted':>7} {'for nothing':>11}")
    for name, settings in SETTINGS.items():
        counts, rounds = measure(settings, seconds)
        lost = counts["late"] + counts["rejected"] + counts["round_failed"]
        settled = lost + counts["accepted"] - counts["round_failed"]
        share = lost / settled if settled else 0.0
        print(
            f"{name:46} {rounds:6} {counts['trainings']:9} {settled - lost:7} {share:10.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""What tests/arm/wheel runs with two interpreters, one of each architecture.

``simulate``: the hashes of the global models of small federations, one a line. ``take-part URL COUNT``: the hash of the first global
model that so many participants of a coordinator get, who all train the same. Equal programs print equal lines.
"""

from __future__ import annotations

import hashlib
import platform
import queue
import sys
from typing import Any

import numpy as np

import xaynet_sdk

LENGTH = 1000
MASKS = [
    "Prime/F32/B0/M3",
    "Integer/F64/B2/M6",
    "Prime/F32/Bmax/M3",
    "Word32/F32/B0/M3",
    "Word64/F32/B0/M3",
]
ROUND_SECONDS = 300.0


def digest(model: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(model).tobytes()).hexdigest()


def trainer(number: int) -> Any:
    target = np.random.default_rng(number).random(LENGTH, np.float32)

    def train(model: Any) -> Any:
        start = np.zeros(LENGTH, np.float32) if model is None else model.astype(np.float32)
        return start + np.float32(0.1) * (target - start)

    return train


def simulate() -> None:
    for mask in MASKS:
        for protocol in ("v1", "v2") if mask.startswith("Word") else ("v1",):
            result = xaynet_sdk.simulate(
                [trainer(number) for number in range(8)],
                model_length=LENGTH,
                rounds=3,
                mask=mask,
                protocol=protocol,
                envelopes=protocol == "v1",
                seed=18,
                progress=False,
                keep_models=True,
            )
            for round_, model in zip(result.rounds, result.models, strict=True):
                print(mask, protocol, round_.round_id, round_.models, model.dtype, digest(model))


class Same(xaynet_sdk.ParticipantABC[Any, Any]):
    """Trains what all train, so that the mean is the same whoever is drawn."""

    global_model_as_array = True

    def __init__(self, models: queue.Queue[Any]) -> None:
        self.models = models

    def train_round(self, training_input: Any) -> Any:
        return np.random.default_rng(18).random(LENGTH, np.float32)

    def serialize_training_result(self, training_result: Any) -> Any:
        return training_result

    def deserialize_training_input(self, global_model: Any) -> Any:
        return global_model

    def on_new_global_model(self, global_model: Any) -> None:
        if global_model is not None:
            self.models.put(global_model)


def take_part(url: str, count: int) -> None:
    models: queue.Queue[Any] = queue.Queue()
    participants = [xaynet_sdk.spawn_participant(url, Same, args=(models,)) for _ in range(count)]
    model = models.get(timeout=ROUND_SECONDS)
    print(model.dtype, digest(model))
    for participant in participants:
        participant.stop()


def main() -> None:
    print(platform.machine(), platform.python_version(), np.__version__, file=sys.stderr)
    match sys.argv[1:]:
        case ["simulate"]:
            simulate()
        case ["take-part", url, count]:
            take_part(url, int(count))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()

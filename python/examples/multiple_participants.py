"""Many participants in one process, each of which counts as much as it has samples."""

import numpy as np
from company import QUICK

import xaynet_sdk

MODEL_LENGTH = 5
random = np.random.default_rng(1)
samples = [
    random.normal(0.2, 0.1, (int(count), MODEL_LENGTH)) for count in random.integers(10, 100, 12)
]
# Only the scalars' ratios matter, and tiny ones would cost precision.
largest = max(map(len, samples))


class Mean(xaynet_sdk.ParticipantABC):
    def __init__(self, samples):
        self.samples = samples

    def train_round(self, training_input):
        return self.samples.mean(axis=0)

    def serialize_training_result(self, training_result):
        return training_result

    def deserialize_training_input(self, global_model):
        return global_model


with xaynet_sdk.Coordinator(MODEL_LENGTH, settings=QUICK) as coordinator:
    participants = [
        xaynet_sdk.spawn_participant(coordinator.url, Mean, (mine,), scalar=len(mine) / largest)
        for mine in samples
    ]
    coordinator.wait_for_round(1)
    first = coordinator.rounds()[0]
    print("the federation's mean:", np.round(coordinator.global_model(first), 2))
    print("the mean of everything:", np.round(np.concatenate(samples).mean(axis=0), 2))
    for participant in participants:
        participant.stop()

"""A participant that is called whenever there is something to train."""

import threading

import numpy as np
from company import coordinator

import xaynet_sdk

MODEL_LENGTH = 10


class Participant(xaynet_sdk.ParticipantABC):
    global_model_as_array = True  # arrays instead of lists

    def __init__(self, samples, done):
        self.samples = samples
        self.done = done

    def deserialize_training_input(self, global_model):
        return global_model

    def train_round(self, training_input):
        print("training", flush=True)
        start = np.zeros(MODEL_LENGTH) if training_input is None else training_input
        return start + 0.5 * (self.samples.mean(axis=0) - start)

    def serialize_training_result(self, training_result):
        return training_result

    def on_new_global_model(self, global_model):
        if global_model is not None:
            print("a global model:", np.round(global_model[:3], 3), "...", flush=True)
            self.done.set()

    def on_stop(self):
        print("stopped", flush=True)


done = threading.Event()
samples = np.random.default_rng(1).uniform(-1, 1, (100, MODEL_LENGTH))
with coordinator(MODEL_LENGTH) as url:
    participant = xaynet_sdk.spawn_participant(url, Participant, args=(samples, done))
    try:
        done.wait()
    except KeyboardInterrupt:
        pass
    participant.stop()

"""Training only when it suits: a phone does not train on battery."""

import threading

from company import coordinator

import xaynet_sdk

MODEL_LENGTH = 10


class Phone(xaynet_sdk.ParticipantABC):
    def __init__(self, enough):
        self.charging = True  # the first time it is asked it says no
        self.enough = enough

    def participate_in_update_task(self):
        self.charging = not self.charging
        print("training" if self.charging else "on battery: not this time", flush=True)
        if self.charging:
            self.enough.set()
        return self.charging

    def train_round(self, training_input):
        return [0.25] * MODEL_LENGTH

    def serialize_training_result(self, training_result):
        return training_result

    def deserialize_training_input(self, global_model):
        return global_model


enough = threading.Event()
with coordinator(MODEL_LENGTH) as url:
    participant = xaynet_sdk.spawn_participant(url, Phone, kwargs={"enough": enough})
    enough.wait()
    participant.stop()

import numpy as np
import xaynet_sdk
from report import report
from task import CLIENTS, LENGTH, ROUNDS, accuracy, data, trained

MASKED = True  # (with masks: the default)


class Client(xaynet_sdk.ParticipantABC):
    global_model_as_array = True

    def __init__(self, number):
        super().__init__()
        self.images, self.labels = data(number)

    def deserialize_training_input(self, global_model):
        return global_model

    def train_round(self, model):
        return trained(model, self.images, self.labels)

    def serialize_training_result(self, result):
        return result


clients = [Client(number) for number in range(CLIENTS)]
largest = max(len(client.images) for client in clients)
result = xaynet_sdk.simulate(
    clients,
    model_length=LENGTH,
    rounds=ROUNDS,
    scalars=[len(client.images) / largest for client in clients],
    initial_model=np.zeros(LENGTH, dtype=np.float32),
    mask="Word64/F32/B2/M3",
    masked=MASKED,
    evaluate=accuracy,
    progress=lambda done: report(done.metrics["metric"]),
)

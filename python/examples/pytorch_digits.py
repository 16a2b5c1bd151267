"""A PyTorch network on the digits, federated."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import xaynet_sdk

pixels, digits = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(
    torch.tensor(pixels / 16, dtype=torch.float32),
    torch.tensor(digits),
    test_size=0.25,
    random_state=1,
)
shares = np.array_split(np.random.default_rng(1).permutation(len(x)), 10)


def new_network():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Linear(64, 32), torch.nn.BatchNorm1d(32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
    )


first, layout = xaynet_sdk.flatten(new_network())


class Hospital(xaynet_sdk.ParticipantABC):
    global_model_as_array = True

    def __init__(self, share):
        self.x, self.y = x[share], y[share]
        self.network = new_network()

    def deserialize_training_input(self, global_model):
        return global_model

    def train_round(self, training_input):
        xaynet_sdk.unflatten(
            first if training_input is None else training_input, layout, into=self.network
        )
        optimizer = torch.optim.Adam(self.network.parameters(), lr=0.01)
        self.network.train()
        for _ in range(10):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(self.network(self.x), self.y).backward()
            optimizer.step()
        return layout.flatten(self.network)

    def serialize_training_result(self, training_result):
        return training_result


@torch.no_grad()
def accuracy(weights):
    network = xaynet_sdk.unflatten(weights, layout, into=new_network()).eval()
    return {"accuracy": float((network(x_test).argmax(1) == y_test).float().mean())}


result = xaynet_sdk.simulate(
    [Hospital(share) for share in shares],
    model_length=len(layout),
    rounds=10,
    mask="Prime/F32/B2/M3",
    evaluate=accuracy,
)
print(result)
assert result.columns()["accuracy"][-1] > 0.9

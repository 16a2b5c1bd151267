"""scikit-learn's SGDClassifier on the digits: ten hospitals that show each other nothing."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

import xaynet_sdk

pixels, digits = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(pixels / 16, digits, test_size=0.25, random_state=1)
shares = np.array_split(np.random.default_rng(1).permutation(len(x)), 10)


def new_model():
    # One look at the classes, so that the weights are there.
    model = SGDClassifier(loss="log_loss", alpha=1e-4, random_state=1)
    return model.partial_fit(x_test[:1], y_test[:1], classes=np.arange(10))


_, layout = xaynet_sdk.flatten(new_model())


class Hospital(xaynet_sdk.ParticipantABC):
    global_model_as_array = True

    def __init__(self, share):
        self.x, self.y = x[share], y[share]
        self.model = new_model()

    def deserialize_training_input(self, global_model):
        return global_model

    def train_round(self, training_input):
        if training_input is not None:
            xaynet_sdk.unflatten(training_input, layout, into=self.model)
        self.model.partial_fit(self.x, self.y)
        return layout.flatten(self.model)

    def serialize_training_result(self, training_result):
        return training_result


def accuracy(weights):
    return {
        "accuracy": xaynet_sdk.unflatten(weights, layout, into=new_model()).score(x_test, y_test)
    }


result = xaynet_sdk.simulate(
    [Hospital(share) for share in shares],
    model_length=len(layout),
    rounds=10,
    scalars=[len(share) / max(map(len, shares)) for share in shares],
    # SGDClassifier's weights are in the hundreds.
    mask="Prime/F32/B4/M3",
    evaluate=accuracy,
)
alone = Hospital(shares[0])
for _ in range(10):
    alone.train_round(None)
print(result)
print(f"one hospital alone: {alone.model.score(x_test, y_test):.3f}")
assert result.columns()["accuracy"][-1] > 0.9

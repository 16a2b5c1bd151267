"""A Keras network on the digits, federated."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import xaynet_sdk

pixels, digits = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(
    (pixels / 16).astype(np.float32), digits, test_size=0.25, random_state=1
)
shares = np.array_split(np.random.default_rng(1).permutation(len(x)), 10)


def new_network():
    keras.utils.set_random_seed(1)
    network = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    network.optimizer.learning_rate = 0.01
    return network


# All train with the same network, one after the other, so that it is compiled once.
network = new_network()
first, layout = xaynet_sdk.flatten(network)


def hospital(share):
    def train(global_model):  # an array; None in the first round
        layout.unflatten(first if global_model is None else global_model, into=network)
        network.fit(x[share], y[share], batch_size=len(share), epochs=10, verbose=0)
        return layout.flatten(network)

    return train


def accuracy(weights):
    layout.unflatten(weights, into=network)
    return {"accuracy": network.evaluate(x_test, y_test, verbose=0)[1]}


result = xaynet_sdk.simulate(
    [hospital(share) for share in shares],
    model_length=len(layout),
    rounds=5,
    mask="Prime/F32/B2/M3",
    evaluate=accuracy,
)
print(result)
assert result.columns()["accuracy"][-1] > 0.8

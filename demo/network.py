"""A small neural network in plain NumPy: 30 measurements, one hidden layer, one probability.

Its weights are one flat vector, which is what the participants exchange.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data import Array, Patients

INPUTS = 30
HIDDEN = 16
LENGTH = INPUTS * HIDDEN + HIDDEN + HIDDEN + 1

STEPS_PER_ROUND = 5
BATCH = 32
LEARNING_RATE = 0.2
WEIGHT_DECAY = 1e-3

# What the coordinator's mask config carries: rounding happens here, once, and not on the way.
Weights = npt.NDArray[np.float32]


def initial_weights() -> Weights:
    """Where everybody begins: the mean of networks from different beginnings would be useless."""
    weights = np.random.default_rng(0).normal(scale=0.1, size=LENGTH)
    return weights.astype(np.float32)


def train(weights: Weights, patients: Patients, rng: np.random.Generator) -> Weights:
    """One round's worth of gradient descent on the given patients."""
    trained = weights.astype(np.float64)
    for _ in range(STEPS_PER_ROUND):
        batch = rng.permutation(len(patients))[:BATCH]
        slope = _gradient(trained, patients.measurements[batch], patients.benign[batch])
        trained -= LEARNING_RATE * (slope + WEIGHT_DECAY * trained)
    return trained.astype(np.float32)


def accuracy(weights: Weights, patients: Patients) -> float:
    """The part of the patients that the network judges correctly."""
    _, probability = _forward(weights.astype(np.float64), patients.measurements)
    return float(np.mean((probability > 0.5) == patients.benign))


def _layers(weights: Array) -> tuple[Array, Array, Array, Array]:
    inner, bias, outer, outer_bias = np.split(
        weights, [INPUTS * HIDDEN, INPUTS * HIDDEN + HIDDEN, LENGTH - 1]
    )
    return inner.reshape(INPUTS, HIDDEN), bias, outer, outer_bias


def _forward(weights: Array, measurements: Array) -> tuple[Array, Array]:
    inner, bias, outer, outer_bias = _layers(weights)
    hidden = np.tanh(measurements @ inner + bias)
    return hidden, 1.0 / (1.0 + np.exp(-(hidden @ outer + outer_bias)))


def _gradient(weights: Array, measurements: Array, benign: Array) -> Array:
    _, _, outer, _ = _layers(weights)
    hidden, probability = _forward(weights, measurements)
    error = (probability - benign) / len(benign)
    hidden_error = np.outer(error, outer) * (1.0 - hidden**2)
    return np.concatenate(
        [
            (measurements.T @ hidden_error).ravel(),
            hidden_error.sum(axis=0),
            hidden.T @ error,
            [error.sum()],
        ]
    )

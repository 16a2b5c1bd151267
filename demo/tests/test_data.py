"""The split is what the demo says it is."""

from __future__ import annotations

import numpy as np

import data
import network


def test_nobody_is_in_two_places() -> None:
    loaded = data.load()
    everybody = [*loaded.hospitals, loaded.test]
    rows = [row.tobytes() for patients in everybody for row in patients.measurements]
    assert len(rows) == sum(data.HOSPITAL_SIZES) + data.TEST_SIZE
    assert len(set(rows)) == len(rows)


def test_the_hospitals_are_uneven_and_the_split_does_not_change() -> None:
    first, second = data.load(), data.load()
    assert [len(hospital) for hospital in first.hospitals] == list(data.HOSPITAL_SIZES)
    shares = [hospital.benign.mean() for hospital in first.hospitals]
    assert max(shares) - min(shares) > 0.5
    for one, other in zip(first.hospitals, second.hospitals):
        assert np.array_equal(one.measurements, other.measurements)


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    patients = data.load().hospitals[3]
    weights = network.initial_weights().astype(np.float64)
    slope = network._gradient(weights, patients.measurements, patients.benign)

    def loss(weights: data.Array) -> float:
        _, probability = network._forward(weights, patients.measurements)
        truth = patients.benign
        return -float(np.mean(truth * np.log(probability) + (1 - truth) * np.log1p(-probability)))

    for index in (0, 7, 479, 480, 495, 496, 511, 512):
        step = np.zeros_like(weights)
        step[index] = 1e-6
        numeric = (loss(weights + step) - loss(weights - step)) / 2e-6
        assert abs(numeric - slope[index]) < 1e-7

"""The breast-cancer data, split unevenly over ten hospitals.

The data set ships with scikit-learn: 569 tumours, 30 measurements of each, and whether it was
benign. The split is the same in every run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer

Array = npt.NDArray[np.float64]

# How many patients each hospital has. The largest sees eight times as many as the smallest.
HOSPITAL_SIZES = (66, 58, 50, 43, 36, 29, 22, 16, 11, 8)
TEST_SIZE = 170
REFERENCE_SIZE = 60
SPLIT_SEED = 0


@dataclass(frozen=True)
class Patients:
    """Measurements (one row each, scaled) and the truth: 1 is benign, 0 malignant."""

    measurements: Array
    benign: Array

    def __len__(self) -> int:
        return len(self.benign)


@dataclass(frozen=True)
class Data:
    hospitals: list[Patients]
    test: Patients

    @property
    def pooled(self) -> Patients:
        """All hospitals' patients in one place: what federated learning makes unnecessary."""
        return Patients(
            np.concatenate([hospital.measurements for hospital in self.hospitals]),
            np.concatenate([hospital.benign for hospital in self.hospitals]),
        )


def load() -> Data:
    raw = load_breast_cancer()
    rng = np.random.default_rng(SPLIT_SEED)
    shuffled = rng.permutation(len(raw.target))
    reference, test, rest = np.split(shuffled, [REFERENCE_SIZE, REFERENCE_SIZE + TEST_SIZE])

    # Everybody has to scale the measurements alike, without looking at anybody's patients. A
    # reference sample that is neither trained on nor tested with stands for published normal
    # values; its labels are not used.
    mean = raw.data[reference].mean(axis=0)
    deviation = raw.data[reference].std(axis=0)
    scaled = np.clip((raw.data - mean) / deviation, -5.0, 5.0)

    def patients(rows: npt.NDArray[np.int64]) -> Patients:
        return Patients(scaled[rows], raw.target[rows].astype(np.float64))

    hospitals = [patients(rows) for rows in _deal(rng, rest, raw.target)]
    return Data(hospitals, patients(test))


def _deal(
    rng: np.random.Generator, rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]
) -> list[npt.NDArray[np.int64]]:
    """Deals rows to hospitals, which differ in size and in how many of their tumours are benign."""
    benign = list(rows[labels[rows] == 1])
    malignant = list(rows[labels[rows] == 0])
    dealt = []
    # The smallest first: towards the end one kind may run out, and the largest get what is left.
    for size in sorted(HOSPITAL_SIZES):
        wanted = round(size * rng.beta(0.6, 0.6))
        share = max(size - len(malignant), min(wanted, len(benign)))
        dealt.append(np.array(benign[:share] + malignant[: size - share]))
        del benign[:share], malignant[: size - share]
    return dealt[::-1]

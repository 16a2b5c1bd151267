"""Writes the handwritten digits of scikit-learn into a file, in an order that is always the same."""

import sys

import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.data))
images = (digits.data[order] / digits.data.max()).astype(np.float32)
np.savez(sys.argv[1], images=images, labels=digits.target[order])

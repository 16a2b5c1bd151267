"""The check of the demo of version 2: global models, and what coalitions are left with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import report
from data import Array
from network import Weights

# The mask config of the federation: Word32, F32, B2, M3 (docs/word-groups.md).
BOUND = 100.0
STEPS = 2.0**14

Numbers = npt.NDArray[np.uint32]


class WrongModel(Exception):
    """A global model is not the plain mean, or an attack did not do what it should."""


def the_model(begins: list[Weights | None], number: int) -> Weights:
    """The one global model that all hospitals have."""
    first = begins[0]
    for begin in begins:
        if first is None or begin is None or not np.array_equal(begin, first):
            raise WrongModel(f"round {number}: not all hospitals have the same global model")
    assert first is not None
    return first


def encode(model: Weights) -> npt.NDArray[np.int64]:
    """The numbers that are masked."""
    return np.floor((model.astype(np.float64) + BOUND) * STEPS).astype(np.int64)


def decode(numbers: Numbers) -> Array:
    """The weights that numbers stand for."""
    weights: Array = numbers.astype(np.float64) / STEPS - BOUND
    return weights


def compare(found: Weights, models: list[Weights], number: int) -> float:
    """Compares a global model with the sum of what was encoded, to the last bit, and with the plain mean.

    Gives the largest difference from the mean, which comes of the encoding.
    """
    total = sum((encode(model) for model in models), np.zeros(len(found), np.int64))
    exact = (total / (STEPS * len(models)) - BOUND).astype(np.float32)
    # Two roundings, to double and to single, may differ from one in the last bit.
    if not np.all(np.abs(found - exact) <= np.spacing(np.abs(exact))):
        raise WrongModel(
            f"round {number}: the global model is not the plain mean of the {len(models)} that count"
        )
    mean = np.mean([model.astype(np.float64) for model in models], axis=0)
    return float(np.abs(found - mean).max())


def left_of(text: str) -> Numbers:
    """The numbers in the line `left NUMBER...`."""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["left"]:
            return np.array(words[1:], dtype=np.uint32)
    raise WrongModel(f"the colluders say {text[:80]!r}, and not what they are left with")


def judge(model: Weights, left: dict[str, Numbers]) -> None:
    """Says, and checks, what each coalition has."""
    report.say(f"  {'':50}{'correlation':>12}{'right weights':>17}")
    rows = [
        ("version_1", "version 1: with one who sums, of any number", True),
        ("two_groups", "version 2: with two whole groups of three", False),
        ("all_groups", "version 2: with one member of every group", True),
    ]
    for name, label, succeeds in rows:
        weights = decode(left[name])
        right = int(np.sum(left[name] == encode(model)))
        together = float(np.corrcoef(weights, model)[0, 1])
        report.say(f"  {label:50}{together:12.3f}{right:10} of {len(model)}")
        if succeeds and right < len(model):
            raise WrongModel(f"{label}: this coalition should have the model")
        # Of uniform numbers one in four thousand million is right by chance.
        if not succeeds and (right > 1 or abs(together) > 0.25):
            raise WrongModel(f"{label}: this coalition should have noise")
    spread = np.histogram(left["two_groups"], bins=8, range=(0, 2.0**32))[0]
    report.say(f"  what two groups have, in eighths of the range: {' '.join(map(str, spread))}")
    report.say()

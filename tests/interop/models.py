"""The models that participants train, and the global model that must come of them.

Shared by the tests and by the participants' script, which runs in interpreters that have nothing
but an SDK installed: standard library only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Union

Weight = Union[int, float]

ANY_ROUND = "any"
"""In place of a round's seed, for models that are trained without knowing where they will be used."""


@dataclass(frozen=True)
class Config:
    """A mask config by the names of the settings, with what follows from it (spec, section 5).

    ``magnitude`` scales the models of the tests: a power of two or an integer, so that every weight
    is exact in the data type, and such that ``scalar * weight`` stays within the bound.
    """

    group: str
    data: str
    bound: str
    models: str
    magnitude: int

    @property
    def add_shift(self) -> Fraction:
        return Fraction({"B0": 1, "B2": 10**2, "B4": 10**4, "B6": 10**6}[self.bound])

    @property
    def exp_shift(self) -> int:
        return 10**20 if self.data == "F64" else 10**10

    @property
    def is_integer(self) -> bool:
        return self.data.startswith("I")

    def __str__(self) -> str:
        return f"{self.group}-{self.data}-{self.bound}-{self.models}"


def local_model(
    config: Config, index: int, population: int, length: int, round_seed: str
) -> list[Weight]:
    """The model of participant ``index`` in a round: different for each of them and each round.

    The first ``population`` weights say who it is: the mean of several models is nonzero exactly
    where a participant's model went in, so that a global model tells who took part.
    """
    weights: list[Weight] = [0] * population
    weights[index] = config.magnitude
    for position in range(population, length):
        digest = hashlib.sha256(f"{round_seed}/{index}/{position}".encode()).digest()
        steps = int.from_bytes(digest[:2], "big") % 2049 - 1024
        if config.is_integer:
            weights.append(steps * config.magnitude // 1024)
        else:
            weights.append(steps * config.magnitude / 1024)
    return weights if config.is_integer else [float(weight) for weight in weights]


def contributors(global_model: Sequence[Fraction | Weight], population: int) -> list[int]:
    """Who took part in a global model made of :func:`local_model` ones.

    Rounding moves a weight by far less than half of what one of the participants contributes.
    """
    return [index for index in range(population) if global_model[index] > Fraction(1, 10**6)]


def exact_mean(config: Config, models: Sequence[tuple[float, Sequence[Weight]]]) -> list[Fraction]:
    """The global model, exactly, of ``(scalar, weights)`` pairs with one config for both parts."""
    shift, scale = config.add_shift, config.exp_shift

    def encoded(value: Fraction) -> Fraction:
        clamped = max(-shift, min(shift, value))
        return Fraction((clamped + shift) * scale // 1)

    count = len(models)
    scaled = [(min(Fraction(scalar), shift), weights) for scalar, weights in models]
    scalar_sum = sum((encoded(scalar) for scalar, _ in scaled), Fraction()) / scale - count * shift
    sums = (
        sum(
            (encoded(scalar * Fraction(weights[position])) for scalar, weights in scaled),
            Fraction(),
        )
        for position in range(len(models[0][1]))
    )
    return [(total / scale - count * shift) / scalar_sum for total in sums]


def plain_mean(models: Sequence[tuple[float, Sequence[Weight]]]) -> list[Fraction]:
    """The weighted mean as a user of the SDK understands it: ``sum(s * w) / sum(s)``."""
    scalar_sum = sum((Fraction(scalar) for scalar, _ in models), Fraction())
    return [
        sum(
            (Fraction(scalar) * Fraction(weights[position]) for scalar, weights in models),
            Fraction(),
        )
        / scalar_sum
        for position in range(len(models[0][1]))
    ]

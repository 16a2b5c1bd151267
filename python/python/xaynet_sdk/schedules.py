"""Learning rates that change by the round.

A schedule is any function from a number, 0 in the beginning, to a rate. These are the usual ones::

    rate = Cosine(0.1, steps=100, warmup=5)
    FedAvgM(learning_rate=rate)     # the server's, by its steps
    rate(42)                        # or a participant's own
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from xaynet_sdk._numbers import whole

__all__ = ["Cosine", "Exponential", "Schedule", "Steps"]

#: From the number of a step or round, 0 in the beginning, to a learning rate.
Schedule: TypeAlias = Callable[[int], float]


def rate(given: float | Schedule, step: int) -> float:
    """The rate of a step.

    Raises:
        TypeError, ValueError: It is no positive number.
    """
    value = given(step) if callable(given) else given
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"a learning rate is a number, and {value!r} is none") from error
    if not 0 <= number < math.inf:
        raise ValueError(
            f"a learning rate is a number that is not negative, and in step {step} it is {number}"
        )
    return number


@dataclass(frozen=True, slots=True)
class _Warm:
    """From a part of the first rate up to all of it, in so many steps."""

    initial: float
    warmup: int

    def _check(self) -> None:
        rate(self.initial, 0)
        whole("warmup", self.warmup, 0)

    def _warm(self, step: int) -> float | None:
        return self.initial * (step + 1) / (self.warmup + 1) if step < self.warmup else None


@dataclass(frozen=True, slots=True)
class Steps:
    """Times ``factor`` after every ``every`` steps.

    Args:
        initial: The first rate.
        every: After how many steps.
        factor: By what, such as 0.1.
        warmup: In how many steps it first rises to ``initial``.
    """

    initial: float
    every: int
    factor: float = 0.1
    warmup: int = 0

    def __post_init__(self) -> None:
        _Warm(self.initial, self.warmup)._check()
        whole("every", self.every, 1)
        rate(self.factor, 0)

    def __call__(self, step: int) -> float:
        warm = _Warm(self.initial, self.warmup)._warm(step)
        if warm is not None:
            return warm
        return float(self.initial * self.factor ** ((step - self.warmup) // self.every))


@dataclass(frozen=True, slots=True)
class Exponential:
    """Times ``decay`` after every step."""

    initial: float
    decay: float
    warmup: int = 0

    def __post_init__(self) -> None:
        _Warm(self.initial, self.warmup)._check()
        rate(self.decay, 0)

    def __call__(self, step: int) -> float:
        warm = _Warm(self.initial, self.warmup)._warm(step)
        return float(self.initial * self.decay ** (step - self.warmup)) if warm is None else warm


@dataclass(frozen=True, slots=True)
class Cosine:
    """Along half a cosine, from ``initial`` down to ``final`` in ``steps`` steps, and ``final`` from then on.

    (Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, without the restarts.)
    """

    initial: float
    steps: int
    final: float = 0.0
    warmup: int = 0

    def __post_init__(self) -> None:
        _Warm(self.initial, self.warmup)._check()
        whole("steps", self.steps, 1)
        rate(self.final, 0)

    def __call__(self, step: int) -> float:
        warm = _Warm(self.initial, self.warmup)._warm(step)
        if warm is not None:
            return warm
        done = min((step - self.warmup) / max(self.steps - self.warmup, 1), 1.0)
        return self.final + (self.initial - self.final) * (1 + math.cos(math.pi * done)) / 2

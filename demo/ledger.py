"""The check: is each global model the plain weighted mean of that round's local models?

A model whose training took longer than its round belongs to the next round that its hospital is chosen
to train in: that is what `xaynet_sdk` promises.

In a real federation nobody could tell, for nobody sees the local models. Here all hospitals run in
one process and note what they trained and what they received. They do not know the round's number;
the times of the coordinator's log and of the notes come from the same clock and tell which belongs
to which.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from coordinator import Round
from data import Array
from network import Weights


@dataclass(frozen=True)
class Steps:
    """A mask config's precision: scaled weights and scalars are rounded down to multiples of these."""

    weight: float
    scalar: float


# By group type, with the other settings of coordinator.toml: F32, B2, M3 (docs/word-groups.md).
STEPS = {
    "Prime": Steps(1e-10, 1e-10),
    "Word32": Steps(2.0**-14, 2.0**-46),
    "Word64": Steps(2.0**-46, 2.0**-46),
}


class WrongModel(Exception):
    """A global model is not what it ought to be."""


@dataclass(frozen=True)
class Note:
    """What a hospital trained or received, and when."""

    time: float
    hospital: int
    weights: Weights


@dataclass(frozen=True)
class Verdict:
    """A global model that passed the check."""

    model: Weights
    # Who trained it, and whose training came too late to be in it.
    hospitals: tuple[int, ...]
    late: tuple[int, ...]
    # The largest difference from the mean.
    difference: float


class Ledger:
    """What all hospitals trained and received. Any thread may write."""

    def __init__(self, scalars: list[float], steps: Steps) -> None:
        self._scalars = scalars
        self._steps = steps
        self._hospitals = set(range(len(scalars)))
        self._trained: list[Note] = []
        # When each hospital has trained its latest model that is in a global one.
        self._used: dict[int, float] = {}
        self._received: list[Note] = []
        self._changed = threading.Condition()

    def note_trained(self, hospital: int, weights: Weights) -> None:
        self._note(self._trained, hospital, weights)

    def note_received(self, hospital: int, weights: Weights) -> None:
        self._note(self._received, hospital, weights)

    def _note(self, notes: list[Note], hospital: int, weights: Weights) -> None:
        note = Note(time.time(), hospital, weights.copy())
        with self._changed:
            notes.append(note)
            self._changed.notify_all()

    def wait_until_received(self, round: Round, seconds: float, check: Callable[[], None]) -> None:
        """Waits until every hospital has received a global model after the round's end.

        Calls `check` now and then, which may raise.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while waiting := self._hospitals - {
                note.hospital for note in self._received if note.time > round.ended
            }:
                check()
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise WrongModel(
                        f"round {round.number}: hospital {min(waiting) + 1} has not received the"
                        f" global model within {seconds:.0f} s"
                    )
                self._changed.wait(min(remaining, 0.2))

    def judge(self, round: Round, until: Callable[[], float], before: Weights | None) -> Verdict:
        """Compares the model of a completed round with its hospitals' models.

        It is what they received first, up to the time that `until` gives; `before` is the global model
        of the round before. Rounds are to be judged in their order.
        """
        with self._changed:
            latest = {
                n.hospital: n
                for n in self._trained
                if self._used.get(n.hospital, -np.inf) < n.time <= round.ended
            }
            received = [n for n in self._received if round.ended <= n.time]
        # Asked only now: otherwise the next model could have come in between.
        end = until()
        received = [n for n in received if n.time <= end]
        trained = {hospital: note.weights for hospital, note in latest.items()}
        model = self._the_model(round, received, before)
        accepted = round.phases["update"].accepted
        if len(trained) < accepted:
            raise WrongModel(
                f"round {round.number}: {accepted} models were accepted,"
                f" but only {len(trained)} were trained"
            )
        # As a rule all that were trained in this round were accepted. One that came too late was not,
        # one of an earlier round may be, and the coordinator cannot say whose: that would be telling.
        # The mean itself does.
        candidates = [
            self._compare(model, trained, group)
            for group in combinations(sorted(trained), accepted)
        ]
        best = min(candidates, key=lambda candidate: candidate[0])
        excess, difference, group = best
        # Not a number is not within the precision, either.
        if not excess <= 1:
            raise WrongModel(
                f"round {round.number}: the global model differs from the weighted mean of the"
                f" {accepted} local models by {difference:.3g}, {excess:.3g} times as much as the mask"
                " config's precision explains"
            )
        self._used.update((hospital, latest[hospital].time) for hospital in group)
        late = tuple(
            hospital
            for hospital, note in sorted(latest.items())
            if hospital not in group and note.time >= round.began
        )
        return Verdict(model, group, late, difference)

    @staticmethod
    def _the_model(round: Round, received: list[Note], before: Weights | None) -> Weights:
        """The one model that everybody has received."""
        # A hospital that was slow may only now have noted the model of the round before.
        first: dict[int, Note] = {}
        for note in received:
            if before is None or not np.array_equal(note.weights, before):
                first.setdefault(note.hospital, note)
        fresh = list(first.values())
        if not fresh:
            raise WrongModel(f"round {round.number}: no hospital has received the global model")
        for note in fresh[1:]:
            if not np.array_equal(note.weights, fresh[0].weights):
                raise WrongModel(
                    f"round {round.number}: hospitals {fresh[0].hospital + 1} and"
                    f" {note.hospital + 1} have received different global models"
                )
        return fresh[0].weights

    def _compare(
        self, model: Weights, trained: dict[int, Weights], group: tuple[int, ...]
    ) -> tuple[float, float, tuple[int, ...]]:
        """How far a model is off the mean of a group, in units of the precision and in itself."""
        scalars = np.array([self._scalars[hospital] for hospital in group])
        weights = np.array([trained[hospital] for hospital in group], dtype=np.float64)
        mean = scalars @ weights / scalars.sum()
        difference = np.abs(model - mean)
        excess = difference / precision(mean, scalars, self._steps)
        return float(excess.max()), float(difference.max()), group


def precision(mean: Array, scalars: Array, steps: Steps) -> Array:
    """How far a global model's weights may be off the mean.

    Each hospital's scaled weights and its scalar are rounded down to steps when they are masked,
    which adds up; the result is then rounded to the nearest 32-bit float.
    """
    weight, scalar = len(scalars) * steps.weight, len(scalars) * steps.scalar
    masking = (weight + scalar * np.abs(mean)) / (scalars.sum() - scalar)
    rounding = 2.0**-24 * (np.abs(mean) + masking)
    bound: Array = masking + rounding
    return bound

"""Ten hospitals and three sealed groups: `make demo-v2`.

They train a model together in version 2 of the protocol. During the training one member of a group is ended
for good, and one of another group begins to lie; each global model is compared with the plain mean.
Then the coordinator and two whole groups try to unmask a hospital, with all keys that they have.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

import data as hospitals_data
import network
import report
import sealed_chart
from data import Array, Patients
from network import Weights

ROUNDS = 8
KILL_AFTER = 2
LIE_AFTER = 4

# The mask config of the federation: Word32, F32, B2, M3 (docs/word-groups.md).
BOUND = 100.0
STEPS = 2.0**14

Numbers = npt.NDArray[np.uint32]


class WrongModel(Exception):
    """A global model is not the plain mean, or an attack did not do what it should."""


class Federation:
    """The coordinator, the members and the updaters, in a process of their own."""

    def __init__(self, binary: Path) -> None:
        self._process = subprocess.Popen(
            [str(binary)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, command: str, models: list[Weights] | None = None) -> None:
        """Says what is to be done."""
        assert self._process.stdin is not None
        words = [command]
        for model in models or []:
            # All digits of the float.
            words += [repr(float(weight)) for weight in model]
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()

    def answer(self, name: str) -> list[str]:
        """The next line of the answer, which must have this name."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().split()
        if not line or line[0] != name:
            raise WrongModel(f"the federation says {line[:1]} where it should say {name!r}")
        return line[1:]

    def round(self, models: list[Weights]) -> tuple[Weights, list[str]]:
        """Plays a round: the global model, and what was noted."""
        self.tell("round", models)
        notes = self.answer("notes")
        return np.array(self.answer("global"), dtype=np.float32), notes

    def attack(self, models: list[Weights]) -> dict[str, Numbers]:
        """What each coalition is left with of the first hospital's model."""
        self.tell("attack", models)
        names = ("two_groups", "all_groups", "version_1")
        return {name: np.array(self.answer(name), dtype=np.uint32) for name in names}

    def stop(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> int:
    options = argparse.ArgumentParser(prog="demo-v2", description=__doc__)
    options.add_argument("--federation", type=Path, required=True, help="the example sealed_groups")
    options.add_argument(
        "--plot", type=Path, default=Path("demo-out/sealed.png"), help="where to save the picture"
    )
    options.add_argument("--rounds", type=int, default=ROUNDS, help="how many rounds to train")
    arguments = options.parse_args()
    federation = Federation(arguments.federation)
    try:
        run(federation, arguments.rounds, arguments.plot)
    except WrongModel as error:
        report.error(str(error))
        return 1
    finally:
        federation.stop()
    return 0


def run(federation: Federation, rounds: int, plot: Path) -> None:
    data = hospitals_data.load()
    generators = [np.random.default_rng(number) for number in range(len(data.hospitals))]
    weights = network.initial_weights()
    report.say(
        report.bold("Ten hospitals, and three groups of three members who trust no other group")
    )
    report.say()
    report.say(report.bold("round   trained   votes   accuracy   off the mean"))
    for number in range(1, rounds + 1):
        if number == KILL_AFTER + 1:
            federation.tell("kill")
            federation.answer("done")
            report.say(report.dim("        a member of the first group is ended, for good"))
        if number == LIE_AFTER + 1:
            federation.tell("lie")
            federation.answer("done")
            report.say(
                report.dim("        a member of the second group sends wrong masks from now on")
            )
        models = train(weights, data.hospitals, generators)
        weights, notes = federation.round(models)
        difference = compare(weights, models, number)
        said = dict(note.split("=") for note in notes)
        accuracy = report.percent(network.accuracy(weights, data.test))
        lied = f"   member {said['lied']} has lied, and is outvoted" if "lied" in said else ""
        report.say(
            f"{number:5}   {said['models']:>2} of 10  {said['votes']:>2} of 9    {accuracy}   {difference:10.1e}{lied}"
        )
    victim = train(weights, data.hospitals, generators)
    left = federation.attack(victim)
    judge(victim[0], left)
    sealed_chart.draw(plot, victim[0], {name: decode(numbers) for name, numbers in left.items()})
    report.say(f"The picture is in {plot}")


def train(
    weights: Weights, hospitals: list[Patients], generators: list[np.random.Generator]
) -> list[Weights]:
    """What each hospital makes of the global model."""
    pairs = zip(hospitals, generators)
    return [network.train(weights, hospital, generator) for hospital, generator in pairs]


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
        raise WrongModel(f"round {number}: the global model is not the plain mean of the ten")
    mean = np.mean([model.astype(np.float64) for model in models], axis=0)
    return float(np.abs(found - mean).max())


def judge(model: Weights, left: dict[str, Numbers]) -> None:
    """Says, and checks, what each coalition has."""
    report.say()
    report.say(report.bold("The coordinator and others try to unmask the first hospital"))
    columns = f"{'who':52}{'correlation':>12}{'right weights':>15}"
    report.say(columns)
    rows = [
        ("version_1", "version 1: with one who sums, of any number", True),
        ("two_groups", "version 2: with two whole groups of three", False),
        ("all_groups", "version 2: with one member of every group", True),
    ]
    for name, label, succeeds in rows:
        weights = decode(left[name])
        right = int(np.sum(left[name] == encode(model)))
        together = float(np.corrcoef(weights, model)[0, 1])
        report.say(f"  {label:50}{together:12.3f}{right:8} of {len(model)}")
        if succeeds and right < len(model):
            raise WrongModel(f"{label}: this coalition should have the model")
        # Of uniform numbers one in four thousand million is right by chance.
        if not succeeds and (right > 1 or abs(together) > 0.25):
            raise WrongModel(f"{label}: this coalition should have noise")
    spread = np.histogram(left["two_groups"], bins=8, range=(0, 2.0**32))[0]
    report.say(f"  what two groups have, in eighths of the range: {' '.join(map(str, spread))}")
    report.say()


if __name__ == "__main__":
    sys.exit(main())

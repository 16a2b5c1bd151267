"""Ten hospitals train a model together, through a real coordinator: `make demo`.

Each hospital is a participant of the PET protocol. In each round chance decides who trains and who
adds up masks. The demo checks every global model against the plain weighted mean of that round's
local models.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

import chart
import data as hospitals_data
import network
import report
from coordinator import Coordinator, CoordinatorFailed
from data import Patients
from hospital import Hospital
from ledger import STEPS, Ledger, WrongModel
from network import Weights
from xaynet_sdk import InternalParticipant, spawn_participant

SETTINGS = Path(__file__).with_name("coordinator.toml")
ROUNDS = 12
ROUND_SECONDS = 120.0
# After this many failed rounds it is not chance any more.
MOST_FAILURES = 8


class HospitalFailed(Exception):
    """A hospital's own code has failed: what it trains is missing from the models."""


def main() -> int:
    options = argparse.ArgumentParser(prog="demo", description=__doc__)
    options.add_argument(
        "--coordinator", type=Path, required=True, help="the pet-coordinator binary"
    )
    options.add_argument(
        "--plot", type=Path, default=Path("demo-out/accuracy.png"), help="where to save the plot"
    )
    options.add_argument("--rounds", type=int, default=ROUNDS, help="how many rounds to complete")
    options.add_argument(
        "--group-type",
        choices=sorted(STEPS),
        default="Prime",
        help="how models are masked: the word groups are faster, and Word32 is less precise",
    )
    arguments = options.parse_args()
    # Whichever way it is told to end, it takes the coordinator along.
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.default_int_handler)
    try:
        run(arguments.coordinator, arguments.plot, arguments.rounds, arguments.group_type)
    except (CoordinatorFailed, HospitalFailed, WrongModel) as error:
        report.error(str(error))
        return 1
    except KeyboardInterrupt:
        report.say("\ninterrupted")
        return 130
    return 0


def run(binary: Path, plot: Path, rounds: int, group_type: str) -> None:
    data = hospitals_data.load()
    sizes = [len(hospital) for hospital in data.hospitals]
    # The weight of a hospital in the mean: how many patients it has, in parts of the largest one's.
    scalars = [size / max(sizes) for size in sizes]
    ledger = Ledger(scalars, STEPS[group_type])
    participants: list[InternalParticipant] = []
    begin = network.initial_weights()
    with ExitStack() as stack:
        options = {"mask.group_type": group_type}
        coordinator = Coordinator(binary, len(begin), SETTINGS, options)
        stack.callback(coordinator.stop)
        report.header(data, coordinator.url, len(begin), network.accuracy(begin, data.test))
        for number, (patients, scalar) in enumerate(zip(data.hospitals, scalars)):
            participant: InternalParticipant = spawn_participant(
                coordinator.url, Hospital, args=(number, patients, ledger), scalar=scalar
            )
            stack.callback(participant.stop)
            participants.append(participant)

        def check() -> None:
            coordinator.check()
            check_hospitals(participants)

        models = train_together(coordinator, ledger, data.test, rounds, check)
    check_hospitals(participants)

    federated = [network.accuracy(model, data.test) for model in [begin, *models]]
    pooled = train_alone(data.pooled, data.test, rounds)
    alone = [train_alone(hospital, data.test, rounds) for hospital in data.hospitals]
    report.summary(federated[-1], pooled[-1], [curve[-1] for curve in alone], data)
    chart.draw(plot, data, federated, pooled, alone)
    report.say(f"The plot is in {plot}")


def check_hospitals(participants: Sequence[InternalParticipant]) -> None:
    """Raises HospitalFailed if any of them has raised an exception."""
    for number, participant in enumerate(participants, start=1):
        if participant.error is not None:
            raise HospitalFailed(
                f"hospital {number} has failed: {participant.error!r}"
            ) from participant.error


def train_together(
    coordinator: Coordinator,
    ledger: Ledger,
    test: Patients,
    rounds: int,
    check: Callable[[], None],
) -> list[Weights]:
    """Follows the rounds until enough are completed; gives their checked global models.

    Calls `check` now and then, which may raise.
    """
    models: list[Weights] = []
    index = failures = 0
    while len(models) < rounds:
        round = coordinator.round(index, ROUND_SECONDS, check)
        check()
        if round.failure is None:
            ledger.wait_until_received(round, ROUND_SECONDS, check)
            before = models[-1] if models else None
            until = partial(coordinator.time_of_next_model, index)
            verdict = ledger.judge(round, until, before)
            models.append(verdict.model)
            report.completed(round, verdict, network.accuracy(verdict.model, test))
        else:
            report.failed(round)
            failures += 1
            if failures > MOST_FAILURES:
                raise CoordinatorFailed(
                    f"{failures} rounds have failed, the last one in {round.failure}"
                )
        index += 1
    return models


def train_alone(patients: Patients, test: Patients, rounds: int) -> list[float]:
    """The accuracy of a network trained on these patients only.

    The first is the one before any training; each further one comes after a round's worth.
    """
    rng = np.random.default_rng(0)
    weights = network.initial_weights()
    curve = [network.accuracy(weights, test)]
    for _ in range(rounds):
        weights = network.train(weights, patients, rng)
        curve.append(network.accuracy(weights, test))
    return curve


if __name__ == "__main__":
    sys.exit(main())

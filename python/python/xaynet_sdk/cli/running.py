"""``xaynet serve``, ``simulate`` and ``participant``."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from pathlib import Path
from typing import Any

from xaynet_sdk.cli.options import (
    Mistake,
    add_set,
    add_url,
    load_model,
    load_program,
    named,
    say,
    settings_of,
    tell_round,
    tls_of,
)
from xaynet_sdk.coordinator import Coordinator
from xaynet_sdk.outcome import UpdateOutcome
from xaynet_sdk.participant import ParticipantABC
from xaynet_sdk.spawn import spawn_participant


def add(commands: Any) -> None:
    """The commands that run something."""
    serve = commands.add_parser(
        "serve",
        help="run a coordinator, in memory",
        description="Runs the coordinator of this package until Ctrl-C. All is in memory: for a service in earnest there is "
        "the program pet-coordinator.",
    )
    serve.add_argument(
        "--model-length", type=int, required=True, help="how many weights a model has"
    )
    serve.add_argument("--mask", help="how models are masked, such as Prime/F32/B0/M3")
    serve.add_argument("--bind", default="127.0.0.1:8081", help="where to listen (%(default)s)")
    serve.add_argument(
        "--initial-model",
        metavar="FILE.npy",
        help="what the first round begins with, to train it further",
    )
    add_set(serve)
    serve.set_defaults(run=_serve)

    simulate = commands.add_parser(
        "simulate",
        help="run the federation that a Python file defines",
        description="Runs the federation that a Python file defines, in virtual time. The file defines `participants` (a list) "
        "and `model_length`, and may define `evaluate`, `aggregation`, `initial_model`, `callbacks`, `scalars` and "
        "`mask`: what xaynet_sdk.simulate takes by these names.",
    )
    simulate.add_argument("file", metavar="FILE.py")
    simulate.add_argument("--rounds", type=int, default=10, help="how many (%(default)s)")
    simulate.add_argument("--seed", type=int, default=0, help="for all draws (%(default)s)")
    simulate.add_argument("--mask", help="how models are masked, such as Prime/F32/B2/M3")
    simulate.add_argument("--protocol", choices=("v1", "v2"), default="v1")
    simulate.add_argument("--plot", metavar="FILE", help="draw the metrics (PNG, SVG or PDF)")
    simulate.add_argument(
        "--save", metavar="FILE", help="keep the last model: .npy, .npz or .safetensors"
    )
    add_set(simulate)
    simulate.set_defaults(run=_simulate)

    participant = commands.add_parser(
        "participant",
        help="take part with a class of a Python file",
        description="Takes part with a class that is derived from xaynet_sdk.ParticipantABC, until Ctrl-C or SIGTERM. The file may "
        "define `aggregation`, too.",
    )
    participant.add_argument("program", metavar="FILE.py:CLASS")
    add_url(participant)
    participant.add_argument(
        "--scalar", type=float, default=1.0, help="how much its models count (%(default)s)"
    )
    participant.add_argument(
        "--state-file", metavar="FILE", help="where its state is kept, secret keys included"
    )
    participant.set_defaults(run=_participant)


def _serve(chosen: argparse.Namespace) -> int:
    with Coordinator(
        chosen.model_length,
        mask=chosen.mask,
        settings=settings_of(chosen),
        bind=chosen.bind,
        initial_model=None if chosen.initial_model is None else load_model(chosen.initial_model),
    ) as coordinator:
        _until_told(f"coordinator at {coordinator.url} (the dashboard, too); Ctrl-C ends it")
    return 0


def _until_told(ready: str) -> None:
    """Says that all is ready, and waits for Ctrl-C or SIGTERM."""
    told = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: told.set())
    try:
        # Not before: whoever reads it may end this at once.
        say(ready)
        told.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _simulate(chosen: argparse.Namespace) -> int:
    from xaynet_sdk.cli.looking import save
    from xaynet_sdk.simulation import simulate

    program = load_program(chosen.file)
    options: dict[str, Any] = {
        name: getattr(program, name)
        for name in ("evaluate", "aggregation", "initial_model", "callbacks", "scalars", "mask")
        if hasattr(program, name)
    }
    if chosen.mask is not None:
        options["mask"] = chosen.mask
    settings = settings_of(chosen)
    if settings:
        options["settings"] = settings
    result = simulate(
        named(program, "participants", chosen.file),
        model_length=named(program, "model_length", chosen.file),
        rounds=chosen.rounds,
        seed=chosen.seed,
        protocol=chosen.protocol,
        progress=tell_round,
        **options,
    )
    if result.stopped is not None:
        say(f"ended after {len(result.rounds)} rounds: {result.stopped}")
    if chosen.plot is not None:
        result.plot().figure.savefig(chosen.plot)
        say(f"drawn: {chosen.plot}")
    if chosen.save is not None and result.model is not None:
        save(result.model, result.rounds[-1], chosen.save)
    return 0


class _Reporting:
    """Says what becomes of a participant's models."""

    def __init__(self, kind: type[ParticipantABC[Any, Any]]) -> None:
        class Reporting(kind):  # type: ignore[misc, valid-type]
            def on_update_outcome(self, outcome: UpdateOutcome) -> None:
                reason = f": {outcome.reason}" if outcome.reason else ""
                say(f"update {outcome.kind}{reason}")
                super().on_update_outcome(outcome)

        Reporting.__name__ = kind.__name__
        self.kind: type[ParticipantABC[Any, Any]] = Reporting


def _participant(chosen: argparse.Namespace) -> int:
    path, colon, name = chosen.program.rpartition(":")
    if not colon:
        raise Mistake(f"give the file and the class, such as {chosen.program}:Hospital")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    program = load_program(path)
    kind = named(program, name, path)
    if not (isinstance(kind, type) and issubclass(kind, ParticipantABC)):
        raise Mistake(
            f"{name} in {Path(path).name} is no class derived from xaynet_sdk.ParticipantABC"
        )
    with spawn_participant(
        chosen.url,
        _Reporting(kind).kind,
        scalar=chosen.scalar,
        tls=tls_of(chosen),
        state_file=chosen.state_file,
        aggregation=getattr(program, "aggregation", None),
    ):
        _until_told(f"taking part at {chosen.url}; Ctrl-C ends it")
    return 0

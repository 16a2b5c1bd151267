"""``xaynet status``, ``follow`` and ``export``: what everybody may know of a coordinator."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

from xaynet_sdk.callbacks import Callback, Checkpoint, MLflow, TensorBoard, WandB
from xaynet_sdk.cli.options import Mistake, add_url, load_program, named, say, tell_round, tls_of
from xaynet_sdk.following import Viewer, follow
from xaynet_sdk.history import RoundResult
from xaynet_sdk.xaynet_sdk import _advice


def add(commands: Any) -> None:
    """The commands that look only."""
    status = commands.add_parser("status", help="what a coordinator is doing")
    add_url(status)
    status.add_argument("--json", action="store_true", help="all that it tells, as JSON")
    status.set_defaults(run=_status)

    watch = commands.add_parser(
        "follow",
        help="a line for each round that ends",
        description="A line for each round that ends with a global model, until Ctrl-C.",
    )
    add_url(watch)
    watch.add_argument("--rounds", type=int, help="end after so many")
    watch.add_argument(
        "--timeout", type=float, default=math.inf, help="how many seconds to wait for one"
    )
    watch.add_argument(
        "--program",
        metavar="FILE.py",
        help="a file that defines `evaluate`, `aggregation` or `callbacks`",
    )
    watch.add_argument("--save", metavar="FILE", help="keep the latest model: .npz or .safetensors")
    watch.add_argument(
        "--tensorboard",
        metavar="FOLDER",
        help="write all numbers for TensorBoard (needs tensorboardX)",
    )
    watch.add_argument(
        "--mlflow", action="store_true", help="log all numbers to MLflow (needs mlflow)"
    )
    watch.add_argument(
        "--wandb", metavar="PROJECT", help="log all numbers to Weights & Biases (needs wandb)"
    )
    watch.set_defaults(run=_follow)

    export = commands.add_parser("export", help="keep a global model in a file")
    add_url(export)
    export.add_argument("file", metavar="FILE", help="model.npy, model.npz or model.safetensors")
    export.add_argument("--round", type=int, help="of which round; the latest by default")
    export.set_defaults(run=_export)


def _status(chosen: argparse.Namespace) -> int:
    status = Viewer(chosen.url, tls_of(chosen)).status(8)
    if chosen.json:
        say(json.dumps(status, indent=2))
        return 0
    phase, model, totals = status["phase"], status["model"], status["totals"]
    say(f"models of {model['length']} weights, masked with {model['mask']}")
    line = f"round {status['round']['id']}, {phase['name']} phase for {phase['seconds']:.0f} s"
    if phase["min_count"] is not None:
        line += f": {phase['accepted']} of at least {phase['min_count']} messages"
    say(line)
    failed = sum(totals["failed"].values())
    say(f"{totals['completed']} rounds with a global model, {failed} that failed")
    for each in status["rounds"][:8]:
        say(_line(each))
    return 0


def _line(ended: dict[str, Any]) -> str:
    if ended["failure"] is None:
        return f"  round {ended['id']}: {ended['models']} models, {ended['seconds']:.1f} s"
    failure = ended["failure"]
    return (
        f"  round {ended['id']} failed in its {failure['phase']} phase: {failure['message']}. "
        f"{_advice(failure['reason'])}"
    )


def _follow(chosen: argparse.Namespace) -> int:
    options: dict[str, Any] = {}
    if chosen.program is not None:
        program = load_program(chosen.program)
        for name in ("evaluate", "aggregation", "callbacks"):
            if hasattr(program, name):
                options[name] = named(program, name, chosen.program)
    options["callbacks"] = [*options.get("callbacks", ()), *_callbacks(chosen)]
    history = follow(
        chosen.url,
        rounds=chosen.rounds,
        timeout=chosen.timeout,
        tls=tls_of(chosen),
        progress=tell_round,
        **options,
    )
    if history.stopped is not None:
        say(f"ended after {len(history.rounds)} rounds: {history.stopped}")
    return 0


def _callbacks(chosen: argparse.Namespace) -> list[Callback]:
    """What the options say is to be done after each round."""
    callbacks: list[Callback] = []
    if chosen.save is not None:
        callbacks.append(Checkpoint(chosen.save))
    try:
        if chosen.tensorboard is not None:
            callbacks.append(TensorBoard(chosen.tensorboard))
        if chosen.mlflow:
            callbacks.append(MLflow())
        if chosen.wandb is not None:
            callbacks.append(WandB.of_project(chosen.wandb))
    except ModuleNotFoundError as error:
        raise Mistake(str(error)) from error
    return callbacks


def _export(chosen: argparse.Namespace) -> int:
    viewer = Viewer(chosen.url, tls_of(chosen))
    number = chosen.round
    if number is None:
        kept = viewer.kept()
        if not kept:
            raise Mistake("there is no global model yet")
        number = max(kept)
    model = viewer.model(number)
    if model is None:
        numbers = ", ".join(str(each) for each in sorted(viewer.kept())) or "none"
        raise Mistake(f"there is no global model of round {number}; kept are those of: {numbers}")
    save(model, RoundResult(number, 0, 0, 0.0, 0, 0.0, {}), chosen.file)
    return 0


def save(model: Any, done: RoundResult, path: str) -> None:
    """Writes a model in the form that the file's name says."""
    if path.endswith(".npy"):
        import numpy as np

        np.save(path, model, allow_pickle=False)
    elif path.endswith((".npz", ".safetensors")):
        Checkpoint(path).on_round(done, model)
    else:
        raise Mistake(
            f"a model is kept in a file .npy, .npz or .safetensors, and {path!r} is neither"
        )
    say(f"the global model of round {done.round_id}, {len(model)} weights: {path}")

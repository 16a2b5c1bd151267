"""Simulated rounds of many participants whose training takes no time: seconds, processor time and memory a round."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xaynet_sdk

#: What is measured, and the most seconds that a round may take on two cores.
KINDS: dict[str, tuple[dict[str, Any], float | None]] = {
    "masked": ({"mask": "Word32/F32/B0/M3"}, 2.0),
    "masked, with envelopes": ({"mask": "Word32/F32/B0/M3", "envelopes": True}, None),
    "without masks": ({"masked": False}, 0.2),
}


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(kind: str, participants: int, weights: int, rounds: int) -> dict[str, Any]:
    """In this process, of which nothing else is asked."""
    warnings.simplefilter("ignore")
    # The models are there already, so that what is measured is not their making.
    generator = np.random.default_rng(1)
    models = [generator.uniform(-0.5, 0.5, weights).astype(np.float32) for _ in range(4)]
    before, at = megabytes(), [processor()]
    result = xaynet_sdk.simulate(
        [lambda _, index=index: models[index % 4] for index in range(participants)],
        model_length=weights,
        rounds=rounds,
        progress=lambda _: at.append(processor()),
        **KINDS[kind][0],
    )
    # In the first one there is no global model yet.
    seconds = [each.seconds for each in result.rounds[1:]]
    spent = [after - begun for begun, after in zip(at[1:], at[2:])]
    return {
        "kind": kind,
        "seconds": min(seconds),
        "processor": min(spent),
        "memory": megabytes() - before,
        "model": weights * 4 / 1e6,
        "summers": [each.votes for each in result.rounds[1:]],
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--participants", type=int, default=1000)
    arguments.add_argument("--weights", type=int, default=100_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--json", type=Path, help="where to write the numbers")
    arguments.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.kind:
        found = measure(given.kind, given.participants, given.weights, given.rounds)
        print(json.dumps(found))
        return
    rows = []
    for kind, (_, bar) in KINDS.items():
        numbers = [
            f"--{name}={getattr(given, name)}" for name in ("participants", "weights", "rounds")
        ]
        command = [sys.executable, __file__, "--kind", kind, *numbers]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows.append(json.loads(told))
        found = rows[-1]
        limit = "" if bar is None else f" (at most {bar} s on two cores)"
        print(
            f"{kind}: {found['seconds']:.2f} s a round{limit}, {found['processor']:.2f} s of processors, "
            f"{found['memory']:.0f} MiB beside interpreter, NumPy and four models, {os.cpu_count()} cores",
            flush=True,
        )
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()

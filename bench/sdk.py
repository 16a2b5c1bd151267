"""How long the Python package takes for models of a size: setting, masking and sending one, fetching one.

Before a coordinator that answers at once and does nothing, so that only the participant is measured; the published
package of old in the same run, with lists, which is all that it takes. While a model is masked another Python thread
counts: the longest that it had to stand still is how long the interpreter's lock was held.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "python" / "tests"))
import fake as wire

# Runs under either package: only what both have.
PROBE = """
import json, sys, threading, time
import xaynet_sdk
url, length, arrays = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "arrays"
participant, event = xaynet_sdk.spawn_async_participant(url)
event.wait()
if arrays:
    import numpy as np
    weights = np.linspace(-1, 1, length, dtype=np.float32)
else:
    weights = [i / length for i in range(length)]
clock = time.perf_counter
counting, gaps = True, []
def count():
    last = clock()
    while counting:
        now = clock()
        gaps.append((now - last, last)) if now - last > 0.001 else None
        last = now
sys.setswitchinterval(0.0005)
counter = threading.Thread(target=count)
counter.start()
begin, wall = clock(), time.time()
participant.set_local_model(weights)
set_model = clock() - begin
print(json.dumps({"wall": wall}), flush=True)
sys.stdin.readline()  # the message has arrived
counting = False
counter.join()
begin = clock()
model = participant.get_global_model(as_array=True) if arrays else participant.get_global_model()
get_model = clock() - begin
assert len(model) == length
stand_still = max((gap for gap, _ in gaps), default=0.0)
print(json.dumps({"set": set_model, "get": get_model, "gil": stand_still}), flush=True)
participant.stop()
"""


def model_bytes(length: int) -> bytes:
    one = wire.model([1])[8:]
    half = wire.model([0])[8:]
    body = (one + half) * (length // 2) + one * (length % 2)
    return struct.pack("<Q", length) + body


def measure(python: str, length: int, kind: str) -> dict[str, float]:
    fake = wire.FakeCoordinator()
    try:
        fake.set("/sums", wire.sum_dict())
        fake.set("/model", model_bytes(length))
        fake.new_round(1, task="update", length=length)
        command = [python, "-c", PROBE, fake.url, str(length), kind]
        environment = dict(os.environ)
        if python != sys.executable:
            environment.pop("PYTHONPATH", None)
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            begin = json.loads(process.stdout.readline())["wall"]
            fake.wait_for(lambda: bool(fake.messages), "a message", 1800)
            sent = time.time() - begin
            process.stdin.write("\n")
            process.stdin.flush()
            found: dict[str, float] = json.loads(process.stdout.readline())
        found["sent"] = sent
        return found
    finally:
        fake.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old-python", help="an interpreter that has xaynet-sdk-python 0.1.0")
    parser.add_argument("--lengths", default="1000000,25000000")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    lengths = [int(length) for length in arguments.lengths.split(",")]
    kinds = [("ours, arrays", sys.executable, "arrays", lengths)]
    kinds.append(("ours, lists", sys.executable, "lists", lengths[:1]))
    if arguments.old_python:
        kinds.append(("old, lists", arguments.old_python, "lists", lengths[:1]))
    print(f"{'':14}{'weights':>12}{'set':>10}{'set to sent':>14}{'fetch':>10}{'lock held':>12}")
    for name, python, kind, wanted in kinds:
        for length in wanted:
            found = measure(python, length, kind)
            rows.append({"what": name, "weights": length, **found})
            print(
                f"{name:14}{length:>12,}{found['set']:>9.3f}s{found['sent']:>13.3f}s"
                f"{found['get']:>9.3f}s{found['gil']:>11.3f}s",
                flush=True,
            )
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

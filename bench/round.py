"""A whole round with a large model: one sum participant and three update participants, each a process of its own that
uses the Python package, and a real coordinator.

    python bench/round.py --coordinator target/release/pet-coordinator

What is measured, of each process: its processor time (user and system) from its start to the end of the round, and the
most memory that it had resident, from Linux' /proc. A participant's are given twice: in all, and above what the
interpreter used when NumPy was loaded and the local model was made, before the package was. Phases have no minimum time.
The round is repeated with new processes, and the least of each number counts: others may use the machine, too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from participant import DEADLINE_SECONDS, UPDATERS, usage

SUM, UPDATE = 1, 2
MIB = 1 << 20

TARGETS = {"updater": (0.4, 60), "summer": (0.4, 50), "coordinator": (0.6, 100)}
"""Less processor time, in seconds, and less memory, in MiB."""

COORDINATOR_TOML = """
[api]
bind_address = "127.0.0.1:0"
[model]
length = {weights}
[mask]
group_type = "{group}"
data_type = "F32"
bound_type = "B0"
model_type = "M3"
[log]
filter = "warn"
[pet.sum]
prob = 0.5
count = {{ min = 1, max = 1 }}
time = {{ min = 0, max = 600 }}
[pet.update]
prob = 1.0
count = {{ min = {updaters}, max = {updaters} }}
time = {{ min = 0, max = 600 }}
[pet.sum2]
count = {{ min = 1, max = 1 }}
time = {{ min = 0, max = 600 }}
"""


@dataclass(frozen=True)
class Used:
    """Processor time in seconds and memory in bytes; and the part of it that the interpreter and NumPy do not use."""

    cpu: float
    memory: int
    own_cpu: float
    own_memory: int


class Process:
    """A participant's process."""

    def __init__(self, url: str, number: int, weights: int) -> None:
        program = Path(__file__).with_name("participant.py")
        command = [sys.executable, str(program), url, str(number), str(weights)]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait()

    def tell(self, command: str) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(command + "\n")
        self._child.stdin.flush()

    def hear(self) -> list[str]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise SystemExit("a participant has ended early")
        return line.split()

    def become(self, task: int) -> None:
        """Roles are drawn by lot. Whoever draws the wrong one is another participant then."""
        while self.hear() != [str(task)]:
            self.tell("again")
        self.tell("keep")

    def used(self) -> Used:
        cpu, memory, base_cpu, base_memory = map(float, self.hear())
        return Used(cpu, int(memory), cpu - base_cpu, int(memory - base_memory))


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as response:
        body: bytes = response.read()
    return body


def wait_until(what: str, done: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited too long for {what}")
        time.sleep(0.01)


def play(binary: Path, weights: int, group: str) -> tuple[float, dict[str, list[Used]]]:
    """One round: how many seconds it took, and what each process has used, by role."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pet-round-")))
        config, port_file = folder / "coordinator.toml", folder / "port"
        toml = COORDINATOR_TOML.format(weights=weights, group=group, updaters=UPDATERS)
        config.write_text(toml)
        settings = [f"--config={config}", f"--port-file={port_file}"]
        coordinator = subprocess.Popen([str(binary), "serve", "--ephemeral", *settings])
        stack.callback(coordinator.wait)
        stack.callback(coordinator.kill)
        wait_until("the coordinator", lambda: port_file.exists() and port_file.read_text())
        url = f"http://{port_file.read_text().strip()}"
        began_with = get(f"{url}/params")

        begin = time.monotonic()
        summer = stack.enter_context(Process(url, UPDATERS, weights))
        summer.become(SUM)
        # Before it is the sum participant, another one that draws that lot might be.
        wait_until("the sum phase's end", lambda: get(f"{url}/sums"))
        updaters = [stack.enter_context(Process(url, n, weights)) for n in range(UPDATERS)]
        for updater in updaters:
            updater.become(UPDATE)
        # The next round begins once there is a global model.
        wait_until("the global model", lambda: get(f"{url}/params") != began_with)
        seconds = time.monotonic() - begin

        cpu, memory, _ = usage(coordinator.pid)
        for process in [summer, *updaters]:
            process.tell("stop")
        used = {
            "updater": [updater.used() for updater in updaters],
            "summer": [summer.used()],
            "coordinator": [Used(cpu, memory, cpu, memory)],
        }
        updaters[0].tell("check")
        if updaters[0].hear() != ["True"]:
            raise SystemExit("the global model is not the mean of the local models")
    return seconds, used


def main() -> None:
    parser = argparse.ArgumentParser(description="A whole round with a large model.")
    parser.add_argument("--coordinator", type=Path, required=True, help="the binary")
    parser.add_argument("--weights", type=int, default=1_000_000)
    parser.add_argument("--group-type", default="Prime")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    options = parser.parse_args()

    rounds = [
        play(options.coordinator, options.weights, options.group_type)
        for _ in range(options.repeat)
    ]
    rows = []
    print(
        f"{options.weights} weights, {options.group_type}/F32/B0/M3, the least of {options.repeat}"
    )
    print(f"{'':14}{'processor time':>22}{'peak memory':>24}{'above NumPy':>22}")
    for role in TARGETS:
        # The worst of a round's three updaters, the best of the rounds.
        def least(what: Callable[[Used], float], role: str = role) -> float:
            return min(max(map(what, used[role])) for _, used in rounds)

        cpu, memory = least(lambda used: used.cpu), least(lambda used: used.memory) / MIB
        own_cpu = least(lambda used: used.own_cpu)
        own_memory = least(lambda used: used.own_memory) / MIB
        cpu_target, memory_target = TARGETS[role]
        marks = ["" if ok else " !" for ok in (cpu < cpu_target, memory < memory_target)]
        own = f"{own_cpu:.2f} s, {own_memory:.1f} MiB"
        print(
            f"{role:14}{f'{cpu:.2f} s (< {cpu_target}{marks[0]})':>22}"
            f"{f'{memory:.1f} MiB (< {memory_target}{marks[1]})':>24}{own:>22}"
        )
        rows.append(
            {
                "role": role,
                "cpu_seconds": cpu,
                "cpu_seconds_target": cpu_target,
                "memory_bytes": round(memory * MIB),
                "memory_bytes_target": memory_target * MIB,
                "own_cpu_seconds": own_cpu,
                "own_memory_bytes": round(own_memory * MIB),
            }
        )
    seconds = min(seconds for seconds, _ in rounds)
    print(f"from the first participant's start to the global model: {seconds:.2f} s")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        result = {
            "weights": options.weights,
            "group_type": options.group_type,
            "seconds": seconds,
            "rows": rows,
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

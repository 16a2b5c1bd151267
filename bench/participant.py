"""One participant of `round.py`, in a process of its own. It imports little, so that little is counted that is not the
package's."""

from __future__ import annotations

import os
import select
import sys

import numpy as np
import numpy.typing as npt

UPDATERS = 3
"""They are the participants 0 to 2; who has a higher number is to sum."""
DEADLINE_SECONDS = 600.0


def usage(process: int | str = "self") -> tuple[float, int, int]:
    """Of a process, from Linux' /proc: processor time in seconds, the most resident memory, and the present one, in
    bytes.

    Not of the module `resource`: its peak counts what the parent had before exec.
    """
    memory = {}
    with open(f"/proc/{process}/status") as status:
        for line in status:
            name, value = line.split(":", 1)
            if name in ("VmHWM", "VmRSS"):
                memory[name] = int(value.split()[0]) * 1024
    # In hundredths of a second, with the threads that have ended; and those that run, to the nanosecond.
    with open(f"/proc/{process}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    ticks = (int(fields[11]) + int(fields[12])) / 100
    run = 0
    for task in os.listdir(f"/proc/{process}/task"):
        with open(f"/proc/{process}/task/{task}/schedstat") as schedstat:
            run += int(schedstat.read().split()[0])
    return max(ticks, run / 1e9), memory["VmHWM"], memory["VmRSS"]


def local_model(number: int, weights: int) -> npt.NDArray[np.float32]:
    # In place: what it takes here is not the package's.
    index = np.arange(weights, dtype=np.uint32)
    index *= np.uint32(31)
    index += np.uint32(number * 7919)
    index %= np.uint32(2001)
    model = index.astype(np.float32)
    model /= np.float32(1000)
    model -= np.float32(1)
    return model


def told(seconds: float) -> str:
    """What the parent wants: `again` is to draw another lot, `keep` to take part, `stop` ends the round, `check`
    compares the global model with the mean."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return sys.stdin.readline().strip() if ready else ""


def main() -> None:
    url, number, weights = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # Only who updates needs one.
    model = local_model(number, weights) if number < UPDATERS else None
    base_cpu, _, base_memory = usage()

    from xaynet_sdk.xaynet_sdk import Participant

    while True:
        participant = Participant(url, 1.0)
        while participant.task() == 0:
            participant.tick(1.0)
        print(participant.task(), flush=True)
        if told(DEADLINE_SECONDS) == "keep":
            break
        participant.close()

    command = ""
    while not command:
        participant.tick(0.1)
        if model is not None and participant.should_set_model():
            participant.set_model(model)
        command = told(0)
    cpu, memory, _ = usage()
    print(cpu, memory, base_cpu, base_memory, flush=True)
    if told(DEADLINE_SECONDS) == "check":
        found = participant.global_model(as_array=True)
        mean = np.mean([local_model(other, weights) for other in range(UPDATERS)], axis=0)
        print(found is not None and np.allclose(found, mean, rtol=0, atol=1e-6), flush=True)
    participant.close()


if __name__ == "__main__":
    main()

"""Runs the same task with this package and with Flower, and writes what was measured into docs/compare-flower.md.

The part is between two marks; nobody writes there by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "compare-flower.md"
BEGIN, END = "<!-- compare: begin -->", "<!-- compare: end -->"
MARK = "MASKED = True"
# How often memory is looked at, in seconds.
_PAUSE = 0.05
_LIMIT = 600


@dataclass
class Measured:
    """What a run took."""

    name: str
    lines: int
    first: float
    """Seconds from the start of the process to the first global model."""
    a_round: float
    """Seconds for each round after it, on average."""
    memory: int
    """Bytes at most, of all processes together; what several share counts once (PSS)."""
    accuracy: float


def lines(source: str) -> int:
    """Lines of code: neither empty nor a comment alone."""
    return sum(
        1 for line in source.splitlines() if line.strip() and not line.strip().startswith("#")
    )


def processes(root: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        found.append(todo.pop())
        todo += parents.get(found[-1], [])
    return found


def memory(root: int) -> int:
    """Bytes of memory of a process and all below it."""
    total = 0
    for process in processes(root):
        try:
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            # It has ended.
            continue
    return total


def run(name: str, python: Path, source: str, data: Path) -> Measured:
    """Runs a program, from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        program, told, log = (Path(folder) / each for each in ("program.py", "told", "log"))
        program.write_text(source)
        told.touch()
        environment = {
            **os.environ,
            "PYTHONPATH": str(HERE),
            "COMPARE_DATA": str(data),
            "COMPARE_REPORT": str(told),
            "FLWR_TELEMETRY_ENABLED": "0",
            "RAY_usage_stats_enabled": "0",
            "HOME": folder,
        }
        begun = time.time()
        with log.open("w") as output:
            process = subprocess.Popen(
                [python.absolute(), program],
                env=environment,
                stdout=output,
                stderr=output,
                cwd=folder,
            )
            most = 0
            over = threading.Event()

            def look() -> None:
                nonlocal most
                while not over.wait(_PAUSE):
                    most = max(most, memory(process.pid))

            looking = threading.Thread(target=look)
            looking.start()
            try:
                code = process.wait(_LIMIT)
            finally:
                over.set()
                looking.join()
                process.kill()
        rounds = [tuple(map(float, line.split())) for line in told.read_text().splitlines()]
        if code or len(rounds) < 2:
            sys.exit(
                f"{name} has ended with {code} after {len(rounds)} rounds:\n{log.read_text()[-4000:]}"
            )
        times = [at for at, _ in rounds]
        first, last = times[0], times[-1]
        return Measured(
            name,
            lines(source),
            first - begun,
            (last - first) / (len(times) - 1),
            most,
            rounds[-1][1],
        )


def best(runs: list[Measured]) -> Measured:
    """The least times of several runs, which what else the machine does disturbs least."""
    return replace(
        runs[0],
        first=min(each.first for each in runs),
        a_round=min(each.a_round for each in runs),
        memory=max(each.memory for each in runs),
    )


def size(environment: Path) -> int:
    """Bytes of what is installed in an environment, beside pip itself."""
    found = next((environment / "lib").glob("python3*")) / "site-packages"
    files = (path for path in found.rglob("*") if path.is_file() and not path.is_symlink())
    left_out = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
    return sum(
        path.stat().st_size
        for path in files
        if not path.relative_to(found).parts[0].startswith(left_out)
        and "__pycache__" not in path.parts
    )


def written(found: list[Measured], ours: int, theirs: int, flower: str, load: float) -> str:
    """The part of the page."""
    model = "an unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    busy = ""
    if load >= 0.5:
        busy = f"(The load of the machine was {load:.1f} when this began: all times are longer by what else it did.) "
    rows = [
        f"On {model} ({os.cpu_count()} cores), {time.strftime('%Y-%m-%d', time.gmtime())}, Python {platform.python_version()}, "
        f"flwr {flower} with Ray. {busy}Installed, in an environment of its own (NumPy included): {ours / 1e6:,.0f} MB and "
        f"{theirs / 1e6:,.0f} MB.",
        "",
        "| what | lines of code | to the first global model | a round after it | memory at most | accuracy |",
        "| :-- | --: | --: | --: | --: | --: |",
    ]
    for each in found:
        rows.append(
            f"| {each.name} | {each.lines} | {each.first:.2f} s | {each.a_round * 1000:,.0f} ms | {each.memory / 1e6:,.0f} MB "
            f"| {each.accuracy:.1%} |"
        )
    return "\n".join(rows)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--ours", type=Path, required=True, help="an environment with our package alone"
    )
    arguments.add_argument(
        "--theirs", type=Path, required=True, help="an environment with Flower alone"
    )
    arguments.add_argument("--data", type=Path, required=True, help="images and labels (.npz)")
    arguments.add_argument("--json", type=Path, required=True, help="where to write the numbers")
    arguments.add_argument("--runs", type=int, default=3)
    given = arguments.parse_args()
    ours, theirs = given.ours / "bin" / "python", given.theirs / "bin" / "python"
    version = [theirs, "-c", "import importlib.metadata as m; print(m.version('flwr'))"]
    flower = subprocess.run(version, check=True, capture_output=True, text=True).stdout.strip()
    sizes = size(given.ours), size(given.theirs)
    masked = (HERE / "ours.py").read_text()
    assert MARK in masked
    programs = [
        ("`simulate`, masked", ours, masked),
        ("`simulate(masked=False)`", ours, masked.replace(MARK, "MASKED = False")),
        ("Flower, `SecAggPlusWorkflow`", theirs, (HERE / "theirs_masked.py").read_text()),
        ("Flower, `FedAvg` without masks", theirs, (HERE / "theirs.py").read_text()),
    ]
    found, load = [], os.getloadavg()[0]
    for name, python, source in programs:
        found.append(
            best([run(name, python, source, given.data.absolute()) for _ in range(given.runs)])
        )
        print(found[-1], flush=True)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(
        json.dumps([asdict(each) for each in found] + [{"sizes": sizes, "load": load}], indent=2)
    )
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{written(found, *sizes, flower, load)}\n{END}{after}")


if __name__ == "__main__":
    main()

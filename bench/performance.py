"""Writes what `make bench` and `make bench-round` have found into docs/performance.md, and draws its picture.

The part is between two marks; nobody writes there by hand.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
USUAL_WEIGHTS = 1_000_000

INK = "#1f2933"
FAINT = "#9aa5b1"
OURS = "#0b7285"
OLD = "#e8a87c"
LIMIT = "#d9480f"

STYLE: Any = {
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    # The same numbers give the same file.
    "svg.hashsalt": "pet-bench",
}

Row = dict[str, Any]


def short(value: float | None, digits: int = 3) -> str:
    """With so many significant digits and no exponent."""
    if value is None:
        return ""
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    text = f"{value:#.{digits}g}"
    return text.rstrip(".")


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, [":--" if i == 0 else "--:" for i in range(len(heads))], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def is_job(row: Row) -> bool:
    return bool(row["step"].startswith("job: "))


def is_piece(row: Row) -> bool:
    return bool(row["step"].startswith("piece: "))


def representatives(rows: list[Row]) -> list[Row]:
    """One row of each step and config on one thread: of a million weights, or else of the most."""
    best: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = (row["step"], row["what"])
        if row["threads"] != 1 or is_job(row) or is_piece(row):
            continue
        old = best.get(key)
        if old is None or (old["weights"] != USUAL_WEIGHTS and row["weights"] > old["weights"]):
            best[key] = row
        elif row["weights"] == USUAL_WEIGHTS:
            best[key] = row
    return list(best.values())


def goals(row: Row, memory: bool) -> str:
    """The targets that are about memory, or those that are not."""
    texts = []
    for target in row["targets"]:
        if target["target"].startswith("under") == memory:
            mark = "✓" if target["met"] else "✗"
            texts.append(f"{target['target']}: {short(target['reached'])} {mark}")
    return "; ".join(texts)


def label(row: Row) -> str:
    return f"{row['step']}, {row['what']}"


def describe(report: dict[str, Any], rounds: dict[str, Any] | None) -> str:
    machine, rows = report["machine"], report["rows"]
    streams = sorted(report["key_streams"], key=lambda rate: -rate["bytes_per_second"])
    speeds = ", ".join(f"{rate['name']} {rate['bytes_per_second'] / 1e9:.2f}" for rate in streams)
    copies = ", ".join(f"{rate['bytes_per_second'] / 1e9:.1f}" for rate in report["memcpy"])
    parts = [
        f"On one thread of {machine['processor']} ({machine['cores']} cores, "
        f"{', '.join(machine['instructions']) or 'no vector instructions'}), {machine['date']}, "
        f"{machine['rustc'].split(' (')[0]}, against {machine['old']} in the same run. "
        "Nanoseconds for each weight, criterion's medians; models of 1,000,000 weights where the old crate's "
        "have 20,000. The limit is the key stream that the config prescribes, at the rate of the fastest "
        f"library (GB/s: {speeds}), or the bytes that the step reads and writes, at memcpy's rate "
        f"({copies} GB/s copied in models of rising length).\n",
        "![Nanoseconds for each weight, ours, the old crate's and the limit](masking-bench.svg)\n",
        table(
            ["step, config", "ns", "old crate", "times as fast", "of the limit", "target: reached"],
            [
                [
                    label(row),
                    short(row["ns_per_weight"]),
                    short(row["old_ns_per_weight"]),
                    short(row["times_old"]),
                    short(row["of_limit"], 2),
                    goals(row, memory=False),
                ]
                for row in representatives(rows)
            ],
        ),
    ]

    jobs = []
    for row in rows:
        alone = next(
            (
                other
                for other in rows
                if other["threads"] == 1
                and all(other[key] == row[key] for key in ("step", "what", "weights"))
            ),
            None,
        )
        if row["threads"] > 1 and alone is not None:
            times = [each["ns_per_weight"] * row["weights"] / 1e6 for each in (alone, row)]
            jobs.append(
                [
                    f"{label(row)}, {row['weights']:,} numbers",
                    *(f"{short(time)} ms" for time in times),
                    short(times[0] / times[1]),
                ]
            )
    if jobs:
        gain = ""
        if report.get("gain_of_threads") is not None:
            gain = f" (Raw key stream gains {report['gain_of_threads']:.2f} times in this run.)"
        parts += [
            "On all cores. Jobs are what participants and coordinator run: hashing, signing and sealing "
            f"included; one core does the last two.{gain}\n",
            table(
                ["step or job", "one thread", f"{machine['cores']} threads", "times as fast"], jobs
            ),
        ]

    memory = [
        [
            f"{label(row)}, {row['weights']:,} numbers, threads: {row['threads']}",
            f"{short(row['peak_bytes'] / 1e6)} MB",
            goals(row, memory=True),
        ]
        for row in rows
        if goals(row, memory=True)
    ]
    if memory:
        parts += [
            "Memory, at most, counted by the allocator; the ratios include the inputs:\n",
            table(["step", "allocated", "target: reached"], memory),
        ]

    pieces = [
        [label(row).removeprefix("piece: "), f"{short(row['ns_per_weight'] / 1e3)} us"]
        for row in rows
        if is_piece(row)
    ]
    if pieces:
        parts += [
            "What is checked in rounds of version 2, on one thread; an entry and a header should take at most "
            "200 us:\n",
            table(["piece", "time"], pieces),
        ]

    if rounds:
        parts += describe_round(rounds)
    return "\n".join(parts)


def describe_round(rounds: dict[str, Any]) -> list[str]:
    lines = []
    for row in rounds["rows"]:
        own = f"{row['own_cpu_seconds']:.2f} s, {row['own_memory_bytes'] / 2**20:.0f} MiB"
        lines.append(
            [
                row["role"],
                f"{row['cpu_seconds']:.2f} s (under {row['cpu_seconds_target']} s)",
                f"{row['memory_bytes'] / 2**20:.0f} MiB "
                f"(under {row['memory_bytes_target'] / 2**20:.0f} MiB)",
                own,
            ]
        )
    return [
        f"A whole round with {rounds['weights']:,} `float32` weights, one sum participant and three update "
        "participants, each a process of its own with the Python package, and a real coordinator; phases' "
        f"minimum times 0 (`make bench-round`). From start to global model {rounds['seconds']:.1f} s. With "
        "the published package and the old coordinator: 27 to 31 s, 8 s of processor time an update "
        "participant, 4 s the sum participant, 5.3 s the coordinator; 216, 182, and 380 MiB.\n",
        table(
            ["process", "processor time", "peak memory", "of it above interpreter and NumPy"],
            lines,
        ),
    ]


def draw(path: Path, rows: list[Row]) -> None:
    """Bars for each weight's time, on a logarithmic axis."""
    rows = representatives(rows)[::-1]
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.34 * len(rows)))
        places = range(len(rows))
        values = [row[name] for row in rows for name in ("ns_per_weight", "limit_ns_per_weight")]
        least = min(value for value in values if value is not None) / 2
        for place, row in zip(places, rows):
            old, limit = row["old_ns_per_weight"], row["limit_ns_per_weight"]
            if old is not None:
                axes.barh(place, old, height=0.62, color=OLD, zorder=1)
                text = f"{short(row['times_old'], 2)} times as fast"
                axes.annotate(
                    text,
                    (old, place),
                    xytext=(5, 0),
                    textcoords="offset points",
                    va="center",
                    color=INK,
                )
            axes.barh(place, row["ns_per_weight"], height=0.62, color=OURS, zorder=2)
            if limit is not None:
                axes.plot([limit, limit], [place - 0.4, place + 0.4], color=LIMIT, lw=2, zorder=3)
        axes.set_yticks(places, [label(row) for row in rows])
        axes.tick_params(axis="y", length=0)
        axes.set_xscale("log")
        axes.set_xlim(left=least, right=axes.get_xlim()[1] * 6)
        axes.set_xlabel("nanoseconds for each weight, one thread")
        axes.set_title("The cost of a weight", pad=10)
        handles = [
            Rectangle((0, 0), 1, 1, color=OURS, label="ours"),
            Rectangle((0, 0), 1, 1, color=OLD, label="xaynet-core 0.2.0"),
            Line2D([], [], color=LIMIT, lw=2, label="limit: key stream or memcpy"),
        ]
        figure.legend(
            handles=handles, ncols=3, frameon=False, loc="outside lower right", handlelength=1
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


def replace(text: str, part: str) -> str:
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"the page has no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{part}{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Writes the benchmarks' results into docs/performance.md."
    )
    parser.add_argument("masking", type=Path, help="what `make bench` has written")
    parser.add_argument("round", type=Path, nargs="?", help="what `make bench-round` has written")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "masking-bench.svg")
    options = parser.parse_args()
    report = json.loads(options.masking.read_text())
    if report["quick"]:
        raise SystemExit("these are numbers of a short run: run `make bench`")
    rounds = None
    if options.round is not None and options.round.exists():
        rounds = json.loads(options.round.read_text())
    options.page.write_text(replace(options.page.read_text(), describe(report, rounds)))
    draw(options.plot, report["rows"])


if __name__ == "__main__":
    main()

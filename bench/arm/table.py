"""Writes what `make bench-arm` has counted into docs/arm.md: between two marks, where nobody writes by hand."""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "arm.md"
BEGIN, END = "<!-- arm: begin -->", "<!-- arm: end -->"
STEPS = {
    "stream": "key stream, a byte",
    "derive": "derive a mask",
    "sum": "Sum2 of ten masks, a weight of each",
    "mask": "array to payload",
    "aggregate": "parse, check, aggregate",
    "unmask": "unmask",
}
# Masks that the step "sum" adds up.
MASKS = 10

Counts = dict[tuple[str, str], dict[str, float]]


def read(path: Path) -> Counts:
    """Instructions for each byte or weight, by step and config, and then by level."""
    counts: Counts = {}
    for line in path.read_text().splitlines():
        level, step, config, length, count = line.split()
        each = int(count) / int(length) / (MASKS if step == "sum" else 1)
        counts.setdefault((step, config), {})[level] = each
    return counts


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def table(counts: Counts) -> str:
    lines = [
        "| step, config | Neon | portable | of it |",
        "| :-- | --: | --: | --: |",
    ]
    for (step, config), levels in counts.items():
        neon, portable = levels["arm"], levels["arm-portable"]
        name = STEPS[step] if step == "stream" else f"{STEPS[step]}, {config}"
        lines.append(f"| {name} | {number(neon)} | {number(portable)} | {neon / portable:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--versions", required=True)
    arguments = parser.parse_args()
    counts = read(arguments.counts)
    rows = [{"step": step, "config": config, **levels} for (step, config), levels in counts.items()]
    arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    day = datetime.date.today().isoformat()
    text = f"Instructions for each weight, {day}, {arguments.versions}:\n\n{table(counts)}"
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{text}{END}{after}")
    print(text)


if __name__ == "__main__":
    main()

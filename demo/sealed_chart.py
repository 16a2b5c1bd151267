"""The picture of `make demo-v2`: who signed in which round, and a hospital's model with what each coalition has of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from chart import FAINT, INK, POOLED, STYLE, TOGETHER
from committee import GROUPS, MEMBERS
from data import Array
from network import HIDDEN, INPUTS, Weights

PANELS = (
    ("model", "The first hospital's model"),
    ("version_1", "Version 1: the coordinator and one who sums"),
    ("two_groups", "Version 2: the coordinator and two of three groups"),
    ("all_groups", "Version 2: with all three groups"),
)


@dataclass(frozen=True)
class Row:
    """What became of a round. Members are (group, index)."""

    number: int
    signers: frozenset[tuple[int, int]]
    dead: frozenset[tuple[int, int]]
    liar: tuple[int, int]
    # How it has lied.
    lie: str | None
    # How many models the global one is the mean of.
    counted: int


def draw(path: Path, rows: list[Row], model: Weights, left: dict[str, Array]) -> None:
    """Saves the picture as a PNG: the rounds, and of each model the first layer's weights, a square each."""
    pictures = {"model": model.astype(np.float64), **left}
    with pyplot.rc_context(STYLE):
        figure = pyplot.figure(figsize=(13, 9.4), dpi=150)
        # Any: matplotlib gives one figure or an array of them, by the numbers.
        parts: Any = figure.subfigures(2, 1, height_ratios=(4, 6))
        above, below = parts
        _timeline(above.subplots(), rows)
        panels = below.subplots(2, 2)
        for axes, (name, title) in zip(panels.flat, PANELS):
            layer = pictures[name][: INPUTS * HIDDEN].reshape(INPUTS, HIDDEN).T
            # Each on a scale of its own, between its 2nd and 98th percentile.
            low, high = np.percentile(layer, (2, 98))
            axes.imshow(layer, cmap="RdBu", vmin=low, vmax=high, aspect="auto")
            together = float(np.corrcoef(pictures[name], pictures["model"])[0, 1])
            title += "" if name == "model" else f": correlation {together:.2f}"
            axes.set_title(title, fontsize=10)
            axes.set_xlabel("measurement", fontsize=9)
            axes.set_ylabel("hidden unit", fontsize=9)
            axes.set_xticks([])
            axes.set_yticks([])
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
        pyplot.close(figure)


def _timeline(axes: Axes, rows: list[Row]) -> None:
    """A column for each round, a line for each member."""
    axes.set_title(
        "Who signed each round's set of updates (filled), and who was killed or lied", fontsize=11
    )
    height = 0
    for group, name in enumerate(GROUPS):
        axes.text(-1.05, height + 1, name, ha="right", va="center", fontweight="bold", fontsize=10)
        for index in range(MEMBERS):
            axes.text(-0.65, height, str(index + 1), ha="right", va="center", fontsize=9)
            for column, row in enumerate(rows):
                _cell(axes, column, height, row, (group, index))
            height += 1
        # A gap between groups.
        height += 1
    for column, row in enumerate(rows):
        counted = f"{row.counted} of 10"
        colour = INK if row.counted == 10 else POOLED
        axes.text(column, height - 0.6, counted, ha="center", va="center", fontsize=9, color=colour)
    axes.text(-0.65, height - 0.6, "models that count", ha="right", va="center", fontsize=9)
    axes.set_xticks(range(len(rows)), [f"round {row.number}" for row in rows], fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.set_xlim(-2.6, len(rows) - 0.5)
    axes.set_ylim(height, -0.7)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _cell(axes: Axes, column: int, height: int, row: Row, member: tuple[int, int]) -> None:
    """Filled if the member has signed, and an outline if it has not."""
    has_signed = member in row.signers
    colour, text = (TOGETHER, "") if has_signed else (FAINT, "no vote")
    if member in row.dead:
        text = "killed"
    if member == row.liar and row.lie is not None:
        colour, text = POOLED, row.lie
    corner = (column - 0.46, height - 0.42)
    face = colour if has_signed else "none"
    box = Rectangle(corner, 0.92, 0.84, facecolor=face, edgecolor=colour, alpha=0.85)
    axes.add_patch(box)
    ink = "white" if has_signed else (colour if colour == POOLED else INK)
    axes.text(column, height, text, ha="center", va="center", fontsize=8.5, color=ink)

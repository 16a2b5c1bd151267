"""The picture of `make demo-v2`: a hospital's model, and what each coalition has of it."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot

from chart import STYLE
from data import Array
from network import HIDDEN, INPUTS, Weights

PANELS = (
    ("model", "The first hospital's model"),
    ("version_1", "Version 1: the coordinator and one who sums"),
    ("two_groups", "Version 2: the coordinator and two of three groups"),
    ("all_groups", "Version 2: with all three groups"),
)


def draw(path: Path, model: Weights, left: dict[str, Array]) -> None:
    """Saves the picture as a PNG: the first layer's weights, a square each."""
    pictures = {"model": model.astype(np.float64), **left}
    with pyplot.rc_context(STYLE):
        figure, rows = pyplot.subplots(2, 2, figsize=(13, 6.6), dpi=150)
        for axes, (name, title) in zip(rows.flat, PANELS):
            layer = pictures[name][: INPUTS * HIDDEN].reshape(INPUTS, HIDDEN).T
            # Each on a scale of its own, between its 2nd and 98th percentile.
            low, high = np.percentile(layer, (2, 98))
            axes.imshow(layer, cmap="RdBu", vmin=low, vmax=high, aspect="auto")
            together = float(np.corrcoef(pictures[name], pictures["model"])[0, 1])
            title += "" if name == "model" else f": correlation {together:.2f}"
            axes.set_title(title, fontsize=10)
            axes.set_xlabel("measurement")
            axes.set_ylabel("hidden unit")
            axes.set_xticks([])
            axes.set_yticks([])
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
        pyplot.close(figure)

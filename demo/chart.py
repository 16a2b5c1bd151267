"""The demo's picture: accuracy over rounds, and what each hospital could do alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter

from data import Data

INK = "#1f2933"
FAINT = "#9aa5b1"
TOGETHER = "#0b7285"
POOLED = "#d9480f"
BENIGN = "#96c9d4"
MALIGNANT = "#e8a87c"

# Any: matplotlib's type for this is a list of all its settings.
STYLE: Any = {
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.15,
    "figure.constrained_layout.h_pad": 0.12,
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 12,
}


def draw(
    path: Path, data: Data, federated: list[float], pooled: list[float], alone: list[list[float]]
) -> None:
    """Saves the picture as a PNG.

    Each curve has the accuracy before the first round and after every round.
    """
    with pyplot.rc_context(STYLE):
        figure, (left, right) = pyplot.subplots(
            1, 2, figsize=(13, 5.4), dpi=150, width_ratios=(5, 3)
        )
        _curves(left, federated, pooled, alone)
        _hospitals(right, data, federated[-1], [curve[-1] for curve in alone])
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
        pyplot.close(figure)


def _curves(
    axes: Axes, federated: list[float], pooled: list[float], alone: list[list[float]]
) -> None:
    axes.set_title("Accuracy on patients that nobody has trained on")
    for number, curve in enumerate(alone):
        label = "each hospital alone" if number == 0 else None
        axes.plot(curve, color=FAINT, linewidth=1, alpha=0.7, label=label)
    axes.plot(
        pooled,
        color=POOLED,
        linewidth=1.8,
        linestyle=(0, (5, 2)),
        label="all patients in one place",
    )
    axes.plot(
        federated,
        color=TOGETHER,
        linewidth=2.8,
        marker="o",
        markersize=5.5,
        label="together, masked",
    )
    axes.annotate(
        f"{100 * federated[-1]:.1f} %",
        (len(federated) - 1, federated[-1]),
        xytext=(14, -4),
        textcoords="offset points",
        color=TOGETHER,
        fontweight="bold",
        annotation_clip=False,
    )
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(13, integer=True))
    axes.yaxis.set_major_locator(MultipleLocator(0.05))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    # The untrained network may well be below the picture; its line then comes in from there.
    lowest = min(min(curve[1:]) for curve in [federated, pooled, *alone])
    axes.set_ylim(max(0.0, lowest - 0.03), 1.0)
    axes.set_xlim(0, len(federated) - 0.85)
    axes.grid(axis="y", color=FAINT, alpha=0.25)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], frameon=False, loc="lower right")


def _hospitals(axes: Axes, data: Data, federated: float, alone: list[float]) -> None:
    axes.set_title("The hospitals")
    rows = range(len(data.hospitals))
    benign = [int(hospital.benign.sum()) for hospital in data.hospitals]
    malignant = [len(hospital) - count for hospital, count in zip(data.hospitals, benign)]
    axes.barh(rows, benign, color=BENIGN, height=0.72, label="benign")
    axes.barh(rows, malignant, left=benign, color=MALIGNANT, height=0.72, label="malignant")
    for row, hospital, accuracy in zip(rows, data.hospitals, alone):
        below = accuracy < federated
        axes.text(
            len(hospital) + 1.2,
            row,
            f"{100 * accuracy:.1f} %",
            va="center",
            color=INK if below else TOGETHER,
            fontsize=10,
        )
    axes.set_yticks(rows, [str(row + 1) for row in rows])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.16 * max(len(hospital) for hospital in data.hospitals))
    axes.set_xlabel("patients, and the accuracy reached alone")
    axes.legend(frameon=False, loc="lower right")

"""What the demo prints."""

from __future__ import annotations

import os
import sys

from coordinator import Round
from data import Data
from ledger import Verdict

PHASES = ("sum", "update", "sum2", "unmask")
BAR = 20
BAR_FROM = 0.8
COLOURS = "NO_COLOR" not in os.environ and sys.stdout.isatty()


# What is shown until something else is said.
_shown = ""


def say(text: str = "") -> None:
    global _shown
    _shown = ""
    print(("\r\033[K" if COLOURS else "") + text, flush=True)


def progress(text: str) -> None:
    """Shows what is going on, until something else is said; on terminals only."""
    global _shown
    if COLOURS and text != _shown:
        _shown = text
        print(f"\r\033[K{dim(text)}", end="", flush=True)


def bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if COLOURS else text


def dim(text: str) -> str:
    return f"\033[2m{text}\033[0m" if COLOURS else text


def red(text: str) -> str:
    return f"\033[31m{text}\033[0m" if COLOURS else text


def percent(part: float) -> str:
    return f"{100 * part:5.1f} %"


def header(data: Data, url: str, weights: int, accuracy: float) -> None:
    sizes = " ".join(str(len(hospital)) for hospital in data.hospitals)
    say(bold("Ten hospitals learn together to tell benign from malignant tumours. None shows its"))
    say(bold("patients to anybody, and nobody sees the model of any single one: only their sum."))
    say()
    say(f"  patients      {sizes} (and {len(data.test)} to test with)")
    say(f"  model         {weights} weights, {percent(accuracy).strip()} correct before training")
    say(f"  coordinator   {url}")
    say()
    columns = "round      sum    update      sum2    unmask   trained   masks by   accuracy"
    say(bold(f"{columns}{f'({BAR_FROM:.0%} to 100%)':^{BAR + 4}}off the mean"))


def completed(round: Round, verdict: Verdict, accuracy: float) -> None:
    times = "".join(f"{_milliseconds(round.phases[name].seconds):>10}" for name in PHASES)
    trained = f"{len(verdict.hospitals)} of 10"
    masks = f"{round.phases['sum2'].accepted} of {round.phases['sum'].accepted}"
    line = f"{round.number:5}{times}  {trained:>8}   {masks:>8}    {percent(accuracy)}"
    say(f"{line}  {_bar(accuracy)}  {verdict.difference:12.1e}")
    for hospital in verdict.late:
        say(dim(f"      hospital {hospital + 1} finished its training too late to be in it"))


def failed(round: Round) -> None:
    say(dim(f"{round.number:5}   failed in {round.failure}; the next one begins"))


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.{1 if seconds < 0.01 else 0}f} ms"


def _bar(accuracy: float) -> str:
    """A bar for an accuracy, in eighths of a character."""
    eighths = round(max(0.0, (accuracy - BAR_FROM) / (1 - BAR_FROM)) * BAR * 8)
    blocks = "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")
    return blocks.ljust(BAR)


def summary(federated: float, pooled: float, alone: list[float], data: Data) -> None:
    best = max(range(len(alone)), key=lambda hospital: alone[hospital])
    worst = min(range(len(alone)), key=lambda hospital: alone[hospital])

    def name(hospital: int) -> str:
        return f"hospital {hospital + 1}, {len(data.hospitals[hospital])} patients"

    say()
    say(bold(f"Accuracy on {len(data.test)} patients that nobody has trained on"))
    rows = [
        ("trained together, masked", federated, ""),
        ("trained on everybody's patients in one place", pooled, ""),
        ("best hospital alone", alone[best], f"({name(best)})"),
        ("worst hospital alone", alone[worst], f"({name(worst)})"),
    ]
    for label, accuracy, remark in rows:
        text = f"  {label:46}{percent(accuracy)}  {_bar(accuracy)} {remark}".rstrip()
        say(bold(text) if accuracy is federated else text)
    say()


def error(text: str) -> None:
    progress("")
    print(red(f"error: {text}"), file=sys.stderr, flush=True)

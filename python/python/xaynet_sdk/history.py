"""What came of a federation's rounds: numbers, a table, a picture."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy.typing as npt

    _Array: TypeAlias = npt.NDArray[Any]

__all__ = ["History", "RoundResult"]


@dataclass(frozen=True, slots=True)
class RoundResult:
    """The outcome of a round that ended with a global model."""

    #: The coordinator's number of the round; those of failed rounds are left out.
    round_id: int
    #: Of how many local models the global one is the mean.
    models: int
    #: How many sum participants have voted for its mask.
    votes: int
    #: How long it took, training included, in real seconds.
    seconds: float
    #: How many weights of local models were beyond the bound, and how large the largest was.
    clamped: int
    largest_clamped: float
    #: What ``evaluate`` has found, and the metrics of the aggregation: means over all samples of the participants.
    metrics: Mapping[str, float]
    #: Why rounds since the last one have failed.
    failures: Sequence[str] = ()
    #: With an aggregation: how many samples the models were trained on, in all, and the totals of its counts.
    samples: float | None = None
    counts: Mapping[str, float] = field(default_factory=dict)


# Not to be compared: arrays have no truth value.
@dataclass(slots=True, eq=False)
class History:
    """The rounds of a federation, and what came of them. A notebook shows it as a table; :meth:`plot` draws it."""

    rounds: list[RoundResult] = field(default_factory=list)
    #: The last global model.
    model: _Array | None = None
    #: The global model of each round, if they were to be kept.
    models: list[_Array] = field(default_factory=list)
    #: What has ended it early: a callback's words; None if there were as many rounds as were asked for.
    stopped: str | None = None

    def columns(self) -> dict[str, list[float]]:
        """One list for each measure and metric, as for ``pandas.DataFrame(result.columns())``."""
        table: dict[str, list[float]] = {
            "round": [float(number) for number in range(1, len(self.rounds) + 1)],
            "models": [float(each.models) for each in self.rounds],
            "votes": [float(each.votes) for each in self.rounds],
            "seconds": [each.seconds for each in self.rounds],
            "clamped": [float(each.clamped) for each in self.rounds],
            "failures": [float(len(each.failures)) for each in self.rounds],
        }
        names = dict.fromkeys(itertools.chain.from_iterable(each.metrics for each in self.rounds))
        for name in names:
            table[name] = [each.metrics.get(name, float("nan")) for each in self.rounds]
        if any(each.samples is not None for each in self.rounds):
            totals = [{"samples": each.samples or 0.0, **each.counts} for each in self.rounds]
            for name in dict.fromkeys(itertools.chain.from_iterable(totals)):
                table[name] = [each.get(name, float("nan")) for each in totals]
        return table

    def plot(self, metrics: Iterable[str] | None = None, ax: Any = None) -> Any:
        """Draws metrics (all of ``evaluate``'s, or else how many models there were) by round, with
        Matplotlib, which has to be installed. Gives the axes."""
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise ModuleNotFoundError(
                f"a plot needs Matplotlib, which cannot be imported ({error}): install it with "
                "pip install 'xaynet-sdk[plot]'",
                name="matplotlib",
            ) from error
        table = self.columns()
        known = [name for name in table if any(name in each.metrics for each in self.rounds)]
        names = list(metrics) if metrics is not None else known or ["models"]
        unknown = [name for name in names if name not in table]
        if unknown:
            raise KeyError(f"there is no metric {unknown[0]!r}; there are {', '.join(table)}")
        if ax is None:
            _, ax = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
        for name in names:
            ax.plot(table["round"], table[name], marker="o", markersize=3, label=name)
        ax.set_xlabel("round")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.spines[["top", "right"]].set_visible(False)
        if len(names) == 1:
            ax.set_ylabel(names[0])
        else:
            ax.legend(frameon=False)
        return ax

    def __repr__(self) -> str:
        name = type(self).__name__
        if not self.rounds:
            return f"<{name}: no rounds>"
        last = ", ".join(f"{name} {value:.4g}" for name, value in self.rounds[-1].metrics.items())
        return f"<{name}: {len(self.rounds)} rounds{'; at last ' + last if last else ''}>"

    def _repr_html_(self) -> str:
        table = self.columns()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in table)
        rows = "".join(
            "<tr>" + "".join(f"<td>{value:.6g}</td>" for value in row) + "</tr>"
            for row in zip(*table.values(), strict=True)
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def measured(found: Mapping[str, float] | float) -> dict[str, float]:
    """What ``evaluate`` has found, by name."""
    try:
        if isinstance(found, Mapping):
            return {str(name): float(value) for name, value in found.items()}
        return {"metric": float(found)}
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"evaluate gives a number, or a dict of numbers by name, and {found!r} is neither"
        ) from error


def joined_metrics(
    reported: Mapping[str, float], evaluated: Mapping[str, float]
) -> dict[str, float]:
    """The metrics of the aggregation, and those of ``evaluate``."""
    both = next((name for name in evaluated if name in reported), None)
    if both is not None:
        raise ValueError(f"evaluate gives {both!r}, which is a metric of the aggregation, too")
    return {**reported, **evaluated}

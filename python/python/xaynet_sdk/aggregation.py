"""Means that are weighted by samples, and metrics, in the sums that are masked anyway.

The coordinator gives the mean of vectors. :class:`WeightedMean` puts more into each vector than the model: the model times its
number of samples, each metric times that number, counts, and the number itself. Divided by it, the mean of such vectors is
the model that one has from all samples together, and the metrics as they are over all samples. Nobody has to know how many
samples there are in all, or how many anybody else has: single numbers are masked as the weights are.

For the coordinator they are weights like others, so any coordinator will do, of Xaynet too. All participants have to have the
same :class:`WeightedMean`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from xaynet_sdk._numbers import whole
from xaynet_sdk._types import Weights
from xaynet_sdk.xaynet_sdk import XaynetError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    _Array: TypeAlias = npt.NDArray[np.floating[Any]]

__all__ = ["Aggregate", "AggregationError", "SamplesWarning", "Update", "WeightedMean"]


class AggregationError(XaynetError):
    """A global model is no mean of what a :class:`WeightedMean` makes, or not of one that is equal."""


class SamplesWarning(UserWarning):
    """An update has more samples than ``reference_samples``, and counts only as much as that."""


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """What a participant's training gives: a local model, and what it says of it.

    Where there is a :class:`WeightedMean`, training gives this instead of the model alone::

        return xaynet_sdk.Update(layout.flatten(net), samples=len(data), metrics={"loss": loss})
    """

    #: The weights of the local model.
    model: Weights
    #: How many samples it was trained on; by default as many as ``reference_samples`` says, so that all count the same.
    samples: float | None = None
    #: A number for each of the aggregation's metrics: a mean over these samples.
    metrics: Mapping[str, float] = field(default_factory=dict)
    #: A number for each of the aggregation's counts: a sum over these samples, such as how many were classified rightly.
    counts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate:
    """What comes of all participants' updates of a round."""

    #: The global model: the mean of the local ones, weighted by samples.
    model: Any
    #: The means of the metrics, weighted by samples.
    metrics: Mapping[str, float]
    #: The means of the counts over participants. Times the number of models they are totals; :meth:`per_sample` needs none.
    counts: Mapping[str, float]
    #: How many samples a participant had, on average. (No participant knows how many participants there were: the
    #: coordinator's status does.)
    samples: float

    def per_sample(self, count: str) -> float:
        """A count divided by the number of samples, over all participants: of all samples classified rightly, for instance,
        the accuracy."""
        return self.counts[count] / self.samples


@dataclass(frozen=True, slots=True)
class WeightedMean:
    """How updates of several participants become one: a mean weighted by samples, of models and of metrics.

    Args:
        metrics: Names of numbers that are means over a participant's samples, such as ``loss``.
        counts: Names of numbers that are sums over a participant's samples, such as ``correct``.
        reference_samples: About how many samples the largest participant has: a round number, the same for all. Weights are
            masked as multiples of a smallest step, and those of a participant with a thousandth of the reference have a
            thousandth of the precision. Whoever has more counts as if it had the reference (and is warned).
    """

    metrics: Sequence[str] = ()
    counts: Sequence[str] = ()
    reference_samples: float = 1.0

    def __post_init__(self) -> None:
        for what in ("metrics", "counts"):
            names = getattr(self, what)
            if isinstance(names, str) or not all(isinstance(name, str) for name in names):
                raise TypeError(f"{what} are a list of names, and {names!r} is none")
            object.__setattr__(self, what, tuple(names))
        names = [*self.metrics, *self.counts]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the name {twice!r} is there twice")
        reference = _number("reference_samples", self.reference_samples)
        if reference <= 0:
            raise ValueError(f"reference_samples must be a positive number, and {reference} is not")
        object.__setattr__(self, "reference_samples", reference)

    @property
    def extra(self) -> int:
        """How many numbers are summed beside the model."""
        return len(self.metrics) + len(self.counts) + 1

    def length(self, model_length: int) -> int:
        """The coordinator's ``model.length``, for models of so many weights."""
        return whole("model_length", model_length, 1) + self.extra

    def pack(self, update: Update) -> _Array:
        """The vector that is masked: what :meth:`Update.model` and all the rest become.

        Raises:
            TypeError: It is no :class:`Update`, or has numbers that are none.
            ValueError: A metric or count is missing, unknown or not finite, or there are no samples.
        """
        import numpy as np

        if not isinstance(update, Update):
            raise TypeError(
                "with an aggregation, training gives xaynet_sdk.Update(model, samples, metrics), and not "
                f"{type(update).__name__}"
            )
        model = np.asarray(update.model)
        if model.ndim != 1:
            raise TypeError(
                f"a model is one flat vector, and this one has {model.ndim} dimensions: see xaynet_sdk.flatten"
            )
        if model.dtype != np.float32:
            model = model.astype(np.float64)
        share = self._share(update.samples)
        metrics = _named("metric", self.metrics, update.metrics)
        counts = _named("count", self.counts, update.counts)
        vector = np.empty(len(model) + self.extra, model.dtype)
        np.multiply(model, model.dtype.type(share), out=vector[: len(model)])
        extra = [value * share for value in metrics]
        extra += [value / self.reference_samples for value in counts]
        vector[len(model) :] = [*extra, share]
        return vector

    def begin_with(self, model: Weights) -> _Array:
        """The vector of an initial model, as if it were the mean of updates: with metrics and counts of zero. What a coordinator
        is to begin with where its participants have this aggregation, for ``pet-coordinator serve --initial-model``, too."""
        zero = dict.fromkeys(self.metrics, 0.0)
        return self.pack(Update(model, None, zero, dict.fromkeys(self.counts, 0.0)))

    def unpack(self, vector: Any) -> Aggregate:
        """What the coordinator's mean of such vectors says.

        Raises:
            AggregationError: It is not the mean of such vectors.
        """
        import numpy as np

        vector = np.asarray(vector)
        length = len(vector) - self.extra
        if length < 1:
            raise AggregationError(
                f"the global model has {len(vector)} weights, and {self.extra} of them are sums beside the model: the "
                f"coordinator's model.length has to be {self.extra} more than the model has weights"
            )
        if not np.issubdtype(vector.dtype, np.floating):
            raise AggregationError(
                f"a weighted mean needs a mask config with F32 or F64, and the global model is of type {vector.dtype}"
            )
        share = float(vector[-1])
        if not 0 < share < math.inf:
            raise AggregationError(
                f"in this global model the updates have a weight of {share}: other participants have another "
                "aggregation, or none"
            )
        sums = [float(value) for value in vector[length:-1]]
        metrics = {name: total / share for name, total in zip(self.metrics, sums, strict=False)}
        counts = {
            name: mean * self.reference_samples
            for name, mean in zip(self.counts, sums[len(self.metrics) :], strict=True)
        }
        model = vector[:length] / vector.dtype.type(share)
        return Aggregate(model, metrics, counts, share * self.reference_samples)

    def with_model(self, vector: Any, model: Any) -> _Array:
        """The same sums beside another model: the vector that a coordinator with an optimizer publishes. What :meth:`unpack` gives
        of it is the model, but for a rounding.

        Args:
            vector: The mean of vectors that :meth:`pack` makes.
            model: The model to take the place of the one in it.
        """
        import numpy as np

        packed: _Array = np.array(vector)
        length = len(packed) - self.extra
        model = np.asarray(model, packed.dtype)
        if model.shape != (length,):
            raise ValueError(
                f"the model in this vector has {length} weights, and the other one has the shape {model.shape}"
            )
        packed[:length] = model * packed[-1]
        return packed

    def _share(self, samples: float | None) -> float:
        """Samples in units of the reference."""
        if samples is None:
            return 1.0
        share = _number("samples", samples) / self.reference_samples
        if share <= 0:
            raise ValueError(
                f"an update has a positive number of samples, and not {samples}: who has none does not take part "
                "(give None instead of an update)"
            )
        if share > 1:
            warnings.warn(
                f"{samples} samples count only as {self.reference_samples:g}: give all participants a larger "
                "reference_samples",
                SamplesWarning,
                stacklevel=3,
            )
        return min(share, 1.0)


def packed(aggregation: WeightedMean | None, trained: Weights | Update) -> Weights:
    """What is masked of what training has given."""
    if aggregation is not None:
        return aggregation.pack(trained)  # type: ignore[arg-type]
    if isinstance(trained, Update):
        raise TypeError(
            "this is an Update, but nothing says how it becomes one of weights: give an aggregation, such as "
            "xaynet_sdk.WeightedMean(), the same to all participants"
        )
    return trained


def _named(what: str, names: Sequence[str], given: Mapping[str, float]) -> list[float]:
    unknown = next((name for name in given if name not in names), None)
    if unknown is not None:
        raise ValueError(
            f"the aggregation has no {what} {unknown!r}; it has {', '.join(names) or 'none'}"
        )
    missing = next((name for name in names if name not in given), None)
    if missing is not None:
        # Zero would be a lie.
        raise ValueError(f"the update has no {what} {missing!r}, and the aggregation wants one")
    return [_number(f"the {what} {name!r}", given[name]) for name in names]


def _number(what: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{what} is a number, and {value!r} is none") from error
    if not math.isfinite(number):
        raise ValueError(f"{what} is a finite number, and {number} is not")
    return number

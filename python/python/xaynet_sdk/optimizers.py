"""What a server makes of the mean of a round: optimisers that take a step towards it, instead of jumping there.

The difference between the mean of the local models and the global model that they were trained from is used as a gradient is
(with the other sign): with momentum, or with a step size for each weight. That helps where participants have different data,
or train long. Of the papers,

* :class:`FedAvg`: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", 2017;
* :class:`FedAvgM`: Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
  Classification", 2019;
* :class:`FedAdagrad`, :class:`FedAdam`, :class:`FedYogi`: Reddi et al., "Adaptive Federated Optimization", 2021, algorithm 2.

An optimiser sees public global models only, so it costs no privacy. The same object is for a simulation and for a coordinator,
which makes the same steps, bit by bit::

    result = simulate(participants, model_length=650, optimizer=FedAdam(learning_rate=0.03))
    coordinator = Coordinator(model_length=650, optimizer=FedAdam(learning_rate=0.03))

:meth:`ServerOptimizer.settings` is what the settings file of a coordinator says of it (``[pet.optimizer]``).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

from xaynet_sdk.aggregation import Aggregate
from xaynet_sdk.schedules import Cosine, Schedule, rate

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    _Array: TypeAlias = npt.NDArray[np.float64]
    _Moments: TypeAlias = Mapping[str, _Array]

__all__ = ["FedAdagrad", "FedAdam", "FedAvg", "FedAvgM", "FedYogi", "ServerOptimizer"]

# A coordinator has rates as a table: of a schedule that never ends so many steps, and so many different rates.
_TABLE_STEPS = 100_000
_TABLE_RATES = 10_000


class ServerOptimizer(ABC):
    """Makes the next global model of the last one and the mean of a round.

    It has a state, and so is for one federation. The same steps give the same models, bit by bit.

    Args:
        learning_rate: How far a step goes: a number, or a schedule by the number of the step, from 0
            (see :mod:`xaynet_sdk.schedules`).
    """

    #: The names of the vectors in its state: as long as the model, zeros in the beginning.
    _MOMENTS: ClassVar[tuple[str, ...]] = ()
    #: What a coordinator calls the numbers that it has beside the learning rate: attributes of the same name.
    _SETTINGS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, learning_rate: float | Schedule) -> None:
        # Finds mistakes now.
        rate(learning_rate, 0)
        self.learning_rate = learning_rate
        #: How many steps it has made.
        self.steps = 0
        self._moments: _Moments = {}

    def step(self, model: Any, mean: Any) -> Any:
        """The next global model.

        Args:
            model: The last one: what participants have trained from.
            mean: The mean of what they have come to.

        Raises:
            ValueError: They are not of one shape, or not of the shape of the step before; or the next model would have
                weights beyond its type.
            TypeError: They are no floats.
        """
        import numpy as np

        model, mean = np.asarray(model), np.asarray(mean)
        if model.shape != mean.shape or model.ndim != 1:
            raise ValueError(
                f"the model has shape {model.shape}, and the mean of the round {mean.shape}: both are one flat vector"
            )
        if mean.dtype.kind != "f":
            raise TypeError(
                f"an optimizer is for models of floats, and this one is of type {mean.dtype}"
            )
        moments = self._moments
        if not moments:
            moments = {name: self._first(name, len(model)) for name in self._MOMENTS}
        wrong = next((each for each in moments.values() if len(each) != len(model)), None)
        if wrong is not None:
            raise ValueError(
                f"this optimizer belongs to a model of {len(wrong)} weights, and this one has {len(model)}"
            )
        learning_rate = rate(self.learning_rate, self.steps)
        # New ones: whoever interrupts it in the middle finds what was there before.
        with np.errstate(over="ignore", invalid="ignore"):
            moments, after = self._step(moments, model.astype(np.float64), mean, learning_rate)
            after = after.astype(mean.dtype)
        if not all(np.isfinite(each).all() for each in (after, *moments.values())):
            raise ValueError(
                "the next global model would have weights beyond its type: the learning rate is too large"
            )
        self._moments = moments
        self.steps += 1
        return after

    def step_after(self, model: Any, mean: Any, aggregate: Aggregate | None, models: int) -> Any:
        """As :meth:`step`, for an optimiser that looks at more than the mean: :func:`xaynet_sdk.simulate` calls this.

        Args:
            model: The last global model.
            mean: The mean of the local ones.
            aggregate: What was summed beside them, where there is an aggregation.
            models: How many local models there were.
        """
        return self.step(model, mean)

    def settings(self) -> dict[str, object]:
        """What a coordinator's settings say of it, by dotted keys: for :class:`xaynet_sdk.Coordinator`'s ``settings``, a settings file, or
        ``--set``. A schedule is given as a table of its rates: of one that never ends to change, of the first 100,000 steps or 10,000
        rates; the last of them holds from then on.

        Raises:
            ValueError: A :class:`xaynet_sdk.schedules.Cosine` has more steps than such a table: it would stop half way.
            TypeError: It is none of the papers': a coordinator knows only those.
        """
        known = {"FedAdagrad", "FedAdam", "FedAvg", "FedAvgM", "FedYogi"}
        kind = type(self)
        if kind.__module__ != __name__ or kind.__name__ not in known:
            raise TypeError(
                f"a coordinator makes the steps of {', '.join(sorted(known))}, and {kind.__name__} is none of them: it is "
                "for xaynet_sdk.simulate"
            )
        table = _table(self.learning_rate)
        return {
            "pet.optimizer.kind": kind.__name__,
            "pet.optimizer.learning_rate": table,
            **{f"pet.optimizer.{name}": repr(getattr(self, name)) for name in self._SETTINGS},
        }

    def _first(self, name: str, length: int) -> _Array:
        import numpy as np

        return np.zeros(length)

    @abstractmethod
    def _step(
        self, moments: _Moments, model: _Array, mean: Any, learning_rate: float
    ) -> tuple[_Moments, Any]:
        """The next moments, and the next model."""

    def state(self) -> dict[str, Any]:
        """All that it remembers: its name, a number and arrays, by name."""
        return {
            "kind": type(self).__name__,
            "steps": self.steps,
            **{name: each.copy() for name, each in self._moments.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what :meth:`state` has given.

        Raises:
            ValueError: That was another kind of optimiser.
        """
        import numpy as np

        names = set(state) - {"kind", "steps"}
        kind = str(state.get("kind", "nothing"))
        if kind != type(self).__name__ or names not in (set(), set(self._MOMENTS)):
            raise ValueError(f"this is not the state of a {type(self).__name__}, but of {kind}")
        self.steps = int(state["steps"])
        self._moments = {name: np.array(state[name], np.float64) for name in sorted(names)}

    def begun_anew(self) -> Self:
        """One with the same settings that has made no step."""
        other = copy.copy(self)
        other.steps, other._moments = 0, {}
        return other

    def __repr__(self) -> str:
        return f"<{type(self).__name__} after {self.steps} steps>"


class FedAvg(ServerOptimizer):
    """The mean itself, or with a learning rate other than 1 a step on the way there, or beyond."""

    def __init__(self, learning_rate: float | Schedule = 1.0) -> None:
        super().__init__(learning_rate)

    def _step(
        self, moments: _Moments, model: _Array, mean: Any, learning_rate: float
    ) -> tuple[_Moments, Any]:
        # As the mean is, to the last bit.
        after = mean.copy() if learning_rate == 1 else model + learning_rate * (mean - model)
        return moments, after


class FedAvgM(ServerOptimizer):
    """With momentum: ``v = momentum * v + delta``, and ``learning_rate * v`` is added to the model."""

    _MOMENTS = ("velocity",)
    _SETTINGS = ("momentum",)

    def __init__(self, learning_rate: float | Schedule = 1.0, momentum: float = 0.9) -> None:
        super().__init__(learning_rate)
        self.momentum = _share("momentum", momentum)

    def _step(
        self, moments: _Moments, model: _Array, mean: Any, learning_rate: float
    ) -> tuple[_Moments, Any]:
        velocity = self.momentum * moments["velocity"] + (mean - model)
        return {"velocity": velocity}, model + learning_rate * velocity


class _Adaptive(ServerOptimizer):
    """Algorithm 2 of Reddi et al.: ``m = beta1 * m + (1 - beta1) * delta``, v by each optimiser's own rule from ``tau * tau`` on,
    and ``learning_rate * m / (sqrt(v) + tau)`` is added to the model."""

    _MOMENTS = ("m", "v")
    _SETTINGS: ClassVar[tuple[str, ...]] = ("beta1", "tau")

    def __init__(self, learning_rate: float | Schedule, beta1: float, tau: float) -> None:
        super().__init__(learning_rate)
        self.beta1 = _share("beta1", beta1)
        if not 0 < float(tau) < float("inf"):
            raise ValueError(f"tau is a positive number, and {tau!r} is not")
        self.tau = float(tau)

    def _first(self, name: str, length: int) -> _Array:
        import numpy as np

        return np.full(length, self.tau * self.tau if name == "v" else 0.0)

    def _step(
        self, moments: _Moments, model: _Array, mean: Any, learning_rate: float
    ) -> tuple[_Moments, Any]:
        import numpy as np

        delta = mean - model
        m = self.beta1 * moments["m"] + (1 - self.beta1) * delta
        v = self._second(moments["v"], delta * delta)
        return {"m": m, "v": v}, model + learning_rate * m / (np.sqrt(v) + self.tau)

    @abstractmethod
    def _second(self, v: _Array, squared: _Array) -> _Array:
        """The next v."""


class FedAdagrad(_Adaptive):
    """``v = v + delta * delta``: weights that have moved far move less from then on."""

    def __init__(
        self, learning_rate: float | Schedule = 0.1, *, beta1: float = 0.0, tau: float = 1e-3
    ) -> None:
        super().__init__(learning_rate, beta1, tau)

    def _second(self, v: _Array, squared: _Array) -> _Array:
        return v + squared


class _Decaying(_Adaptive):
    """With a v that follows the squares of the last differences."""

    _SETTINGS = ("beta1", "beta2", "tau")

    def __init__(
        self,
        learning_rate: float | Schedule = 0.1,
        *,
        beta1: float = 0.9,
        beta2: float = 0.99,
        tau: float = 1e-3,
    ) -> None:
        super().__init__(learning_rate, beta1, tau)
        self.beta2 = _share("beta2", beta2)


class FedAdam(_Decaying):
    """``v = beta2 * v + (1 - beta2) * delta * delta``. Without the correction of the first steps, as in the paper."""

    def _second(self, v: _Array, squared: _Array) -> _Array:
        return self.beta2 * v + (1 - self.beta2) * squared


class FedYogi(_Decaying):
    """``v = v - (1 - beta2) * delta * delta * sign(v - delta * delta)``: v changes by no more than the last difference says."""

    def _second(self, v: _Array, squared: _Array) -> _Array:
        import numpy as np

        after: _Array = v - (1 - self.beta2) * squared * np.sign(v - squared)
        return after


def _table(learning_rate: float | Schedule) -> str:
    """The rates as a coordinator's settings have them: ``0.05, 0.1*100, 0.01``."""
    if not callable(learning_rate):
        return repr(rate(learning_rate, 0))
    if isinstance(learning_rate, Cosine) and _end(learning_rate) >= _TABLE_STEPS:
        raise _too_long(learning_rate)
    spans: list[tuple[float, int]] = []
    for step in range(_last_step(learning_rate) + 1):
        value = rate(learning_rate, step)
        if spans and spans[-1][0] == value:
            spans[-1] = (value, spans[-1][1] + 1)
        elif len(spans) < _TABLE_RATES:
            spans.append((value, 1))
        elif isinstance(learning_rate, Cosine):
            raise _too_long(learning_rate)
        else:
            break
    last = len(spans) - 1
    return ", ".join(
        repr(value) if steps == 1 or index == last else f"{value!r}*{steps}"
        for index, (value, steps) in enumerate(spans)
    )


def _end(cosine: Cosine) -> int:
    """From which step on it stays as it is."""
    return max(cosine.steps, cosine.warmup)


def _too_long(cosine: Cosine) -> ValueError:
    """Cut off, it would keep a rate from the middle of its way down for ever."""
    end = _end(cosine)
    held = -(-end // (_TABLE_RATES - 1))
    way_out = f"give it fewer than {_TABLE_RATES:,} steps"
    if end + held <= _TABLE_STEPS:
        way_out += f", or hold each rate for {held}: lambda step: cosine(step // {held} * {held})"
    return ValueError(
        f"a coordinator takes a table of {_TABLE_RATES:,} rates and keeps the last of them for ever, and a Cosine that ends with step "
        f"{end:,} has more: {way_out}"
    )


def _last_step(schedule: Schedule) -> int:
    """From which step on a schedule is as it stays, or the last one that is looked at."""
    if isinstance(schedule, Cosine):
        return min(_end(schedule), _TABLE_STEPS - 1)
    return _TABLE_STEPS - 1


def _share(name: str, value: float) -> float:
    if not 0 <= float(value) < 1:
        raise ValueError(f"{name} is at least 0 and below 1, and {value!r} is not")
    return float(value)

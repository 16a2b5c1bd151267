"""A federation without masks, for simulations: what the coordinator would unmask is computed from the models themselves."""

from __future__ import annotations

import hashlib
import importlib
import io
import itertools
import math
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from xaynet_sdk._federation import SimulationError
from xaynet_sdk.aggregation import Aggregate, WeightedMean, packed
from xaynet_sdk.optimizers import ServerOptimizer
from xaynet_sdk.participant import ParticipantABC
from xaynet_sdk.xaynet_sdk import _StepSum

if TYPE_CHECKING:
    import numpy.typing as npt

    _Array: TypeAlias = npt.NDArray[Any]

__all__ = ["Encoding", "PlainFederation", "PlainRound", "SampledClients"]

#: Who trains in a round: a share, a number, or a function from the round's number and the number of participants to their
#: indices.
SampledClients: TypeAlias = float | int | Callable[[int, int], Sequence[int]]

_BOUNDS: Mapping[str, int] = {"B0": 1, "B2": 10**2, "B4": 10**4, "B6": 10**6}
_MODELS: Mapping[str, int] = {"M3": 10**3, "M6": 10**6, "M9": 10**9, "M12": 10**12}
# Doubles are exact up to here, 64-bit integers up to there.
_DOUBLE, _INTEGER = 1 << 53, 1 << 62
# Below this many steps a weight is added in a single pass.
_SHORT = 1 << 51
_WORDS: Mapping[str, int] = {"Word32": 32, "Word64": 64}
# How many models a participant's task is ahead of the sum, for each worker: so many are in memory at most.
_AHEAD = 2
# A double's last bits that a 32-bit float does not have, and what they are half-way between two.
_REST, _HALF = (1 << 29) - 1, 1 << 28


@dataclass(frozen=True, slots=True)
class PlainRound:
    """A round that has ended."""

    round_id: int
    models: int
    votes: int = 0


class Encoding:
    """How weights become numbers before they are masked: multiples of a smallest step, within a bound.

    For 32-bit floats with a scalar of 1 the mean is what a coordinator unmasks, to the last bit: times the number of steps, 10^10
    or a power of two, such a weight has 48 bits and so is exact in a double, and so are the sums. With other scalars, and for
    64-bit floats, it is the mean in doubles.
    """

    def __init__(self, mask: str | None) -> None:
        name = mask or "Prime/F32/B0/M3"
        try:
            group, data, bound, models = name.split("/")
        except ValueError:
            raise ValueError(
                f"a mask is named such as Prime/F32/B0/M3, and {name!r} is not"
            ) from None
        group, data, bound, models = (
            part[:1].upper() + part[1:].lower() for part in (group, data, bound, models)
        )
        if data in ("I32", "I64"):
            raise ValueError(f"this is for masks of F32 or F64, and not for {name!r}")
        known = group in ("Integer", "Prime", "Power2", *_WORDS) and data in ("F32", "F64")
        if not known or bound not in (*_BOUNDS, "Bmax") or models not in _MODELS:
            raise ValueError(f"there is no mask {name!r}")
        self.dtype = "f4" if data == "F32" else "f8"
        self.bound = _BOUNDS.get(bound)
        self.most = _MODELS[models]
        #: How many steps there are in 1; None for Bmax, where they are finer than any double tells.
        self.steps: int | None = None
        if group in _WORDS:
            most = 2 * (self.bound or 1 << 128) * self.most
            word = ((1 << _WORDS[group]) - 1) // most
            steps = 1 << (word.bit_length() - 1) if word else 0
            # As the mask itself: floats need seven bits behind the point, and sixteen in all.
            if steps < 128 or steps * (self.bound or 0) < 1 << 16:
                raise ValueError(f"there is no mask {name!r}: a word is too small for it")
            self.steps = steps
        elif self.bound is not None:
            self.steps = 10**10 if data == "F32" else 10**20
        #: Whether sums of steps are computed as the coordinator does: in 64-bit floats a step would not be exact.
        self.exact = data == "F32" and self.steps is not None


class _Mean:
    """Adds models up."""

    def __init__(self, encoding: Encoding, length: int) -> None:
        self._encoding = encoding
        self._length = length
        # As long as doubles hold it; then the other one.
        self._steps: _StepSum | None = _StepSum(length) if encoding.exact else None
        self._slow: _Array | None = None
        self._buffer: _Array | None = None
        self._scalars = Fraction(0)
        self.models = 0
        self.clamped = 0
        self.largest_clamped = 0.0

    def add(self, model: Any, scalar: float) -> None:
        import numpy as np

        encoding = self._encoding
        weights = np.asarray(model)
        if weights.shape != (self._length,):
            raise ValueError(
                f"the local model has shape {weights.shape}, and the coordinator expects one flat vector of {self._length} "
                "weights"
            )
        if weights.dtype.kind not in "fiu":
            raise TypeError(f"a model consists of numbers, and this one is of type {weights.dtype}")
        with np.errstate(over="ignore"):
            weights = weights.astype(encoding.dtype, copy=False)
        # So it is masked: a scalar beyond the bound is put on it.
        scalar = scalar if encoding.bound is None else min(scalar, encoding.bound)
        bound = math.inf if encoding.bound is None or not scalar else encoding.bound / scalar
        steps = encoding.steps if encoding.exact and encoding.steps else 1
        limit = (encoding.bound or 0) * steps
        is_short = (self.models + 1) * limit < _DOUBLE and limit < _SHORT
        if self._steps is not None and is_short:
            aligned = np.require(weights, None, ["C", "A"])
            found = self._steps.add(aligned, scalar * steps, float(limit), bound)
            if found is None:
                raise _not_finite(weights)
            beyond, largest = found
            if beyond:
                self.clamped += beyond
                self.largest_clamped = max(self.largest_clamped, largest)
        else:
            self._slow = self._sum()
            self._steps = None
            self._add_slowly(self._slow, weights, scalar * steps, limit, bound)
        self._scalars += Fraction(scalar)
        self.models += 1

    def _sum(self) -> _Array:
        """The sum so far: a copy, or the array that is added to."""
        import numpy as np

        if self._steps is not None:
            return self._steps.sum()
        return np.zeros(self._length) if self._slow is None else self._slow

    def _add_slowly(
        self, total: _Array, weights: _Array, factor: float, limit: int, bound: float
    ) -> None:
        """By way of a copy, in whatever type holds the sum."""
        import numpy as np

        encoding = self._encoding
        low, high = float(weights.min()), float(weights.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise _not_finite(weights)
        if self._buffer is None:
            self._buffer = np.empty(self._length)
        buffer = self._buffer
        # One after the other: half as long as a multiplication that converts.
        np.copyto(buffer, weights)
        np.multiply(buffer, factor, out=buffer)
        if -low > bound or high > bound:
            outside = np.abs(weights) > bound
            self.clamped += int(outside.sum())
            self.largest_clamped = max(self.largest_clamped, -low, high)
            np.clip(buffer, -float(limit), float(limit), out=buffer)
        added: Any = buffer
        if encoding.exact:
            np.floor(buffer, out=buffer)
            most = (self.models + 1) * limit
            kind = np.float64 if most < _DOUBLE else np.int64 if most < _INTEGER else object
            if total.dtype != kind:
                # By way of integers: of doubles, objects would be doubles.
                total = total.astype(np.int64).astype(kind)
            if kind is not np.float64:
                added = buffer.astype(np.int64).astype(kind, copy=False)
        total += added
        self._slow = total

    @property
    def counts(self) -> bool:
        """Whether there is a mean: models, of which some count."""
        return self._scalars > 0

    def mean(self) -> _Array:
        import numpy as np

        exact, total = self._encoding.exact, self._sum()
        divisor = self._scalars * (self._encoding.steps or 1) if exact else self._scalars
        small = total.dtype.kind == "f" or (
            total.dtype.kind == "i" and int(np.abs(total).max()) < _DOUBLE
        )
        if small and (not exact or divisor < _DOUBLE):
            mean = total.astype(np.float64) / float(divisor)
        else:
            mean = np.array([float(Fraction(int(each)) / divisor) for each in total])
        if self._encoding.dtype == "f8":
            return mean
        rounded = mean.astype(np.float32)
        if exact:
            # A double that is half-way between two floats may have been rounded there before.
            for index in np.flatnonzero((mean.view(np.int64) & _REST) == _HALF):
                rounded[index] = _nearest(Fraction(int(total[index])) / divisor)
        return rounded


def _not_finite(weights: _Array) -> ValueError:
    import numpy as np

    index = int(np.flatnonzero(~np.isfinite(weights))[0])
    return ValueError(
        f"weight {index} of the local model is {weights[index]}: weights must be finite numbers"
    )


def _nearest(value: Fraction) -> Any:
    """The 32-bit float that is nearest to a number, of two the even one."""
    import numpy as np

    guess = np.float32(float(value))
    around = [
        guess,
        np.nextafter(guess, np.float32(-np.inf)),
        np.nextafter(guess, np.float32(np.inf)),
    ]
    return min(
        around,
        key=lambda each: (abs(Fraction(float(each)) - value), int(each.view(np.int32)) & 1),
    )


class PlainFederation:
    """What ``simulate`` runs with ``masked=False``."""

    def __init__(
        self,
        trainers: Sequence[Any],
        model_length: int,
        scalars: Sequence[float] | None,
        mask: str | None,
        seed: int,
        state: bytes | None,
        initial: _Array | None,
        aggregation: WeightedMean | None,
        optimizer: ServerOptimizer | None,
        sampling: SampledClients | None,
        parallel: int | Executor | None,
    ) -> None:
        self._trainers = trainers
        self._scalars = (
            [1.0] * len(trainers) if scalars is None else [float(each) for each in scalars]
        )
        if len(self._scalars) != len(trainers):
            raise ValueError(
                f"there are {len(trainers)} participants, and {len(self._scalars)} scalars"
            )
        if not all(0 <= each < math.inf for each in self._scalars):
            raise ValueError("scalars are numbers that are not negative")
        self._encoding = Encoding(mask)
        self._length = model_length if aggregation is None else aggregation.length(model_length)
        self._seed = seed
        self._aggregation = aggregation
        self._optimizer = optimizer
        self._sampling = sampling
        self._parallel = parallel
        self._closing = ExitStack()
        self._executor: Executor | None = None
        self._workers = 1
        self._round = 0
        self.model: _Array | None = initial
        # As the coordinator would give it, if there is an aggregation: what that makes.
        self._published: _Array | None = None
        self.aggregate: Aggregate | None = None
        self.clamped = 0
        self.largest_clamped = 0.0
        self.failures: list[str] = []
        self._began = time.perf_counter()
        if state is not None:
            self._resume(state)
        if not callable(sampling) and sampling is not None:
            _sample_size(sampling, len(trainers))

    def begin(self) -> None:
        """Whoever goes on in the middle of a round has to have its global model: here rounds are whole."""

    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def next_round(self, max_failures: int) -> PlainRound:
        """Goes on until a round has ended with a model."""
        self.clamped, self.largest_clamped, self.failures = 0, 0.0, []
        self._began = time.perf_counter()
        while True:
            # Counted once it is over: a round that is interrupted is begun again.
            number = self._round + 1
            chosen = self._chosen(number)
            mean = _Mean(self._encoding, self._length)
            with closing(self._trained(chosen)) as trained:
                for index, model in trained:
                    self._add(mean, index, model)
            self._round = number
            if mean.counts and mean.models <= self._encoding.most:
                self.clamped, self.largest_clamped = mean.clamped, mean.largest_clamped
                self._take_in(mean.mean(), mean.models)
                return PlainRound(number, mean.models)
            if mean.models > self._encoding.most:
                most = self._encoding.most
                why = f"there are {mean.models} models, and the mask is for {most} at most"
            elif mean.models:
                why = "all models have a scalar of 0"
            else:
                why = f"none of the {len(chosen)} participants who were drawn has given a model"
            self.failures.append(why)
            if len(self.failures) >= max_failures:
                error = SimulationError(
                    f"{max_failures} rounds in a row have failed, at last since {why}"
                )
                error.failures = tuple(self.failures)
                raise error

    def _add(self, mean: _Mean, index: int, model: Any) -> None:
        if model is None:
            return
        trainer = self._trainers[index]
        try:
            mean.add(model, self._scalars[index])
        except (TypeError, ValueError) as error:
            # As it is with masks: of what cannot be used the participant is told.
            if not (isinstance(trainer, ParticipantABC) and trainer.on_error(error)):
                raise

    def _chosen(self, number: int) -> list[int]:
        import numpy as np

        count = len(self._trainers)
        if callable(self._sampling):
            chosen = [int(index) for index in self._sampling(number, count)]
            if len(set(chosen)) != len(chosen) or not all(0 <= index < count for index in chosen):
                raise ValueError(
                    f"sampling gives indices of participants, from 0 to {count - 1} and each once, and not {chosen!r:.200}"
                )
            return chosen
        if self._sampling is None:
            return list(range(count))
        # From the number of the round alone: a simulation that is resumed draws the same.
        drawn = hashlib.sha256(f"xaynet_sdk.simulate {self._seed} round {number}".encode())
        generator = np.random.default_rng(int.from_bytes(drawn.digest(), "little"))
        size = _sample_size(self._sampling, count)
        return sorted(int(index) for index in generator.choice(count, size, replace=False))

    def _trained(self, chosen: Sequence[int]) -> Generator[tuple[int, Any], None, None]:
        """Models and whose they are, in the order of the participants."""
        training = set(chosen)
        attended = [
            index
            for index, trainer in enumerate(self._trainers)
            # All are told of the global model, as in reality; functions have no ears.
            if index in training or isinstance(trainer, ParticipantABC)
        ]

        def task(index: int) -> tuple[Any, ...]:
            trains = index in training
            return self._trainers[index], trains, self._aggregation, self.model, self.aggregate

        if self._executor is None:
            for index in attended:
                yield index, _attend(*task(index))
            return
        process = os.getpid()
        waiting: deque[tuple[int, Future[Any]]] = deque()
        rest = iter(attended)
        try:
            while True:
                for index in itertools.islice(rest, self._workers * _AHEAD - len(waiting)):
                    submitted = self._executor.submit(_attend_in, process, *task(index))
                    waiting.append((index, submitted))
                if not waiting:
                    return
                index, done = waiting.popleft()
                yield index, done.result()
        finally:
            # Nobody is told of anything, or of the end, while it still trains.
            wait([left for _, left in waiting if not left.cancel()])

    def _take_in(self, mean: _Array, models: int) -> None:
        self._published = mean
        if self._aggregation is None:
            after = mean
        else:
            self.aggregate = self._aggregation.unpack(mean)
            after = self.aggregate.model
        if self._optimizer is not None and self.model is not None:
            after = self._optimizer.step_after(self.model, after, self.aggregate, models)
            if self._aggregation is not None:
                # As a coordinator publishes it, and participants unpack it.
                self._published = self._aggregation.with_model(mean, after)
                self.aggregate = self._aggregation.unpack(self._published)
                after = self.aggregate.model
        self.model = after

    def state(self) -> bytes:
        """All that a later call needs to go on."""
        import numpy as np

        parts: dict[str, Any] = {
            "round": self._round,
            "participants": len(self._trainers),
            "length": self._length,
        }
        if self.model is not None:
            parts["model"] = self.model
        if self._published is not None:
            parts["published"] = self._published
        if self._optimizer is not None:
            parts |= {f"optimizer.{name}": each for name, each in self._optimizer.state().items()}
        file = io.BytesIO()
        np.savez(file, **parts)
        return file.getvalue()

    def _resume(self, state: bytes) -> None:
        import numpy as np

        try:
            with np.load(io.BytesIO(state), allow_pickle=False) as read:
                parts = {name: read[name] for name in read.files}
            participants, length = int(parts["participants"]), int(parts["length"])
            self._round = int(parts["round"])
        except Exception as error:
            raise ValueError(
                "this is no state of a simulation with masked=False: resume a simulation as it was begun"
            ) from error
        if (participants, length) != (len(self._trainers), self._length):
            raise ValueError(
                f"the simulation to be resumed has {participants} participants and {length} weights, and this one "
                f"{len(self._trainers)} and {self._length}: give the same ones, in the same order"
            )
        self.model, self._published = parts.get("model"), parts.get("published")
        if self._aggregation is not None and self._published is not None:
            self.aggregate = self._aggregation.unpack(self._published)
        before = "optimizer."
        remembered = {
            name.removeprefix(before): each
            for name, each in parts.items()
            if name.startswith(before)
        }
        if self._optimizer is not None and remembered:
            self._optimizer.restore(remembered)

    def __enter__(self) -> None:
        if self._parallel is None or self._parallel == 1:
            return
        if isinstance(self._parallel, int):
            of_state = next(
                (each for each in self._trainers if isinstance(each, ParticipantABC)), None
            )
            if of_state is not None:
                raise _forgets(of_state)
            self._workers = self._parallel
            self._executor = self._closing.enter_context(_processes(self._parallel))
            return
        self._executor = self._parallel
        self._workers = getattr(self._parallel, "_max_workers", 4)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.close()
        for trainer in self._trainers:
            if isinstance(trainer, ParticipantABC):
                trainer.on_stop()


def _processes(workers: int) -> Executor:
    """Processes: joblib's if that is installed, which take functions of any kind, also of a notebook."""
    try:
        loky = importlib.import_module("joblib.externals.loky")
    except ImportError:
        return ProcessPoolExecutor(workers)
    executor: Executor = loky.ProcessPoolExecutor(workers)
    return executor


def _forgets(trainer: Any) -> TypeError:
    return TypeError(
        f"parallel= trains in other processes here, where {type(trainer).__name__} would forget what it keeps in itself: give "
        "functions from the global model to a local one, or a ThreadPoolExecutor"
    )


def _attend_in(process: int, trainer: Any, *rest: Any) -> Any:
    """The same at an executor, of which nobody knows where it runs what."""
    if isinstance(trainer, ParticipantABC) and os.getpid() != process:
        raise _forgets(trainer)
    return _attend(trainer, *rest)


def _attend(
    trainer: Any,
    trains: bool,
    aggregation: WeightedMean | None,
    model: _Array | None,
    aggregate: Aggregate | None,
) -> Any:
    """Tells a participant of the global model, and gives what it makes of it, if it is to train; also in another process."""
    if not isinstance(trainer, ParticipantABC):
        trained = trainer(None if model is None else model.copy())
        return None if trained is None else packed(aggregation, trained)
    try:
        training_input = None
        if model is not None:
            given: Any = model.copy() if trainer.global_model_as_array else model.tolist()
            training_input = trainer.deserialize_training_input(given)
        if aggregate is not None:
            trainer.on_aggregate(aggregate)
        trainer.on_new_global_model(training_input)
        if not trains or not trainer.participate_in_update_task():
            return None
        result = trainer.train_round(training_input)
        return packed(aggregation, trainer.serialize_training_result(result))
    except Exception as error:
        if not trainer.on_error(error):
            raise
        return None


def _sample_size(sampling: float, count: int) -> int:
    if isinstance(sampling, bool) or not isinstance(sampling, int | float):
        raise TypeError(
            f"sampling is a share, a number of participants or a function, and not {sampling!r}"
        )
    if isinstance(sampling, int):
        if not 1 <= sampling <= count:
            raise ValueError(f"sampling is for 1 to {count} participants, and not for {sampling}")
        return sampling
    if not 0 < sampling <= 1:
        raise ValueError(f"a share of participants is above 0 and at most 1, and {sampling} is not")
    return max(1, round(sampling * count))

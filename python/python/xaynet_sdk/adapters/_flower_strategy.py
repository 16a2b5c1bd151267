"""Server strategies of Flower's, fed by the rounds of a simulation.

A strategy sees one result a round, that of all clients together: nobody sees single ones. Its number of examples is the sum of theirs,
its parameters are their mean weighted by examples, and so are its metrics. What the strategy makes of it is the next global model.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from xaynet_sdk.aggregation import Aggregate
from xaynet_sdk.layout import Layout, flatten, unflatten
from xaynet_sdk.optimizers import ServerOptimizer

if TYPE_CHECKING:
    import numpy.typing as npt

    _Arrays: TypeAlias = list[npt.NDArray[Any]]

# The strategies of Flower's that look at each client's result, and why there is none to look at.
_ROBUST = "compares the models of single clients, and masked sums show none"
_TREES = "puts trees together, and trees cannot be summed"
_PRIVATE = (
    "clips the update of each client, and nobody sees one: noise is added before masking (xaynet_sdk.privacy.ClientNoise), or by the "
    "groups of version 2"
)
_OF_SINGLE_CLIENTS: Mapping[str, str] = {
    **dict.fromkeys(("Bulyan", "FedMedian", "FedTrimmedAvg", "Krum", "MultiKrum"), _ROBUST),
    **dict.fromkeys(("FedXgbBagging", "FedXgbCyclic", "FedXgbNnAvg"), _TREES),
    **dict.fromkeys(("DPFedAvgAdaptive", "DPFedAvgFixed"), _PRIVATE),
    "QFedAvg": "weights clients by their losses, and masked sums show no single loss",
}
_WRAPPERS = "DifferentialPrivacy"
# A message of Flower's that nobody sends: it never grows old.
_TTL = 1e6


class FlowerStrategy(ServerOptimizer):
    """A server strategy of Flower's as the ``optimizer`` of :func:`xaynet_sdk.simulate`::

        strategy = FlowerStrategy(flwr.serverapp.strategy.FedAdam(eta=0.03), arrays)
        result = xaynet_sdk.simulate(
            participants,
            model_length=len(strategy.layout),
            optimizer=strategy,
            initial_model=strategy.initial_model,
            aggregation=xaynet_sdk.WeightedMean(metrics=["train_loss"]),
            evaluate=strategy.evaluate,
        )

    Strategies that need no more than the mean do what they do in Flower: FedAvg, FedAvgM, FedAdagrad, FedAdam, FedYogi, FedProx, and your
    own. Those that look at single clients (Krum, FedMedian, QFedAvg and others) are refused.

    A strategy has a state that only it knows: it is for one simulation, which cannot be resumed. And it is Python, which no coordinator
    runs: at a real one use :class:`xaynet_sdk.FedAdam` and the others.

    Args:
        strategy: Of ``flwr.serverapp.strategy``, or of ``flwr.server.strategy``.
        initial: The arrays that training begins with: a list of NumPy arrays, an ``ArrayRecord`` or a dict of arrays by name. A strategy with
            ``initial_parameters`` of its own begins with those, of the same shapes.
        loss: The name of a metric that is the loss of the *global* model at the clients, if there is one: then the strategy's
            ``aggregate_evaluate`` is called with it and the other metrics.
        evaluate_fn: What ``Strategy.start`` of ``flwr.serverapp`` takes: called with the round's number and an ``ArrayRecord``. (Strategies of
            ``flwr.server`` have their own.)
    """

    def __init__(
        self,
        strategy: Any,
        initial: Any,
        *,
        loss: str | None = None,
        evaluate_fn: Callable[[int, Any], Any] | None = None,
    ) -> None:
        super().__init__(1.0)
        _refuse_single_clients(strategy)
        names, arrays = arrays_of(initial)
        if hasattr(strategy, "aggregate_train"):
            self._server: _Server = _ServerApp(strategy, names, evaluate_fn)
        elif hasattr(strategy, "aggregate_fit"):
            if evaluate_fn is not None:
                raise TypeError(
                    f"a {type(strategy).__name__} of flwr.server.strategy has an evaluate_fn of its own: give it that"
                )
            self._server = _ServerOfOld(strategy)
        else:
            raise TypeError(
                f"a strategy is one of flwr.serverapp.strategy or flwr.server.strategy, and {type(strategy).__name__} is "
                "neither"
            )
        _, self._layout = flatten(arrays)
        begins_with = self._server.initial() or arrays
        self._initial = self._layout.flatten(begins_with)
        self._server.latest = begins_with
        self._loss = loss
        self._told: dict[str, float] = {}
        #: The names of the aggregation's metrics.
        self._known: set[str] = set()

    @property
    def layout(self) -> Layout:
        """How the arrays lie in the vector; ``len(layout)`` is the length of the model."""
        return self._layout

    @property
    def initial_model(self) -> npt.NDArray[Any]:
        """The vector that the strategy begins with: for ``initial_model`` of ``simulate``."""
        return self._initial.copy()

    def fit_config(self, number: int = 0) -> dict[str, Any]:
        """What the strategy tells clients in the round that is on, for the ``config`` of :class:`FlowerParticipant`. (It is the same for
        all of them; whatever number a participant gives to its round, this is about the strategy's.)"""
        return dict(self._server.config(self.steps + 1))

    def evaluate(self, model: Any) -> dict[str, float]:
        """What the strategy says of the round that has just ended: for ``evaluate`` of ``simulate``. The metrics that it has aggregated
        (but for those that the aggregation tells already), and those of its evaluation at the server, where a name that is taken has
        ``centralized_`` before it."""
        evaluated = self._server.evaluate(self.steps, list(unflatten(model, self._layout)))
        taken = self._known | set(self._told)
        central = {
            f"centralized_{name}" if name in taken else name: each
            for name, each in _numbers(evaluated).items()
        }
        return {**self._told, **central}

    def step(self, model: Any, mean: Any) -> Any:
        return self.step_after(model, mean, None, 1)

    def step_after(self, model: Any, mean: Any, aggregate: Aggregate | None, models: int) -> Any:
        import numpy as np

        model, mean = np.asarray(model), np.asarray(mean)
        if self.steps == 0 and not np.array_equal(model, self._initial.astype(model.dtype)):
            raise ValueError(
                "the strategy begins with another model: give simulate initial_model=strategy.initial_model, and each "
                "simulation a strategy of its own"
            )
        number, examples, metrics = self.steps + 1, float(models), dict[str, float]()
        if aggregate is not None:
            examples = aggregate.samples * models
            counts = {name: mean_count * models for name, mean_count in aggregate.counts.items()}
            metrics = {**aggregate.metrics, **counts}
        self._known = set(metrics)
        self._server.latest = list(unflatten(model, self._layout))
        self._server.config(number)
        # Examples are counted.
        count = max(round(examples), 1)
        means = list(unflatten(mean, self._layout))
        arrays, told = self._server.aggregate(number, means, count, metrics)
        if arrays is None:
            raise ValueError(f"the strategy has made no model of round {number}")
        vector = self._layout.flatten(arrays)
        if len(vector) != len(mean) or not np.isfinite(vector).all():
            raise ValueError(
                f"the strategy has made {len(vector)} weights of round {number}, and they have to be {len(mean)} finite numbers"
            )
        told = dict(told)
        if self._loss is not None:
            if self._loss not in metrics:
                raise ValueError(
                    f"the aggregation has no metric {self._loss!r}; it has {', '.join(metrics) or 'none'}"
                )
            told |= self._server.aggregate_evaluate(number, metrics[self._loss], count, metrics)
        self._told = {
            name: each for name, each in _numbers(told).items() if name not in self._known
        }
        self._server.latest = arrays
        self.steps = number
        return vector.astype(mean.dtype)

    def _step(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("a strategy makes its steps itself")

    def begun_anew(self) -> Self:
        if self.steps:
            raise ValueError(
                "this strategy has a state from another simulation: make a new one for each of them"
            )
        return self

    def restore(self, state: Mapping[str, Any]) -> None:
        raise ValueError(
            "a simulation with a strategy of Flower's cannot be resumed, since only the strategy knows what it remembers: begin "
            "another one, with a new strategy, from the model that there is"
        )

    def __repr__(self) -> str:
        return f"<FlowerStrategy of {self._server.strategy!r} after {self.steps} rounds>"


def _refuse_single_clients(strategy: Any) -> None:
    for kind in type(strategy).__mro__:
        if not kind.__module__.startswith("flwr."):
            continue
        why = _OF_SINGLE_CLIENTS.get(kind.__name__)
        if kind.__name__.startswith(_WRAPPERS):
            why = _PRIVATE
        if why is not None:
            raise TypeError(f"{kind.__name__} {why}")


def _numbers(metrics: Any) -> dict[str, float]:
    """Those of the values that are numbers."""
    items = (metrics or {}).items()
    return {
        str(name): float(value)
        for name, value in items
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def arrays_of(initial: Any) -> tuple[list[str] | None, _Arrays]:
    """The arrays, and their names if they have any."""
    import numpy as np

    if hasattr(initial, "to_numpy_ndarrays"):
        return list(initial.keys()), initial.to_numpy_ndarrays()
    if isinstance(initial, Mapping):
        return [str(name) for name in initial], [np.asarray(array) for array in initial.values()]
    return None, [np.asarray(array) for array in initial]


class _Server(ABC):
    """What a server of Flower's does with its strategy."""

    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy
        #: What the round that is on begins with.
        self.latest: _Arrays = []
        #: The round that was begun last, and what clients are told in it.
        self._begun: tuple[int, Mapping[str, Any]] = (0, {})
        # Participants on several threads ask at the same time.
        self._asking = threading.Lock()

    def initial(self) -> _Arrays | None:
        """The strategy's own arrays to begin with, if it has any."""
        return None

    def config(self, number: int) -> Mapping[str, Any]:
        """What clients are told in a round: the strategy is asked once, when it begins."""
        with self._asking:
            if self._begun[0] != number:
                self._begun = (number, self._configure(number))
            return self._begun[1]

    @abstractmethod
    def _configure(self, number: int) -> Mapping[str, Any]:
        """Has the strategy begin a round."""

    @abstractmethod
    def aggregate(
        self, number: int, mean: _Arrays, examples: int, metrics: dict[str, float]
    ) -> tuple[_Arrays | None, Mapping[str, Any]]:
        """The next arrays, and metrics."""

    @abstractmethod
    def aggregate_evaluate(
        self, number: int, loss: float, examples: int, metrics: dict[str, float]
    ) -> Mapping[str, Any]:
        """What is made of the clients' evaluation."""

    @abstractmethod
    def evaluate(self, number: int, arrays: _Arrays) -> Mapping[str, Any] | None:
        """The evaluation at the server."""


class _ServerOfOld(_Server):
    """With a strategy of ``flwr.server.strategy``."""

    def __init__(self, strategy: Any) -> None:
        super().__init__(strategy)
        from flwr import common  # type: ignore[import-not-found, import-untyped, unused-ignore]

        self._common = common
        self._manager = _one_client(strategy)
        self._client = self._manager.sample(1)[0]

    def initial(self) -> _Arrays | None:
        parameters = self.strategy.initialize_parameters(self._manager)
        return None if parameters is None else self._common.parameters_to_ndarrays(parameters)

    def _configure(self, number: int) -> Mapping[str, Any]:
        parameters = self._common.ndarrays_to_parameters(self.latest)
        told = self.strategy.configure_fit(number, parameters, self._manager)
        return told[0][1].config if told else {}

    def aggregate(
        self, number: int, mean: _Arrays, examples: int, metrics: dict[str, float]
    ) -> tuple[_Arrays | None, Mapping[str, Any]]:
        common = self._common
        result = common.FitRes(
            common.Status(common.Code.OK, ""),
            common.ndarrays_to_parameters(mean),
            examples,
            dict(metrics),
        )
        after, fitted = self.strategy.aggregate_fit(number, [(self._client, result)], [])
        return None if after is None else common.parameters_to_ndarrays(after), fitted

    def aggregate_evaluate(
        self, number: int, loss: float, examples: int, metrics: dict[str, float]
    ) -> Mapping[str, Any]:
        common = self._common
        status = common.Status(common.Code.OK, "")
        result = common.EvaluateRes(status, loss, examples, dict(metrics))
        total, told = self.strategy.aggregate_evaluate(number, [(self._client, result)], [])
        return told if total is None else {"loss": total, **told}

    def evaluate(self, number: int, arrays: _Arrays) -> Mapping[str, Any] | None:
        evaluated = self.strategy.evaluate(number, self._common.ndarrays_to_parameters(arrays))
        if evaluated is None:
            return None
        loss, metrics = evaluated
        return {"loss": loss, **metrics}


def _one_client(strategy: Any) -> Any:
    """A manager of clients with one that stands for all."""
    from flwr.server.client_manager import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
        SimpleClientManager,
    )
    from flwr.server.client_proxy import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
        ClientProxy,
    )

    def nobody(*_: Any, **__: Any) -> Any:
        raise RuntimeError(
            "a strategy cannot call single clients: there is none that a server knows"
        )

    calls = ("get_properties", "get_parameters", "fit", "evaluate", "reconnect")
    client = type("AllClients", (ClientProxy,), dict.fromkeys(calls, nobody))("all")
    least = max(getattr(strategy, "min_available_clients", 1), 1)

    class Manager(SimpleClientManager):  # type: ignore[misc, unused-ignore]
        def num_available(self) -> int:
            return int(least)

        def wait_for(self, num_clients: int, timeout: int = 0) -> bool:
            return True

        def sample(self, *_: Any, **__: Any) -> list[Any]:
            return [client]

    return Manager()


class _ServerApp(_Server):
    """With a strategy of ``flwr.serverapp.strategy``."""

    def __init__(
        self, strategy: Any, names: list[str] | None, evaluate: Callable[[int, Any], Any] | None
    ) -> None:
        super().__init__(strategy)
        from flwr import app  # type: ignore[import-not-found, import-untyped, unused-ignore]

        _be_a_run()
        self._app = app
        self._names = names
        self._evaluate = evaluate

    def _record(self, arrays: _Arrays) -> Any:
        record = self._app.ArrayRecord(numpy_ndarrays=arrays)
        if self._names is None:
            return record
        named = zip(self._names, record.values(), strict=True)
        return self._app.ArrayRecord(array_dict=dict(named))

    def _configure(self, number: int) -> Mapping[str, Any]:
        config, grid = self._app.ConfigRecord({}), _Grid(self.strategy)
        record = self._record(self.latest)
        told = list(self.strategy.configure_train(number, record, config, grid))
        configs = told[0].content.config_records.values() if told else ()
        return {name: value for record in configs for name, value in record.items()}

    def aggregate(
        self, number: int, mean: _Arrays, examples: int, metrics: dict[str, float]
    ) -> tuple[_Arrays | None, Mapping[str, Any]]:
        content = self._content(examples, metrics)
        content["arrays"] = self._record(mean)
        reply = self._message(content, "train")
        after, told = self.strategy.aggregate_train(number, [reply])
        return None if after is None else after.to_numpy_ndarrays(), told or {}

    def aggregate_evaluate(
        self, number: int, loss: float, examples: int, metrics: dict[str, float]
    ) -> Mapping[str, Any]:
        reply = self._message(self._content(examples, metrics), "evaluate")
        return self.strategy.aggregate_evaluate(number, [reply]) or {}

    def evaluate(self, number: int, arrays: _Arrays) -> Mapping[str, Any] | None:
        return None if self._evaluate is None else self._evaluate(number, self._record(arrays))

    def _content(self, examples: int, metrics: dict[str, float]) -> Any:
        weighted_by = getattr(self.strategy, "weighted_by_key", "num-examples")
        record = self._app.MetricRecord({**metrics, weighted_by: examples})
        return self._app.RecordDict({"metrics": record})

    def _message(self, content: Any, kind: str) -> Any:
        metadata = self._app.Metadata(
            run_id=1,
            message_id="",
            src_node_id=1,
            dst_node_id=0,
            reply_to_message_id="",
            group_id="",
            created_at=time.time(),
            ttl=_TTL,
            message_type=kind,
        )
        return self._app.Message(content=content, metadata=metadata)


def _be_a_run() -> None:
    """Strategies make messages, and messages of Flower's are a run's: without one there is a number to be given."""
    with suppress(ImportError, AttributeError):
        from flwr.supercore.task_identity import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
            TaskIdentity,
        )

        for name in ("run_id", "node_id", "task_id"):
            try:
                getattr(TaskIdentity, name)
            except RuntimeError:
                setattr(TaskIdentity, name, 1)


class _Grid:
    """Nodes that stand for all, as many as a strategy waits for."""

    def __init__(self, strategy: Any) -> None:
        names = ("min_available_nodes", "min_train_nodes", "min_evaluate_nodes")
        self._nodes = max(1, *(int(getattr(strategy, name, 1)) for name in names))

    def get_node_ids(self) -> Iterable[int]:
        return range(1, self._nodes + 1)

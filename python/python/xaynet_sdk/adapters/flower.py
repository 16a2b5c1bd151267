"""Client apps and server strategies of `Flower <https://flower.ai>`_ (needs flwr; tested with 1.42).

A client app is a participant::

    from xaynet_sdk.adapters.flower import FlowerParticipant
    from my_flower_app.client_app import app

    aggregation = xaynet_sdk.WeightedMean(metrics=["train_loss"], reference_samples=1000)
    participant = xaynet_sdk.spawn_participant(
        "https://coordinator.example",
        FlowerParticipant,
        args=(app, initial_arrays),
        kwargs={"node_config": {"partition-id": 3, "num-partitions": 10}, "metrics": ["train_loss"]},
        aggregation=aggregation,
    )

The app is what it was: ``ClientApp`` with ``@app.train()``, or with a ``client_fn`` of a ``NumPyClient``; a ``NumPyClient`` alone does
as well. What it returns is masked, its number of examples and its metrics too: no server sees the model of a client.

In a simulation a server strategy makes the global models: see :class:`FlowerStrategy`.

What there is not: the server decides nothing for single clients. There is one configuration for all, known beforehand, instead of one that a
strategy sends; who trains is drawn by the protocol; strategies that look at single models (median, Krum) cannot be, since nobody sees
single models.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from xaynet_sdk.adapters._flower_strategy import FlowerStrategy, arrays_of
from xaynet_sdk.aggregation import Update
from xaynet_sdk.layout import Layout, flatten, unflatten
from xaynet_sdk.participant import ParticipantABC

if TYPE_CHECKING:
    import numpy.typing as npt

    _Arrays: TypeAlias = list[npt.NDArray[Any]]

__all__ = ["FlowerParticipant", "FlowerStrategy"]

_Config: TypeAlias = Mapping[str, bool | int | float | str]

# How Flower's apps tell how many examples they have trained on, if nobody says otherwise.
_EXAMPLES = "num-examples"
# A message of Flower's that nobody sends: it never grows old.
_TTL = 1e6


class FlowerParticipant(ParticipantABC["_Arrays", Update]):
    """A participant that trains with a client app of Flower's.

    Args:
        app: A ``ClientApp``, or a ``NumPyClient``.
        initial: The arrays that training begins with: a list of NumPy arrays, an ``ArrayRecord``, or a dict of arrays by name (such as
            a ``state_dict``), as the app expects them. All participants need the same shapes.
        metrics: The names of the numbers that the app returns and the aggregation sums.
        config: What the app is told with each training: ``msg.content["config"]``, or the ``config`` of ``fit``. The number of the round,
            counted from this participant's start, is there as ``server-round`` (``server_round`` for a ``NumPyClient``). A function of that
            number gives another one for each round: a strategy's ``on_fit_config_fn``, or :meth:`FlowerStrategy.fit_config`.
        node_config: The ``context.node_config`` of a ``ClientApp``, such as ``{"partition-id": 3}``.
        run_config: The ``context.run_config`` of a ``ClientApp``.
        examples: The name of the metric that says how many examples it was trained on.
    """

    global_model_as_array = True

    def __init__(
        self,
        app: Any,
        initial: Any,
        *,
        metrics: Sequence[str] = (),
        config: _Config | Callable[[int], _Config] | None = None,
        node_config: _Config | None = None,
        run_config: _Config | None = None,
        examples: str = _EXAMPLES,
    ) -> None:
        self._names, arrays = arrays_of(initial)
        self._vector, self._layout = flatten(arrays)
        self._metrics = tuple(metrics)
        self._config = config if callable(config) else dict(config or {})
        self._round = 0
        if hasattr(app, "fit"):
            self._trainer: _NumPyClient | _ClientApp = _NumPyClient(app)
        elif callable(app):
            self._trainer = _ClientApp(
                app, self._names, dict(node_config or {}), dict(run_config or {}), examples
            )
        else:
            raise TypeError(
                f"a client app of Flower is a ClientApp or a NumPyClient, and {type(app).__name__} is neither"
            )

    @property
    def layout(self) -> Layout:
        """How the arrays lie in the vector; ``len(layout)`` is the length of the model."""
        return self._layout

    @property
    def initial_model(self) -> npt.NDArray[Any]:
        """The vector that training begins with: for ``initial_model`` of ``simulate``."""
        return self._vector.copy()

    def deserialize_training_input(self, global_model: Any) -> _Arrays:
        return list(unflatten(global_model, self._layout))

    def train_round(self, training_input: _Arrays | None) -> Update:
        self._round += 1
        arrays = training_input
        if arrays is None:
            arrays = list(unflatten(self._vector, self._layout))
        config = self._config(self._round) if callable(self._config) else self._config
        trained, examples, told = self._trainer.train(arrays, dict(config), self._round)
        if len(trained) != len(arrays):
            raise ValueError(
                f"the client app was given {len(arrays)} arrays, and has returned {len(trained)}"
            )
        missing = next((name for name in self._metrics if name not in told), None)
        if missing is not None:
            known = ", ".join(sorted(told)) or "none"
            raise ValueError(f"the client app returns no metric {missing!r}; it returns {known}")
        metrics = {name: float(told[name]) for name in self._metrics}
        return Update(self._layout.flatten(trained), examples, metrics)

    def serialize_training_result(self, training_result: Update) -> Update:
        return training_result


class _NumPyClient:
    """Trains with ``fit``."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def train(
        self, arrays: _Arrays, config: dict[str, Any], number: int
    ) -> tuple[_Arrays, float, Mapping[str, Any]]:
        trained, examples, metrics = self._client.fit(arrays, {**config, "server_round": number})
        return list(trained), float(examples), metrics


class _ClientApp:
    """Trains with a message, as Flower's nodes do."""

    def __init__(
        self,
        app: Any,
        names: list[str] | None,
        node_config: dict[str, Any],
        run_config: dict[str, Any],
        examples: str,
    ) -> None:
        try:
            from flwr import app as flwr_app  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError as error:
            raise ModuleNotFoundError(
                f"a ClientApp needs flwr, which cannot be imported ({error}): pip install flwr",
                name="flwr",
            ) from error
        self._flwr = flwr_app
        self._app = app
        self._names = names
        self._examples = examples
        self._context = flwr_app.Context(
            run_id=1,
            node_id=1,
            node_config=node_config,
            state=flwr_app.RecordDict(),
            run_config=run_config,
        )

    def train(
        self, arrays: _Arrays, config: dict[str, Any], number: int
    ) -> tuple[_Arrays, float, Mapping[str, Any]]:
        # An app with a client_fn is of the older kind, which names its records otherwise.
        if getattr(self._app, "_call", None) is not None:
            return self._train_client(arrays, {**config, "server_round": number})
        flwr = self._flwr
        record = flwr.ArrayRecord(numpy_ndarrays=arrays)
        if self._names is not None:
            named = zip(self._names, record.values(), strict=True)
            record = flwr.ArrayRecord(array_dict=dict(named))
        content = flwr.RecordDict(
            {"arrays": record, "config": flwr.ConfigRecord({**config, "server-round": number})}
        )
        reply = self._app(self._message(content), self._context)
        if reply.has_error():
            raise RuntimeError(f"the client app has failed: {reply.error}")
        (trained,) = reply.content.array_records.values() or [None]
        if trained is None:
            raise ValueError("the client app returns no arrays")
        metrics = {
            name: value
            for record in reply.content.metric_records.values()
            for name, value in record.items()
        }
        if self._examples not in metrics:
            raise ValueError(
                f"the client app returns no metric {self._examples!r}, which says how many examples it was trained on: "
                "name yours with examples="
            )
        return trained.to_numpy_ndarrays(), float(metrics[self._examples]), metrics

    def _train_client(
        self, arrays: _Arrays, config: dict[str, Any]
    ) -> tuple[_Arrays, float, Mapping[str, Any]]:
        from flwr.common import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
            FitIns,
            ndarrays_to_parameters,
            parameters_to_ndarrays,
        )
        from flwr.compat.common.recorddict_compat import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
            fitins_to_recorddict,
            recorddict_to_fitres,
        )

        told = FitIns(ndarrays_to_parameters(arrays), config)
        content = fitins_to_recorddict(told, keep_input=True)
        reply = self._app(self._message(content), self._context)
        if reply.has_error():
            raise RuntimeError(f"the client app has failed: {reply.error}")
        result = recorddict_to_fitres(reply.content, keep_input=True)
        arrays = parameters_to_ndarrays(result.parameters)
        return arrays, float(result.num_examples), result.metrics

    def _message(self, content: Any) -> Any:
        metadata = self._flwr.Metadata(
            run_id=1,
            message_id="",
            src_node_id=0,
            dst_node_id=1,
            reply_to_message_id="",
            group_id="",
            created_at=time.time(),
            ttl=_TTL,
            message_type="train",
        )
        return self._flwr.Message(content=content, metadata=metadata)

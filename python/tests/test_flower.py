"""Client apps of Flower's as participants, with the real flwr where it is installed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import xaynet_sdk
from xaynet_sdk import WeightedMean
from xaynet_sdk.adapters.flower import FlowerParticipant, FlowerStrategy

AGGREGATION = WeightedMean(metrics=["loss"], reference_samples=100)
INITIAL = [np.zeros((2, 2), np.float32), np.ones(1, np.float32)]
EXAMPLES = [10, 40, 100, 25]


class Client:
    """What a NumPyClient has of its own."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.configs: list[dict[str, Any]] = []

    def fit(
        self, parameters: list[np.ndarray], config: dict[str, Any]
    ) -> tuple[list[np.ndarray], int, dict[str, Any]]:
        self.configs.append(config)
        trained = [array + np.float32(0.01 * (self.index + 1)) for array in parameters]
        return trained, EXAMPLES[self.index], {"loss": 0.1 * self.index}


def run(participants: list[FlowerParticipant]) -> xaynet_sdk.Simulation:
    return xaynet_sdk.simulate(
        participants,
        model_length=len(participants[0].layout),
        rounds=2,
        mask="Word64/F32/B4/M3",
        protocol="v2",
        groups=1,
        members=1,
        aggregation=AGGREGATION,
        initial_model=participants[0].initial_model,
        progress=False,
    )


def check(result: xaynet_sdk.Simulation) -> None:
    """FedAvg, as Flower's own strategy computes it: weighted by examples."""
    step = sum(n * 0.01 * (i + 1) for i, n in enumerate(EXAMPLES)) / sum(EXAMPLES)
    loss = sum(n * 0.1 * i for i, n in enumerate(EXAMPLES)) / sum(EXAMPLES)
    assert result.model is not None
    np.testing.assert_allclose(result.model, [2 * step] * 4 + [1 + 2 * step], atol=1e-5)
    for done in result.rounds:
        assert done.metrics["loss"] == pytest.approx(loss, abs=1e-5)
        assert done.samples == pytest.approx(sum(EXAMPLES), rel=1e-5)


def test_a_client_alone_takes_part() -> None:
    clients = [Client(index) for index in range(4)]
    check(
        run(
            [
                FlowerParticipant(client, INITIAL, metrics=["loss"], config={"epochs": 3})
                for client in clients
            ]
        )
    )
    assert clients[0].configs[:2] == [{"epochs": 3, "server_round": n} for n in (1, 2)]


def test_what_the_app_does_not_return_is_named() -> None:
    with pytest.raises(ValueError, match="no metric 'accuracy'; it returns loss"):
        FlowerParticipant(Client(0), INITIAL, metrics=["accuracy"]).train_round(None)
    with pytest.raises(TypeError, match="a ClientApp or a NumPyClient, and int is neither"):
        FlowerParticipant(3, INITIAL)

    class Short(Client):
        def fit(self, parameters: Any, config: Any) -> Any:
            return parameters[:1], 1, {}

    with pytest.raises(ValueError, match="was given 2 arrays, and has returned 1"):
        FlowerParticipant(Short(0), INITIAL).train_round(None)


def test_an_app_with_a_client_fn_takes_part() -> None:
    pytest.importorskip("flwr")
    from flwr.client import NumPyClient
    from flwr.clientapp import ClientApp

    class Real(Client, NumPyClient):
        pass

    def client_fn(context: Any) -> Any:
        return Real(int(context.node_config["partition-id"])).to_client()

    app = ClientApp(client_fn=client_fn)
    check(
        run(
            [
                FlowerParticipant(
                    app, INITIAL, metrics=["loss"], node_config={"partition-id": index}
                )
                for index in range(4)
            ]
        )
    )


def test_an_app_that_answers_messages_takes_part() -> None:
    pytest.importorskip("flwr")
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp

    app = ClientApp()

    @app.train()
    def train(message: Any, context: Any) -> Any:
        arrays = message.content["arrays"]
        assert list(arrays.keys()) == ["weight", "bias"]
        assert message.content["config"]["lr"] == 0.1
        # The state is the node's own, and stays.
        seen = context.state.get("seen", MetricRecord({"rounds": 0}))
        context.state["seen"] = MetricRecord({"rounds": int(seen["rounds"]) + 1})
        assert message.content["config"]["server-round"] == context.state["seen"]["rounds"]
        index = context.node_config["partition-id"]
        step = np.float32(0.01 * (index + 1))
        trained = ArrayRecord(numpy_ndarrays=[each + step for each in arrays.to_numpy_ndarrays()])
        metrics = MetricRecord({"loss": 0.1 * index, "num-examples": EXAMPLES[index]})
        return Message(RecordDict({"arrays": trained, "metrics": metrics}), reply_to=message)

    initial = {"weight": INITIAL[0], "bias": INITIAL[1]}
    check(
        run(
            [
                FlowerParticipant(
                    app,
                    initial,
                    metrics=["loss"],
                    config={"lr": 0.1},
                    node_config={"partition-id": index},
                )
                for index in range(4)
            ]
        )
    )


def test_an_app_that_does_not_say_how_many_examples_is_told_so() -> None:
    pytest.importorskip("flwr")
    from flwr.app import Message, RecordDict
    from flwr.clientapp import ClientApp

    app = ClientApp()

    @app.train()
    def train(message: Any, context: Any) -> Any:
        return Message(RecordDict({"arrays": message.content["arrays"]}), reply_to=message)

    with pytest.raises(ValueError, match="no metric 'num-examples'"):
        FlowerParticipant(app, INITIAL).train_round(None)


class Trainee(Client):
    """Its model depends on the global one, so that a strategy's steps matter."""

    def fit(
        self, parameters: list[np.ndarray], config: dict[str, Any]
    ) -> tuple[list[np.ndarray], int, dict[str, Any]]:
        self.configs.append(config)
        trained = [array * 0.9 + 0.1 * (self.index + 1) for array in parameters]
        return trained, EXAMPLES[self.index], {"loss": 0.1 * self.index}


ROUNDS = 3
BEGINNING = [np.zeros((2, 2)), np.ones(1)]


def fed(strategy: Any) -> tuple[xaynet_sdk.Simulation, list[list[dict[str, Any]]]]:
    """A simulation with a strategy as its optimizer, and what clients were told."""
    clients = [Trainee(index) for index in range(4)]
    result = xaynet_sdk.simulate(
        [
            FlowerParticipant(client, BEGINNING, metrics=["loss"], config=strategy.fit_config)
            for client in clients
        ],
        model_length=len(strategy.layout),
        rounds=ROUNDS,
        mask="Word64/F64/B2/M3",
        masked=False,
        aggregation=AGGREGATION,
        optimizer=strategy,
        initial_model=strategy.initial_model,
        evaluate=strategy.evaluate,
        keep_models=True,
        progress=False,
    )
    return result, [client.configs for client in clients]


def flat(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays])


@pytest.mark.parametrize("kind", ["FedAvg", "FedAvgM", "FedAdagrad", "FedAdam", "FedYogi"])
def test_a_strategy_of_old_makes_of_the_mean_what_it_makes_of_all_results(kind: str) -> None:
    strategies = pytest.importorskip("flwr.server.strategy")
    common = pytest.importorskip("flwr.common")
    options: dict[str, Any] = {"initial_parameters": common.ndarrays_to_parameters(BEGINNING)}
    if kind == "FedAvgM":
        options["server_momentum"] = 0.5
    strategy = FlowerStrategy(getattr(strategies, kind)(**options), BEGINNING, loss="loss")
    result, _ = fed(strategy)

    # As Flower's server does, which sees them all.
    real = getattr(strategies, kind)(**options)
    arrays, clients = BEGINNING, [Trainee(index) for index in range(4)]
    for number in range(1, ROUNDS + 1):
        results = []
        for client in clients:
            trained, examples, metrics = client.fit(arrays, {})
            status = common.Status(common.Code.OK, "")
            parameters = common.ndarrays_to_parameters(trained)
            results.append((None, common.FitRes(status, parameters, examples, metrics)))
        after, _ = real.aggregate_fit(number, results, [])
        arrays = common.parameters_to_ndarrays(after)
        np.testing.assert_allclose(result.models[number - 1], flat(arrays), atol=1e-9)
    loss = sum(n * 0.1 * i for i, n in enumerate(EXAMPLES)) / sum(EXAMPLES)
    assert result.rounds[-1].metrics == {"loss": pytest.approx(loss, abs=1e-6)}


@pytest.mark.parametrize(
    "kind", ["FedAvg", "FedAvgM", "FedAdagrad", "FedAdam", "FedYogi", "FedProx"]
)
def test_a_strategy_makes_of_the_mean_what_it_makes_of_all_results(kind: str) -> None:
    strategies = pytest.importorskip("flwr.serverapp.strategy")
    app = pytest.importorskip("flwr.app")
    options: dict[str, Any] = {"FedAvgM": {"server_momentum": 0.5}, "FedProx": {"proximal_mu": 0.1}}
    options = options.get(kind, {})
    strategy = FlowerStrategy(
        getattr(strategies, kind)(**options),
        {"weight": BEGINNING[0], "bias": BEGINNING[1]},
        evaluate_fn=lambda number, record: app.MetricRecord(
            {"loss": float(number), "bias": float(record["bias"].numpy()[0])}
        ),
    )
    result, configs = fed(strategy)

    real = getattr(strategies, kind)(**options)
    arrays, clients = BEGINNING, [Trainee(index) for index in range(4)]
    names = ["weight", "bias"]
    for number in range(1, ROUNDS + 1):
        if hasattr(real, "current_arrays"):
            record = dict(zip(names, map(app.Array, arrays), strict=True))
            real.current_arrays = (
                app.ArrayRecord(record)
                if kind == "FedAvgM" and real.current_arrays is None
                else real.current_arrays
                if kind == "FedAvgM"
                else dict(zip(names, arrays, strict=True))
            )
        replies = []
        for client in clients:
            trained, examples, metrics = client.fit(arrays, {})
            content = app.RecordDict(
                {
                    "arrays": app.ArrayRecord(
                        dict(zip(names, map(app.Array, trained), strict=True))
                    ),
                    "metrics": app.MetricRecord({**metrics, "num-examples": examples}),
                }
            )
            replies.append(strategy._server._message(content, "train"))  # type: ignore[attr-defined]
        after, _ = real.aggregate_train(number, replies)
        arrays = after.to_numpy_ndarrays()
        np.testing.assert_allclose(result.models[number - 1], flat(arrays), atol=1e-9)
    last = result.rounds[-1].metrics
    assert last["centralized_loss"] == ROUNDS
    assert result.model is not None
    assert last["bias"] == pytest.approx(result.model[-1])
    told = configs[0]
    assert [config["server_round"] for config in told] == [1, 2, 3]
    assert [config["server-round"] for config in told] == [1, 2, 3]
    if kind == "FedProx":
        assert all(config["proximal-mu"] == 0.1 for config in told)


def test_a_round_is_configured_once_for_participants_on_several_threads() -> None:
    strategies = pytest.importorskip("flwr.server.strategy")
    asked: list[int] = []
    inside, other = threading.Event(), threading.Event()

    class Slow(strategies.FedAvg):  # type: ignore[misc, name-defined]
        def configure_fit(self, server_round: int, *rest: Any) -> Any:
            asked.append(server_round)
            (other if inside.is_set() else inside).set()
            # Nobody else comes in meanwhile.
            assert not other.wait(0.2)
            return super().configure_fit(server_round, *rest)

    strategy = FlowerStrategy(
        Slow(on_fit_config_fn=lambda number: {"epochs": number * 10}), BEGINNING
    )
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(strategy.fit_config)
        assert inside.wait(10)
        second = threads.submit(strategy.fit_config)
        assert first.result() == second.result() == {"epochs": 10}
    assert asked == [1]


def test_hooks_of_a_strategy_are_called_with_what_was_summed() -> None:
    strategies = pytest.importorskip("flwr.server.strategy")
    calls: list[Any] = []

    class Mine(strategies.FedAvg):  # type: ignore[misc, name-defined]
        def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
            ((_, result),) = results
            calls.append((server_round, result.num_examples, dict(result.metrics), failures))
            parameters, _ = super().aggregate_fit(server_round, results, failures)
            return parameters, {"norm": 2.0}

        def aggregate_evaluate(self, server_round: int, results: Any, failures: Any) -> Any:
            ((_, result),) = results
            return result.loss * 2, {"examples": result.num_examples}

    strategy = FlowerStrategy(
        Mine(
            on_fit_config_fn=lambda number: {"epochs": number * 10},
            evaluate_fn=lambda number, arrays, _: (0.5, {"accuracy": number / 10}),
        ),
        BEGINNING,
        loss="loss",
    )
    result, configs = fed(strategy)
    loss = pytest.approx(sum(n * 0.1 * i for i, n in enumerate(EXAMPLES)) / sum(EXAMPLES))
    assert calls == [(number, sum(EXAMPLES), {"loss": loss}, []) for number in (1, 2, 3)]
    assert [config["epochs"] for config in configs[2]] == [10, 20, 30]
    assert result.rounds[2].metrics == {
        "loss": loss,
        "norm": 2.0,
        "examples": sum(EXAMPLES),
        "centralized_loss": 0.5,
        "accuracy": 0.3,
    }


@pytest.mark.parametrize(
    ("module", "kind", "options", "why"),
    [
        ("flwr.serverapp.strategy", "Krum", {}, "single clients"),
        ("flwr.serverapp.strategy", "MultiKrum", {}, "single clients"),
        ("flwr.serverapp.strategy", "FedMedian", {}, "single clients"),
        ("flwr.serverapp.strategy", "FedTrimmedAvg", {}, "single clients"),
        ("flwr.serverapp.strategy", "Bulyan", {}, "single clients"),
        ("flwr.serverapp.strategy", "QFedAvg", {"client_learning_rate": 0.1}, "no single loss"),
        ("flwr.serverapp.strategy", "FedXgbBagging", {}, "trees cannot be summed"),
        ("flwr.server.strategy", "FedMedian", {}, "single clients"),
        ("flwr.server.strategy", "QFedAvg", {}, "no single loss"),
        ("flwr.server.strategy", "FedXgbCyclic", {}, "trees cannot be summed"),
    ],
)
def test_strategies_that_need_single_clients_are_refused(
    module: str, kind: str, options: dict[str, Any], why: str
) -> None:
    strategies = pytest.importorskip(module)
    made = type("Mine", (getattr(strategies, kind),), {})(**options)
    with pytest.raises(TypeError, match=f"{kind} .*{why}"):
        FlowerStrategy(made, BEGINNING)


def test_noise_of_a_strategy_is_refused_with_what_there_is_instead() -> None:
    strategies = pytest.importorskip("flwr.serverapp.strategy")
    noisy = strategies.DifferentialPrivacyServerSideFixedClipping(
        strategies.FedAvg(), noise_multiplier=1.0, clipping_norm=1.0, num_sampled_clients=4
    )
    with pytest.raises(TypeError, match="ClientNoise"):
        FlowerStrategy(noisy, BEGINNING)


def test_a_strategy_is_for_one_simulation_that_begins_with_its_model() -> None:
    strategies = pytest.importorskip("flwr.serverapp.strategy")
    with pytest.raises(TypeError, match="neither"):
        FlowerStrategy(object(), BEGINNING)
    strategy = FlowerStrategy(strategies.FedAvg(), BEGINNING)
    with pytest.raises(TypeError, match="it is for xaynet_sdk.simulate"):
        xaynet_sdk.Coordinator(5, optimizer=strategy)
    other = strategy.initial_model + 1
    with pytest.raises(ValueError, match="initial_model=strategy.initial_model"):
        strategy.step(other, other)
    result, _ = fed(strategy)
    with pytest.raises(ValueError, match="another simulation"):
        fed(strategy)
    with pytest.raises(ValueError, match="cannot be resumed"):
        xaynet_sdk.simulate(
            [FlowerParticipant(Trainee(index), BEGINNING, metrics=["loss"]) for index in range(4)],
            model_length=5,
            rounds=ROUNDS + 1,
            mask="Word64/F64/B2/M3",
            masked=False,
            aggregation=AGGREGATION,
            optimizer=FlowerStrategy(strategies.FedAvg(), BEGINNING),
            resume=result,
            progress=False,
        )

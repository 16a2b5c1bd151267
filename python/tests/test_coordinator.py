"""The coordinator in this process."""

from __future__ import annotations

import copy
import pickle
import threading
import urllib.request
from typing import Any

import numpy as np
import pytest
from conftest import wait_until

import xaynet_sdk


class Constant(xaynet_sdk.ParticipantABC[Any, Any]):
    """Has the same model every time."""

    global_model_as_array = True

    def __init__(self, weights: list[float]) -> None:
        self.weights = weights

    def train_round(self, training_input: Any) -> list[float]:
        return self.weights

    def serialize_training_result(self, training_result: list[float]) -> list[float]:
        return training_result

    def deserialize_training_input(self, global_model: Any) -> Any:
        return global_model


def test_a_round_over_http() -> None:
    settings = {"pet.sum.time.max": 1, "pet.update.time.max": 5}
    with xaynet_sdk.Coordinator(2, mask="Prime/F64/B0/M3", settings=settings) as coordinator:
        assert coordinator.global_model() is None
        participants = [
            xaynet_sdk.spawn_participant(coordinator.url, Constant, ([0.5, -0.25],))
            for _ in range(8)
        ]
        coordinator.wait_for_round(1)
        model = coordinator.global_model()
        assert isinstance(model, np.ndarray)
        assert model.dtype == np.float64
        assert np.allclose(model, [0.5, -0.25], atol=1e-9)
        first = coordinator.rounds()[0]
        assert np.allclose(coordinator.global_model(first, as_array=False), [0.5, -0.25], atol=1e-9)
        assert coordinator.global_model(10_000) is None
        assert coordinator.status()["model"]["length"] == 2
        for participant in participants:
            participant.stop()


def wait_until_it_begins(coordinator: xaynet_sdk.Coordinator) -> None:
    """It listens a moment before there is a round."""
    wait_until(lambda: coordinator.status()["phase"]["name"] == "sum", "the first round begins")


def test_it_ends_with_the_block() -> None:
    with xaynet_sdk.Coordinator(2) as coordinator:
        url = coordinator.url
        wait_until_it_begins(coordinator)
        with urllib.request.urlopen(f"{url}/params", timeout=30) as answer:
            assert answer.status == 200
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{url}/params", timeout=30)
    coordinator.stop()
    for call in (coordinator.status, coordinator.rounds, coordinator.global_model):
        with pytest.raises(xaynet_sdk.XaynetError, match="was stopped"):
            call()


def test_two_at_a_time_have_ports_of_their_own() -> None:
    with xaynet_sdk.Coordinator(1) as one, xaynet_sdk.Coordinator(1) as other:
        assert one.url != other.url
        with pytest.raises(xaynet_sdk.CoordinatorInit, match="cannot listen"):
            xaynet_sdk.Coordinator(1, bind=one.url.removeprefix("http://"))


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(xaynet_sdk.CoordinatorInit) as caught:
        xaynet_sdk.Coordinator(0, settings={"pet": {"sum": {"prob": 3}}, "no.such": 1})
    message = str(caught.value)
    for part in ("model.length = 0", "pet.sum.prob = 3", 'settings["no.such"]'):
        assert part in message
    with pytest.raises(xaynet_sdk.CoordinatorInit, match="such as Prime/F32/B0/M3"):
        xaynet_sdk.Coordinator(1, mask="F32")


def test_nobody_has_to_stop_it() -> None:
    coordinator = xaynet_sdk.Coordinator(1)
    url = coordinator.url
    del coordinator
    with pytest.raises(OSError):
        # It is stopped in the background: soon, and not necessarily at once.
        for _ in range(10_000):
            urllib.request.urlopen(f"{url}/params", timeout=30).close()


def test_waiting_has_an_end() -> None:
    with xaynet_sdk.Coordinator(1) as coordinator, pytest.raises(TimeoutError, match="round 1"):
        coordinator.wait_for_round(1, timeout=0.1)


def test_a_with_block_stops_the_participant_and_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    # What is promised here is so unless it takes longer than that.
    monkeypatch.setattr("xaynet_sdk.participant._GRACE", 60.0)
    called = threading.Event()

    class Failing(Constant):
        def on_new_global_model(self, global_model: Any) -> None:
            called.set()
            raise RuntimeError("mine")

    with xaynet_sdk.Coordinator(2) as coordinator:
        with pytest.raises(RuntimeError, match="^mine$"):
            with xaynet_sdk.spawn_participant(coordinator.url, Failing, ([0.0, 0.0],)) as spawned:
                assert called.wait(30)
        with pytest.raises(xaynet_sdk.UninitializedParticipant):
            spawned.stop()
        # An error of the block itself is not replaced.
        with pytest.raises(KeyError):
            with xaynet_sdk.spawn_participant(coordinator.url, Failing, ([0.0, 0.0],)):
                raise KeyError
        with xaynet_sdk.spawn_participant(coordinator.url, Constant, ([0.0, 0.0],)) as spawned:
            spawned.stop()
        assert not spawned.is_alive()


@pytest.mark.parametrize(
    "arguments",
    [
        {"mask": 5},
        {"settings": [1]},
        {"settings": {1: 2}},
        {"settings": {"pet": {1: 2}}},
        {"model_length": -1},
    ],
)
def test_arguments_of_the_wrong_kind_are_told(arguments: Any) -> None:
    for kind in (xaynet_sdk.Coordinator, xaynet_sdk.protocol.CoordinatorMachine):
        with pytest.raises(xaynet_sdk.CoordinatorInit):
            kind(**{"model_length": 4, **arguments})


def test_a_seed_of_another_length_is_told() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        xaynet_sdk.Coordinator(4, seed=b"short")


def test_a_stopped_one_is_not_entered_again() -> None:
    coordinator = xaynet_sdk.Coordinator(4)
    coordinator.stop()
    with pytest.raises(xaynet_sdk.XaynetError, match="stopped"), coordinator:
        pass


def test_waiting_in_vain_tells_where_it_is() -> None:
    with xaynet_sdk.Coordinator(4) as coordinator:
        wait_until_it_begins(coordinator)
        with pytest.raises(TimeoutError, match="sum phase of round 1 and has 0 of at least 1"):
            coordinator.wait_for_round(1, timeout=0.01)


def test_it_is_not_copied() -> None:
    with xaynet_sdk.Coordinator(4) as coordinator:
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                duplicate(coordinator)


def test_an_initial_model_is_what_the_first_round_begins_with() -> None:
    begin = np.array([0.5, -0.25, 0.125, 0.0], np.float32)
    with xaynet_sdk.Coordinator(4, initial_model=begin) as coordinator:
        assert coordinator.rounds() == [0]
        model = coordinator.global_model()
        assert model is not None and np.array_equal(model, begin)
        participant, _ = xaynet_sdk.spawn_async_participant(coordinator.url)
        with participant:
            assert participant.get_global_model() == begin.tolist()
    aggregation = xaynet_sdk.WeightedMean(metrics=["loss"])
    with xaynet_sdk.Coordinator(4, initial_model=begin, aggregation=aggregation) as coordinator:
        model = coordinator.global_model()
        assert model is not None and np.array_equal(model, begin)
    for wrong in ([1.0], begin.reshape(2, 2), [1.0, 2.0, 3.0, float("nan")]):
        with pytest.raises(xaynet_sdk.CoordinatorInit, match="initial model"):
            xaynet_sdk.Coordinator(4, initial_model=wrong)


class Pulled(xaynet_sdk.ParticipantABC[Any, Any]):
    """All make the same of the global model: whoever is drawn, the mean is the same."""

    global_model_as_array = True

    def deserialize_training_input(self, global_model: Any) -> Any:
        return global_model

    def train_round(self, training_input: Any) -> Any:
        return pulled(training_input)

    def serialize_training_result(self, training_result: Any) -> Any:
        return training_result


def pulled(model: Any) -> Any:
    assert model is not None
    goal = np.linspace(-1, 1, 5, dtype=np.float32)
    return model + np.float32(0.4) * (goal - model)


def pulled_with_sums(model: Any) -> xaynet_sdk.Update:
    return xaynet_sdk.Update(pulled(model), samples=30, metrics={"loss": 0.5})


class PulledWithSums(Pulled):
    def train_round(self, training_input: Any) -> Any:
        return pulled_with_sums(training_input)


@pytest.mark.parametrize("with_sums", [False, True])
def test_an_optimizer_makes_the_steps_of_a_simulation(with_sums: bool) -> None:
    aggregation = xaynet_sdk.WeightedMean(["loss"], reference_samples=40) if with_sums else None
    begin = np.array([0.5, 0.25, 0.0, -0.25, 0.125], np.float32)
    optimizer = xaynet_sdk.FedAdam(lambda step: 0.1 if step < 2 else 0.05, tau=0.01)
    settings = {
        "pet.sum.prob": 0.3,
        "pet.sum.time.min": 0.05,
        "pet.sum.time.max": 1,
        "pet.update.time.min": 0.05,
        "pet.update.time.max": 5,
        "pet.sum2.time.min": 0.05,
        "storage.models_kept": 100,
    }
    rounds = 4
    with xaynet_sdk.Coordinator(
        5,
        settings=settings,
        initial_model=begin,
        optimizer=optimizer,
        aggregation=aggregation,
    ) as coordinator:
        participants = [
            xaynet_sdk.spawn_participant(
                coordinator.url, PulledWithSums if with_sums else Pulled, aggregation=aggregation
            )
            for _ in range(8)
        ]
        while len(coordinator.rounds()) <= rounds:
            coordinator.wait_for_round(coordinator.rounds()[-1] + 1)
        kept = coordinator.rounds()[: rounds + 1]
        found = [coordinator.global_model(number) for number in kept]
        for participant in participants:
            participant.stop()
    assert found[0].tolist() == begin.tolist()
    expected = xaynet_sdk.simulate(
        [pulled_with_sums if with_sums else pulled] * 4,
        model_length=5,
        rounds=rounds,
        masked=False,
        initial_model=begin,
        optimizer=optimizer,
        aggregation=aggregation,
        keep_models=True,
        progress=False,
    )
    for ours, theirs in zip(expected.models, found[1:], strict=True):
        assert ours.tobytes() == theirs.tobytes()
    assert not np.array_equal(found[1], pulled(begin))


def test_what_is_no_optimizer_for_a_coordinator_is_told() -> None:
    with pytest.raises(TypeError, match=r"such as FedAdam\(\)"):
        xaynet_sdk.Coordinator(5, optimizer=3)  # type: ignore[arg-type]
    with pytest.raises(xaynet_sdk.CoordinatorInit, match="mask of whole numbers"):
        xaynet_sdk.Coordinator(5, mask="Prime/I32/B0/M3", optimizer=xaynet_sdk.FedAvgM())

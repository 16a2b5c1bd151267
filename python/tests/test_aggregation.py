"""Means weighted by samples, and metrics, through all the ways to take part."""

from __future__ import annotations

import asyncio
import math
import warnings

import numpy as np
import pytest
import xaynet_sdk
from conftest import wait_until
from hypothesis import given
from hypothesis import strategies as st
from xaynet_sdk import Aggregate, AggregationError, SamplesWarning, Update, WeightedMean, aio

AGGREGATION = WeightedMean(metrics=["loss"], counts=["right"], reference_samples=100)
SETTINGS = {
    "pet.sum.prob": 0.3,
    "pet.sum.time.max": 2,
    "pet.update.time.max": 5,
    "pet.sum2.time.max": 5,
}
FINE = "Prime/F64/B2/M3"
SAMPLES = [10, 40, 100, 25, 75, 5]


def update(index: int) -> Update:
    """Of a participant: its number says all."""
    samples = SAMPLES[index]
    return Update(
        np.array([index, -index, 0.5]),
        samples=samples,
        metrics={"loss": index / 10},
        counts={"right": samples // 2},
    )


def mean(indices: list[int], what: list[float]) -> float:
    return sum(SAMPLES[index] * what[index] for index in indices) / sum(
        SAMPLES[index] for index in indices
    )


numbers = st.floats(-1e3, 1e3)
updates = st.builds(
    lambda model, samples, loss, right: Update(
        np.array(model), samples, {"loss": loss}, {"right": right}
    ),
    st.lists(numbers, min_size=3, max_size=3),
    st.floats(0.01, 100),
    numbers,
    st.floats(0, 1e4),
)


@given(st.lists(updates, min_size=1, max_size=8))
def test_the_mean_of_the_vectors_is_that_of_all_samples(several: list[Update]) -> None:
    total = sum(each.samples or 0 for each in several)
    got = AGGREGATION.unpack(np.mean([AGGREGATION.pack(each) for each in several], axis=0))
    model = sum(np.asarray(each.model) * (each.samples or 0) for each in several) / total
    np.testing.assert_allclose(got.model, model, rtol=1e-9, atol=1e-9)
    loss = sum(each.metrics["loss"] * (each.samples or 0) for each in several) / total
    assert got.metrics["loss"] == pytest.approx(loss, rel=1e-9, abs=1e-9)
    assert got.samples * len(several) == pytest.approx(total)
    right = sum(each.counts["right"] for each in several)
    assert got.counts["right"] * len(several) == pytest.approx(right, abs=1e-6)
    assert got.per_sample("right") == pytest.approx(right / total, abs=1e-6)


def test_the_type_of_the_model_is_that_of_the_vector() -> None:
    assert WeightedMean().pack(Update(np.ones(2, np.float32))).tolist() == [1, 1, 1]
    assert WeightedMean().pack(Update(np.ones(2, np.float32))).dtype == np.float32
    assert WeightedMean().pack(Update([1, 2])).dtype == np.float64
    model = WeightedMean().unpack(np.array([2, 4, 2], np.float32)).model
    assert model.dtype == np.float32
    assert model.tolist() == [1, 2]


def test_who_does_not_say_how_many_samples_counts_as_the_reference_does() -> None:
    vector = WeightedMean(reference_samples=50).pack(Update([3.0]))
    assert vector.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (Update([1.0], metrics={"loss": 1.0}), ValueError, "no count 'right'"),
        (Update([1.0], counts={"right": 1.0}), ValueError, "no metric 'loss'"),
        (Update([1.0], metrics={"lose": 1.0}), ValueError, "no metric 'lose'; it has loss"),
        (Update([1.0], 0, {"loss": 1.0}, {"right": 1}), ValueError, "positive number of samples"),
        (Update([1.0], math.nan, {"loss": 1.0}, {"right": 1}), ValueError, "finite"),
        (Update([1.0], 1, {"loss": math.inf}, {"right": 1}), ValueError, "'loss' is a finite"),
        (Update([1.0], 1, {"loss": "x"}, {"right": 1}), TypeError, "'loss' is a number"),  # type: ignore[dict-item]
        (Update(np.ones((2, 2)), 1, {"loss": 1}, {"right": 1}), TypeError, "2 dimensions"),
        (np.ones(3), TypeError, "gives xaynet_sdk.Update.* and not ndarray"),
    ],
)
def test_what_is_missing_or_makes_no_sense_is_named(
    wrong: Update, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        AGGREGATION.pack(wrong)


def test_an_aggregation_has_names_and_each_once() -> None:
    with pytest.raises(TypeError, match="list of names"):
        WeightedMean(metrics="loss")
    with pytest.raises(ValueError, match="'a' is there twice"):
        WeightedMean(metrics=["a"], counts=["a"])
    for reference in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="reference_samples"):
            WeightedMean(reference_samples=reference)
    assert WeightedMean(metrics=["a"]) == WeightedMean(metrics=("a",))
    assert AGGREGATION.length(10) == 13


@pytest.mark.parametrize(
    "vector",
    [np.ones(3), np.zeros(9), -np.ones(9), np.full(9, np.nan), np.ones(9, np.int32)],
)
def test_what_is_no_such_mean_is_refused(vector: np.ndarray) -> None:
    with pytest.raises(AggregationError):
        AGGREGATION.unpack(vector)


def test_more_samples_than_the_reference_count_as_the_reference_and_are_told() -> None:
    large = Update([1.0], 400, {"loss": 2.0}, {"right": 3})
    with pytest.warns(SamplesWarning, match="400 samples count only as 100"):
        vector = AGGREGATION.pack(large)
    assert AGGREGATION.unpack(vector).metrics["loss"] == 2.0


def test_a_simulation_has_models_and_metrics_weighted_by_samples() -> None:
    took_part: list[int] = []
    seen: list[object] = []

    def participant(index: int):  # type: ignore[no-untyped-def]
        def train(model: np.ndarray | None) -> Update:
            took_part.append(index)
            seen.append(model)
            return update(index)

        return train

    result = xaynet_sdk.simulate(
        [participant(index) for index in range(6)],
        model_length=3,
        rounds=1,
        mask=FINE,
        aggregation=AGGREGATION,
        initial_model=[7, 8, 9],
        evaluate=lambda model: {"first": model[0]},
        progress=False,
    )
    (done,) = result.rounds
    weights = [float(index) for index in range(6)]
    assert result.model is not None
    assert result.model[0] == pytest.approx(mean(took_part, weights), abs=1e-7)
    assert done.metrics["loss"] == pytest.approx(mean(took_part, weights) / 10, abs=1e-7)
    assert done.metrics["first"] == result.model[0]
    assert done.samples == pytest.approx(sum(SAMPLES[index] for index in took_part))
    right = sum(SAMPLES[index] // 2 for index in took_part)
    assert done.counts["right"] == pytest.approx(right, abs=1e-5)
    assert all(list(model) == [7, 8, 9] for model in seen)  # type: ignore[call-overload]
    columns = result.columns()
    assert columns["samples"] == [done.samples]
    assert columns["right"] == [done.counts["right"]]
    assert columns["loss"] == [done.metrics["loss"]]


def test_a_simulation_that_is_resumed_goes_on_with_the_model() -> None:
    seen: list[list[float]] = []

    def train(model: np.ndarray | None) -> Update:
        if model is not None:
            seen.append(model.tolist())
        return Update([1.0, 2.0], 50, {"loss": 1}, {"right": 1})

    first = xaynet_sdk.simulate(
        [train] * 4, model_length=2, rounds=1, aggregation=AGGREGATION, progress=False
    )
    again = xaynet_sdk.simulate(
        [train] * 4,
        model_length=2,
        rounds=2,
        aggregation=AGGREGATION,
        resume=first,
        progress=False,
    )
    assert len(again.rounds) == 2
    assert seen
    for model in seen:
        assert model == pytest.approx([1.0, 2.0], abs=1e-6)


def test_sealed_groups_sum_metrics_too() -> None:
    result = xaynet_sdk.simulate(
        [lambda _, index=index: update(index) for index in range(4)],
        model_length=3,
        rounds=2,
        mask="Word64/F64/B2/M3",
        protocol="v2",
        groups=2,
        members=1,
        aggregation=AGGREGATION,
        progress=False,
    )
    weights = [float(index) for index in range(6)]
    for done in result.rounds:
        assert done.metrics["loss"] == pytest.approx(mean([0, 1, 2, 3], weights) / 10, abs=1e-6)
        assert done.samples == pytest.approx(sum(SAMPLES[:4]), rel=1e-6)


def test_what_does_not_go_together_is_refused_by_name() -> None:
    def train(model: object) -> Update:
        return Update([1.0])

    participants = [train] * 4
    options = {"model_length": 1, "rounds": 1, "progress": False}
    with pytest.raises(ValueError, match="give no scalars"):
        xaynet_sdk.simulate(participants, aggregation=WeightedMean(), scalars=[1] * 4, **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="give an aggregation"):
        xaynet_sdk.simulate(participants, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="of 1 weights, and not of shape"):
        xaynet_sdk.simulate(participants, initial_model=[1, 2], **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="neither an aggregation"):
        xaynet_sdk.simulate(
            participants,
            aggregation=WeightedMean(),
            protocol="v2",
            noise=xaynet_sdk.Noise(8, 1.0),
            **options,  # type: ignore[arg-type]
        )
    with pytest.raises(ValueError, match="'loss', which is a metric of the aggregation"):
        xaynet_sdk.simulate(
            [lambda _: Update([1.0], metrics={"loss": 1})] * 4,
            aggregation=WeightedMean(metrics=["loss"]),
            evaluate=lambda model: {"loss": 1.0},
            **options,  # type: ignore[arg-type]
        )


class Hospital(xaynet_sdk.ParticipantABC):
    """Takes part with lists, as programs for Xaynet do."""

    aggregates: list[Aggregate]
    inputs: list[object]

    def __init__(self, index: int, seen: list[Aggregate], inputs: list[object]) -> None:
        self.index, self.seen, self.inputs = index, seen, inputs

    def deserialize_training_input(self, global_model: object) -> object:
        self.inputs.append(global_model)
        return global_model

    def train_round(self, training_input: object) -> int:
        return self.index

    def serialize_training_result(self, training_result: int) -> Update:
        return update(training_result)

    def on_aggregate(self, aggregate: Aggregate) -> None:
        self.seen.append(aggregate)


def check(aggregate: Aggregate | None) -> None:
    """It is a mean of some of them, in all its parts."""
    assert aggregate is not None
    assert aggregate.metrics["loss"] == pytest.approx(aggregate.model[0] / 10, abs=1e-6)
    assert aggregate.model[1] == pytest.approx(-aggregate.model[0], abs=1e-6)
    assert aggregate.model[2] == pytest.approx(0.5, abs=1e-6)
    assert 0.4 < aggregate.per_sample("right") <= 0.5
    assert 5 <= aggregate.samples <= 100


def test_classes_handles_and_asyncio_take_part_in_one_federation() -> None:
    seen: list[Aggregate] = []
    inputs: list[object] = []

    async def one(url: str, index: int) -> Aggregate:
        async with aio.connect(url, aggregation=AGGREGATION) as participant:
            async for round in participant.rounds():
                aggregate = await participant.aggregate()
                if aggregate is not None:
                    model = await participant.global_model()
                    assert model is not None
                    assert len(model) == 3
                    return aggregate
                if round.task == "update":
                    await participant.submit(update(index))
        raise AssertionError("there is always another round")

    with xaynet_sdk.Coordinator(
        3, mask=FINE, settings=SETTINGS, aggregation=AGGREGATION
    ) as coordinator:
        url = coordinator.url
        # While it is alone there is no aggregate: the others are enough for a round.
        handle, news = xaynet_sdk.spawn_async_participant(url, aggregation=AGGREGATION)
        assert news.wait(60)
        assert handle.get_aggregate() is None
        spawned = [
            xaynet_sdk.spawn_participant(
                url, Hospital, args=(index, seen, inputs), aggregation=AGGREGATION
            )
            for index in range(4)
        ]
        handle.set_local_model(update(4))
        aggregate = asyncio.run(asyncio.wait_for(one(url, 5), 180))
        check(aggregate)
        coordinator.wait_for_round(1)
        check(coordinator.aggregate())
        model = coordinator.global_model(as_array=False)
        assert isinstance(model, list)
        assert len(model) == 3
        while (latest := handle.get_aggregate()) is None:
            assert news.wait(60)
        check(latest)
        assert len(handle.get_global_model()) == 3  # type: ignore[arg-type]
        wait_until(lambda: bool(seen), "a class has the aggregate, too")
        for participant in spawned:
            participant.stop()
        for participant in spawned:
            participant.join(60)
        handle.stop()
    assert seen
    for each in seen:
        check(each)
    assert all(isinstance(each, list) and len(each) == 3 for each in inputs)


def test_an_update_without_aggregation_and_a_model_with_one_are_refused() -> None:
    with xaynet_sdk.Coordinator(3, settings=SETTINGS) as coordinator:
        plain, _ = xaynet_sdk.spawn_async_participant(coordinator.url)
        with pytest.raises(TypeError, match="give an aggregation"):
            plain.set_local_model(update(1))
        with pytest.raises(TypeError, match="has no aggregation"):
            plain.get_aggregate()
        plain.stop()
        weighted, _ = xaynet_sdk.spawn_async_participant(coordinator.url, aggregation=AGGREGATION)
        with pytest.raises(TypeError, match="training gives xaynet_sdk.Update"):
            weighted.set_local_model([1.0, 2.0, 3.0])
        weighted.stop()
        with pytest.raises(TypeError, match="has no aggregation"):
            coordinator.aggregate()


def test_for_the_coordinator_they_are_weights_like_others() -> None:
    """So that any coordinator will do."""
    with xaynet_sdk.Coordinator(3, aggregation=AGGREGATION, settings=SETTINGS) as coordinator:
        plain, news = xaynet_sdk.spawn_async_participant(coordinator.url)
        assert news.wait(20)
        with pytest.raises(xaynet_sdk.LocalModelLengthMisMatch, match="6"):
            plain.set_local_model([0.1, 0.2, 0.3])
        plain.stop()


def test_metrics_beyond_the_bound_are_told_as_weights_are() -> None:
    with xaynet_sdk.Coordinator(
        3, mask="Prime/F32/B0/M3", settings=SETTINGS, aggregation=AGGREGATION
    ) as coordinator:
        handle, news = xaynet_sdk.spawn_async_participant(coordinator.url, aggregation=AGGREGATION)
        assert news.wait(20)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            handle.set_local_model(Update([0.1, 0.2, 0.3], 100, {"loss": 5.0}, {"right": 50}))
        # (The garbage collector may have something to say of earlier tests.)
        caught = [each for each in caught if each.category is not ResourceWarning]
        assert [each.category for each in caught] == [xaynet_sdk.ClampWarning]
        handle.stop()

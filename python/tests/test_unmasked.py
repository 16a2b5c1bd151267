"""Simulations without masks: the same models, much sooner."""

import math
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xaynet_sdk import ParticipantABC, SimulationError, Update, WeightedMean, simulate
from xaynet_sdk._unmasked import _nearest

LENGTH = 50


class Noting:
    """Notes who trains, and gives weights of all sizes, some of them beyond the bound."""

    def __init__(self, index: int, dtype: str, notes: list[int], fine: bool = False) -> None:
        self.index = index
        self.dtype = dtype
        self.notes = notes
        self.calls = 0

    def __call__(self, model: Any) -> Any:
        self.notes.append(self.index)
        random = np.random.default_rng([self.index, 0 if model is None else 1])
        weights = random.normal(size=LENGTH) * 10.0 ** random.integers(-12, 2, LENGTH)
        weights[:4] = [0.0, 1.0, -1.0, np.float32(1e-10)]
        return weights.astype(self.dtype)


@pytest.mark.parametrize(
    "mask",
    [
        "Prime/F32/B0/M3",
        "Prime/F32/B4/M6",
        "Integer/F32/B2/M3",
        "Power2/F32/B6/M3",
        "Word32/F32/B0/M3",
        "Word64/F32/B0/M3",
        "Word64/F32/B2/M6",
        "Prime/F32/B6/M12",
    ],
)
@pytest.mark.filterwarnings("ignore::xaynet_sdk.ClampWarning")
@pytest.mark.filterwarnings("ignore::xaynet_sdk.PrecisionWarning")
def test_the_same_models_give_the_same_mean_to_the_last_bit(mask: str) -> None:
    notes: list[int] = []
    participants = [Noting(index, "f4", notes) for index in range(12)]
    masked = simulate(participants, model_length=LENGTH, rounds=1, mask=mask, progress=False)
    trained = sorted(notes)
    assert len(trained) == masked.rounds[0].models
    unmasked = simulate(
        participants,
        model_length=LENGTH,
        rounds=1,
        mask=mask,
        progress=False,
        masked=False,
        sampling=lambda number, count: trained,
    )
    assert masked.model is not None and unmasked.model is not None
    assert masked.model.dtype == unmasked.model.dtype
    assert np.array_equal(masked.model.view("i4"), unmasked.model.view("i4"))
    one, other = masked.rounds[0], unmasked.rounds[0]
    assert (one.models, one.clamped) == (other.models, other.clamped)
    assert one.largest_clamped == pytest.approx(other.largest_clamped)
    assert other.votes == 0


@pytest.mark.filterwarnings("ignore::xaynet_sdk.ClampWarning")
@pytest.mark.filterwarnings("ignore::xaynet_sdk.PrecisionWarning")
@pytest.mark.parametrize("mask", ["Prime/F64/B0/M3", "Prime/F32/Bmax/M3", "Prime/F32/B2/M3"])
def test_other_types_and_scalars_give_nearly_the_same(mask: str) -> None:
    notes: list[int] = []
    participants = [Noting(index, "f8" if "F64" in mask else "f4", notes) for index in range(8)]
    scalars = [0.5, 1.0, 0.25, 0.75, 1.0, 0.3, 0.9, 0.1]
    common = {
        "model_length": LENGTH,
        "rounds": 1,
        "mask": mask,
        "progress": False,
        "scalars": scalars,
    }
    masked = simulate(participants, **common)
    trained = sorted(notes)
    unmasked = simulate(participants, masked=False, sampling=lambda *_: trained, **common)
    assert masked.model is not None and unmasked.model is not None
    np.testing.assert_allclose(masked.model, unmasked.model, rtol=2e-7, atol=1e-9)


@given(st.integers(-(10**13), 10**13), st.integers(1, 3000), st.sampled_from([10**10, 2**21]))
def test_means_are_rounded_once(total: int, models: int, steps: int) -> None:
    value = Fraction(total, models * steps)
    nearest = _nearest(value)
    for other in (np.nextafter(nearest, np.float32(-9e9)), np.nextafter(nearest, np.float32(9e9))):
        distance = abs(Fraction(float(nearest)) - value)
        assert distance <= abs(Fraction(float(other)) - value)


def same(model: Any) -> Any:
    return np.zeros(4, np.float32) if model is None else model + np.float32(0.125)


def test_sums_beyond_doubles_and_integers_are_exact() -> None:
    """Sums of Word64 leave the doubles soon; what cancels out shows it."""
    weights = np.array([1.0, 2.0**-30, -1.0], np.float32)
    for mask in ("Word64/F32/B0/M3", "Prime/F32/B6/M12"):
        for participants in (4, 700, 1000):
            scale = np.float32(1 if "B0" in mask else 2**19)
            models = [weights * scale * np.float32((-1) ** index) for index in range(participants)]
            models[0] = models[0] + np.float32(2.0**-33)
            result = simulate(
                [lambda _, model=model: model for model in models],
                model_length=3,
                rounds=1,
                mask=mask,
                progress=False,
                masked=False,
            )
            steps = {"Word64/F32/B0/M3": 2**53, "Prime/F32/B6/M12": 10**10}[mask]
            exact = [
                sum(math.floor(Fraction(float(model[place])) * steps) for model in models)
                for place in range(3)
            ]
            assert result.model is not None
            for found, total in zip(result.model, exact, strict=True):
                assert found == _nearest(Fraction(total, steps * participants))


def test_scalars_are_what_they_are_with_masks() -> None:
    notes: list[int] = []
    participants = [Noting(index, "f4", notes) for index in range(8)]
    # Beyond the bound of 1 they are put on it.
    common: dict[str, Any] = {
        "model_length": LENGTH,
        "rounds": 1,
        "progress": False,
        "scalars": [2.0, 0.5] * 4,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        masked = simulate(participants, **common)
        trained = sorted(notes)
        unmasked = simulate(participants, masked=False, sampling=lambda *_: trained, **common)
    assert masked.model is not None and unmasked.model is not None
    np.testing.assert_allclose(masked.model, unmasked.model, rtol=2e-7, atol=1e-9)
    with pytest.raises(SimulationError, match="scalar of 0"):
        simulate([same] * 4, model_length=4, scalars=[0.0] * 4, masked=False, max_failures=2)


def test_sampling_is_drawn_from_the_seed_and_goes_on_after_a_stop() -> None:
    notes: list[int] = []

    def participant(index: int) -> Any:
        def train(model: Any) -> Any:
            notes.append(index)
            return same(model)

        return train

    participants = [participant(index) for index in range(20)]
    common: dict[str, Any] = {"model_length": 4, "progress": False, "masked": False}
    whole = simulate(participants, rounds=6, sampling=0.25, **common)
    assert [each.models for each in whole.rounds] == [5] * 6
    first, notes[:] = notes.copy(), []
    again = simulate(participants, rounds=2, sampling=0.25, **common)
    rest = simulate(participants, rounds=6, sampling=0.25, resume=again, **common)
    assert notes == first and np.array_equal(whole.model, rest.model)  # type: ignore[arg-type]
    assert [each.round_id for each in rest.rounds] == [1, 2, 3, 4, 5, 6]
    notes[:] = []
    simulate(participants, rounds=1, sampling=0.25, seed=1, **common)
    assert notes != first[:5]
    assert simulate(participants, rounds=1, sampling=3, **common).rounds[0].models == 3
    assert simulate(participants, rounds=1, **common).rounds[0].models == 20
    for wrong in (0, 21, 0.0, 1.5, True, "all", lambda *_: [1, 1], lambda *_: [20]):
        with pytest.raises((ValueError, TypeError)):
            simulate(participants, rounds=1, sampling=wrong, **common)


def test_few_models_are_in_memory_and_their_order_is_that_of_the_participants() -> None:
    lock, alive, most = threading.Lock(), 0, 0

    class Counted(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            if self.base is None or not isinstance(self.base, Counted):
                with lock:
                    alive -= 1

    def train(model: Any) -> Any:
        nonlocal alive, most
        weights = np.zeros(100, np.float32).view(Counted)
        with lock:
            alive += 1
            most = max(most, alive)
        return weights

    for parallel in (None, ThreadPoolExecutor(3)):
        alive = most = 0
        result = simulate(
            [train] * 60,
            model_length=100,
            rounds=2,
            progress=False,
            masked=False,
            parallel=parallel,
        )
        assert result.rounds[1].models == 60
        # Two for each worker, and the one that is added.
        assert 1 <= most <= (3 * 2 + 4)
    assert isinstance(parallel, ThreadPoolExecutor)
    parallel.shutdown()


def test_processes_give_the_same_as_one() -> None:
    common: dict[str, Any] = {
        "model_length": 4,
        "rounds": 3,
        "progress": False,
        "masked": False,
    }
    alone = simulate([same] * 8, **common)
    together = simulate([same] * 8, parallel=2, **common)
    assert np.array_equal(alone.model, together.model)  # type: ignore[arg-type]


def test_executors_of_others_train() -> None:
    loky = pytest.importorskip("joblib.externals.loky")
    shift = np.float32(0.25)
    # Closures, which the standard library's processes do not take.
    participants = [lambda model: same(model) + shift] * 6
    common: dict[str, Any] = {
        "model_length": 4,
        "rounds": 2,
        "progress": False,
        "masked": False,
    }
    executor = loky.get_reusable_executor(max_workers=2)
    try:
        together = simulate(participants, parallel=executor, **common)
        # What keeps something in itself would forget it there, whoever's processes they are.
        with pytest.raises(TypeError, match="Keeping would forget"):
            simulate([Keeping() for _ in range(4)], parallel=executor, **common)
    finally:
        executor.shutdown()
    assert np.array_equal(simulate(participants, **common).model, together.model)  # type: ignore[arg-type]


# Of what it will do in its next version.
@pytest.mark.filterwarnings("ignore")
def test_tasks_of_ray_train() -> None:
    ray = pytest.importorskip("ray")
    from xaynet_sdk.adapters.ray import RayExecutor

    common: dict[str, Any] = {
        "model_length": 4,
        "rounds": 2,
        "progress": False,
        "masked": False,
    }
    participants = [lambda model: same(model) + np.float32(0.25)] * 6
    # Ray's processes do not know this file.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        together = simulate(participants, parallel=RayExecutor(2), **common)
    finally:
        ray.shutdown()
    assert np.array_equal(simulate(participants, **common).model, together.model)  # type: ignore[arg-type]


class Keeping(ParticipantABC[Any, Any]):
    global_model_as_array = True

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.aggregates: list[Any] = []
        self.errors: list[Exception] = []
        self.stopped = False
        self.fails = False

    def train_round(self, training_input: Any) -> Any:
        if self.fails:
            raise RuntimeError("no data")
        return Update(same(training_input), samples=2.0, metrics={"loss": 0.5})

    def serialize_training_result(self, training_result: Any) -> Any:
        return training_result

    def deserialize_training_input(self, global_model: Any) -> Any:
        return global_model

    def on_new_global_model(self, global_model: Any) -> None:
        self.told.append(global_model)

    def on_aggregate(self, aggregate: Any) -> None:
        self.aggregates.append(aggregate)

    def on_error(self, error: Exception) -> bool:
        self.errors.append(error)
        return True

    def on_stop(self) -> None:
        self.stopped = True


def test_classes_and_aggregations_work_as_with_masks() -> None:
    participants = [Keeping() for _ in range(5)]
    participants[4].fails = True
    aggregation = WeightedMean(metrics=("loss",), reference_samples=10)
    result = simulate(
        participants,
        model_length=4,
        rounds=2,
        progress=False,
        masked=False,
        aggregation=aggregation,
    )
    assert result.model is not None and result.model.tolist() == [0.125] * 4
    assert result.rounds[1].models == 4 and result.rounds[1].samples == pytest.approx(8)
    assert result.rounds[1].metrics["loss"] == pytest.approx(0.5)
    assert [None if told is None else told.tolist() for told in participants[0].told] == [
        None,
        [0.0] * 4,
    ]
    assert participants[0].aggregates[0].samples == pytest.approx(2)
    assert len(participants[4].errors) == 2
    # A model that cannot be used is its participant's error, too.
    participants[3].serialize_training_result = lambda _: Update([1.0], 1.0, {"loss": 0.0})  # type: ignore[method-assign]
    participants[2].serialize_training_result = lambda _: np.nan  # type: ignore[method-assign]
    result = simulate(
        participants,
        model_length=4,
        rounds=1,
        progress=False,
        masked=False,
        aggregation=aggregation,
    )
    assert result.rounds[0].models == 2 and len(participants[3].errors) == 1
    assert all(participant.stopped for participant in participants)
    with pytest.raises(TypeError, match="ThreadPoolExecutor"):
        simulate(participants, model_length=4, rounds=1, progress=False, masked=False, parallel=2)


def test_a_round_without_models_fails_and_says_so() -> None:
    with pytest.raises(SimulationError, match="has given a model") as stopped:
        simulate(
            [lambda model: None] * 4,
            model_length=4,
            progress=False,
            masked=False,
            max_failures=3,
        )
    assert len(stopped.value.failures) == 3


def test_a_stop_in_the_middle_loses_nothing() -> None:
    calls = 0

    def train(model: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 10:
            raise KeyboardInterrupt
        return same(model)

    with pytest.raises(KeyboardInterrupt) as stopped:
        simulate([train] * 4, model_length=4, rounds=5, progress=False, masked=False)
    so_far = stopped.value.simulation  # type: ignore[attr-defined]
    assert len(so_far.rounds) == 2
    common: dict[str, Any] = {"model_length": 4, "progress": False, "masked": False}
    rest = simulate([train] * 4, rounds=5, resume=so_far, **common)
    assert rest.model is not None and rest.model.tolist() == [0.5] * 4
    # The round in which it stopped was begun again.
    assert [each.round_id for each in rest.rounds] == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="4 participants"):
        simulate([train] * 5, resume=so_far, **common)
    # In the first round as well, with masks too, and the initial model is not forgotten.
    begin = np.full(4, 0.5, np.float32)
    for masked in (True, False):
        seen: list[Any] = []

        def stops(model: Any, seen: list[Any] = seen) -> Any:
            seen.append(model)
            if len(seen) == 1:
                raise KeyboardInterrupt
            return same(model)

        common["masked"] = masked
        with pytest.raises(KeyboardInterrupt) as first:
            simulate([stops] * 6, rounds=1, initial_model=begin, **common)
        so_far = first.value.simulation  # type: ignore[attr-defined]
        simulate([stops] * 6, rounds=1, resume=so_far, **common)
        assert all(np.array_equal(model, begin) for model in seen)


def test_what_is_for_masks_is_refused() -> None:
    for wrong in (
        {"protocol": "v2"},
        {"settings": {"pet.sum.prob": 0.5}},
        {"threads": 2},
        {"mask": "Prime/I32/B0/M3"},
        {"mask": "Prime/F32"},
        {"mask": "Word64/F32/Bmax/M3"},
        {"mask": "Word32/F32/B2/M6"},
        {"mask": "Prime/F32/B0/Minf"},
        {"mask": "Word32/F32/B6/M12"},
        {"scalars": [1.0]},
        {"scalars": [math.nan] * 4},
    ):
        with pytest.raises(ValueError):
            simulate([same] * 4, model_length=4, progress=False, masked=False, **wrong)  # type: ignore[arg-type]
    for wrong in ({"sampling": 0.5}, {"parallel": 2}):
        with pytest.raises(ValueError, match="masked=False"):
            simulate([same] * 4, model_length=4, progress=False, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite"):
        simulate(
            [lambda model: np.full(4, np.nan, np.float32)] * 4,
            model_length=4,
            progress=False,
            masked=False,
        )
    with pytest.raises(ValueError, match="as it was begun"):
        begun = simulate([same] * 4, model_length=4, rounds=1, progress=False)
        simulate([same] * 4, model_length=4, progress=False, masked=False, resume=begun)

"""Optimisers at the server, against their papers' algorithms written out; schedules; FedProx."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xaynet_sdk import (
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedYogi,
    ServerOptimizer,
    Simulation,
    Update,
    WeightedMean,
    simulate,
)
from xaynet_sdk.fedprox import proximal_gradient, proximal_term
from xaynet_sdk.schedules import Cosine, Exponential, Schedule, Steps

LENGTH = 3


def paper(kind: str, deltas: list[list[float]], x: list[float]) -> list[float]:
    """Algorithm 2 of Reddi et al., weight by weight, with plain numbers."""
    eta, beta1, beta2, tau = 0.1, 0.9, 0.99, 1e-3
    if kind == "adagrad":
        beta1 = 0.0
    x = list(x)
    for i in range(len(x)):
        m, v = 0.0, tau * tau
        for delta in deltas:
            d = delta[i]
            m = beta1 * m + (1 - beta1) * d
            if kind == "adagrad":
                v = v + d * d
            elif kind == "yogi":
                sign = (v > d * d) - (v < d * d)
                v = v - (1 - beta2) * d * d * sign
            else:
                v = beta2 * v + (1 - beta2) * d * d
            x[i] += eta * m / (math.sqrt(v) + tau)
    return x


numbers = st.floats(-10, 10)


# The first one imports NumPy's linear algebra, say: on a busy machine that takes longer than a deadline.
@settings(deadline=None)
@given(
    st.sampled_from([("adagrad", FedAdagrad), ("adam", FedAdam), ("yogi", FedYogi)]),
    st.lists(st.lists(numbers, min_size=LENGTH, max_size=LENGTH), min_size=1, max_size=5),
)
def test_adaptive_optimizers_are_the_papers(
    kind: tuple[str, type[FedAdam]], deltas: list[list[float]]
) -> None:
    name, optimizer_type = kind
    optimizer = optimizer_type()
    model = np.array([1.0, -2.0, 0.5])
    expected_from = model.tolist()
    applied = []
    for delta in deltas:
        mean = model + np.array(delta)
        # What the optimiser sees, after rounding.
        applied.append((mean - model).tolist())
        model = optimizer.step(model, mean)
    np.testing.assert_allclose(model, paper(name, applied, expected_from), rtol=1e-9, atol=1e-9)
    assert optimizer.steps == len(deltas)


def test_momentum_and_plain_averages() -> None:
    model, mean = np.array([1.0, 2.0]), np.array([2.0, 0.0])
    assert FedAvg().step(model, mean).tolist() == [2.0, 0.0]
    assert FedAvg(0.5).step(model, mean).tolist() == [1.5, 1.0]
    momentum = FedAvgM(learning_rate=0.5, momentum=0.9)
    first = momentum.step(model, mean)
    assert first.tolist() == [1.5, 1.0]
    # Hsu et al.: v = 0.9 * (1, -2) + (0, 0).
    np.testing.assert_allclose(momentum.step(first, first), [1.95, 0.1])


@pytest.mark.parametrize("optimizer_type", [FedAvg, FedAvgM, FedAdagrad, FedAdam, FedYogi])
def test_a_restored_optimizer_goes_on_bit_by_bit(optimizer_type: type[ServerOptimizer]) -> None:
    random = np.random.default_rng(1)
    means = random.normal(size=(4, 5)).astype(np.float32)
    whole, half = optimizer_type(), optimizer_type()
    model = np.zeros(5, np.float32)
    for mean in means:
        model = whole.step(model, mean)
    assert model.dtype == np.float32
    other = np.zeros(5, np.float32)
    for mean in means[:2]:
        other = half.step(other, mean)
    again = optimizer_type()
    again.restore(half.state())
    for mean in means[2:]:
        other = again.step(other, mean)
    assert np.array_equal(model, other)
    assert again.begun_anew().steps == 0 and again.steps == 4


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="momentum"):
        FedAvgM(momentum=1.0)
    with pytest.raises(ValueError, match="tau"):
        FedAdam(tau=0.0)
    with pytest.raises(ValueError, match="not negative"):
        FedAvg(-1.0)
    with pytest.raises(TypeError, match="number"):
        FedAvg("fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one flat vector"):
        FedAvg().step(np.zeros(3), np.zeros(4))
    adam = FedAdam()
    adam.step(np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="3 weights"):
        adam.step(np.zeros(4), np.ones(4))
    for other in (FedAvgM(), FedYogi(), FedAvg()):
        with pytest.raises(ValueError, match="but of FedAdam"):
            other.restore(adam.state())
    with pytest.raises(TypeError, match="floats"):
        FedAvg().step(np.zeros(3, int), np.ones(3, int))
    far = FedAvg(1e36)
    with pytest.raises(ValueError, match="too large"):
        far.step(np.zeros(2, np.float32), np.full(2, 1e9, np.float32))
    assert far.steps == 0
    mean = np.random.default_rng(2).normal(size=100)
    assert np.array_equal(FedAvg().step(mean * 1e9, mean), mean), "to the last bit"


def test_a_simulation_steps_towards_the_mean_and_can_be_resumed() -> None:
    def trainer(target: float):  # type: ignore[no-untyped-def]
        return lambda model: np.full(2, target, np.float32)

    participants = [trainer(0.25), trainer(0.5), trainer(0.75), trainer(0.5)]
    begin = np.array([-0.5, 0.0], np.float32)
    for masked in (True, False):
        made = FedAvgM(0.5)
        common = {"model_length": 2, "initial_model": begin, "progress": False, "masked": masked}
        result = simulate(participants, rounds=3, optimizer=made, keep_models=True, **common)
        assert made.steps == 0, "a simulation has a copy"
        expected, model = FedAvgM(0.5), begin
        plain = simulate(participants, rounds=3, keep_models=True, **common)
        # Who trains does not depend on models, and these participants don't look at theirs.
        for mean, stepped in zip(plain.models, result.models, strict=True):
            model = expected.step(model, mean)
            assert np.array_equal(model, stepped)
        first = simulate(participants, rounds=2, optimizer=FedAvgM(0.5), **common)
        del common["initial_model"]
        rest = simulate(participants, rounds=3, optimizer=FedAvgM(0.5), resume=first, **common)
        assert rest.model is not None and np.array_equal(rest.model, result.models[-1])


OPTIMIZERS: list[ServerOptimizer] = [
    FedAvg(Steps(1.0, every=2, factor=0.5)),
    FedAvgM(0.7, momentum=0.3),
    FedAdagrad(Cosine(0.2, steps=4, final=0.01, warmup=1)),
    FedAdam(0.05, beta1=0.8, beta2=0.95, tau=1e-2),
    FedYogi(Exponential(0.1, 0.9)),
]


def pulled(index: int) -> Callable[[Any], Any]:
    """Trains towards a point of its own."""
    goal = np.linspace(-1, 1, 6, dtype=np.float32) * np.float32(index + 1) / 8

    def train(model: Any) -> Any:
        return goal if model is None else model + np.float32(0.3) * (goal - model)

    return train


def summed(index: int) -> Callable[[Any], Update]:
    """The same, with what is summed beside the model."""
    train = pulled(index)
    return lambda model: Update(
        train(model), samples=10 * (index + 1), metrics={"loss": index / 7}, counts={"right": 3.0}
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(
    ("mask", "with_sums"), [("Prime/F32/B0/M3", True), ("Word64/F64/B2/M3", False)]
)
def test_a_coordinator_makes_the_same_steps_to_the_last_bit(
    optimizer: ServerOptimizer, mask: str, with_sums: bool
) -> None:
    """The machine of the coordinator, told by its settings, against NumPy."""
    aggregation = WeightedMean(["loss"], ["right"], 60) if with_sums else None
    participants: list[Any] = [(summed if with_sums else pulled)(index) for index in range(6)]

    def run(**options: Any) -> Simulation:
        return simulate(
            participants,
            model_length=6,
            rounds=5,
            mask=mask,
            aggregation=aggregation,
            keep_models=True,
            progress=False,
            seed=4,
            **options,
        )

    settings = optimizer.settings()
    if aggregation is not None:
        settings["pet.optimizer.beside_model"] = aggregation.extra
    by_numpy, by_coordinator = run(optimizer=optimizer), run(settings=settings)
    for ours, theirs in zip(by_numpy.models, by_coordinator.models, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()
    for mine, other in zip(by_numpy.rounds, by_coordinator.rounds, strict=True):
        assert (mine.metrics, mine.counts, mine.samples) == (
            other.metrics,
            other.counts,
            other.samples,
        )
    assert not np.array_equal(by_numpy.models[0], by_numpy.models[1])


def test_a_simulation_of_a_coordinator_with_an_optimizer_is_resumed() -> None:
    def run(rounds: int, **options: Any) -> Simulation:
        participants = [pulled(index) for index in range(6)]
        settings = FedYogi(0.1).settings()
        return simulate(
            participants,
            model_length=6,
            rounds=rounds,
            settings=settings,
            progress=False,
            seed=4,
            **options,
        )

    whole, half = run(4), run(2)
    resumed = run(4, resume=half)
    assert whole.model is not None and resumed.model is not None
    assert whole.model.tobytes() == resumed.model.tobytes()


def test_what_a_coordinator_is_told_of_an_optimizer() -> None:
    assert FedAdam().settings() == {
        "pet.optimizer.kind": "FedAdam",
        "pet.optimizer.learning_rate": "0.1",
        "pet.optimizer.beta1": "0.9",
        "pet.optimizer.beta2": "0.99",
        "pet.optimizer.tau": "0.001",
    }
    assert FedAvgM(momentum=0).settings()["pet.optimizer.momentum"] == "0.0"
    assert set(FedAvg().settings()) == {"pet.optimizer.kind", "pet.optimizer.learning_rate"}

    def rates(schedule: Schedule) -> str:
        return str(FedAvg(schedule).settings()["pet.optimizer.learning_rate"])

    assert rates(Steps(1.0, every=3, factor=0.5)).startswith("1.0*3, 0.5*3, 0.25*3, ")
    assert rates(lambda step: 0.5 if step < 7 else 0.125) == "0.5*7, 0.125"
    assert rates(Cosine(1.0, steps=4, warmup=1)).split(", ") == [
        repr(Cosine(1.0, steps=4, warmup=1)(step)) for step in range(5)
    ]
    # One that never ends to change: as many as a table has.
    many = rates(lambda step: 1 / (step + 1)).split(", ")
    assert len(many) == 10_000 and many[-1] == repr(1 / 10_000)

    # One that ends is not cut off half way: the last rate of a table holds for ever.
    cosine = Cosine(0.1, steps=20_000)
    with pytest.raises(ValueError, match=r"10,000 rates.* // 3 \* 3"):
        rates(cosine)
    held = rates(lambda step: cosine(step // 3 * 3)).split(", ")
    assert len(held) < 10_000 and float(held[-1]) == 0
    with pytest.raises(ValueError, match="fewer than 10,000 steps$"):
        rates(Cosine(0.1, steps=100_000))
    whole = rates(Cosine(0.1, steps=9_999)).split(", ")
    assert len(whole) == 10_000 and float(whole[-1]) == 0

    class Mine(FedAvg):
        pass

    with pytest.raises(TypeError, match="Mine is none of them: it is for xaynet_sdk.simulate"):
        Mine().settings()


def test_schedules() -> None:
    steps = Steps(1.0, every=2, factor=0.5, warmup=3)
    assert [steps(n) for n in range(8)] == [0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.5, 0.25]
    assert [Exponential(1.0, 0.5)(n) for n in range(3)] == [1.0, 0.5, 0.25]
    cosine = Cosine(1.0, steps=10, final=0.2)
    assert cosine(0) == 1.0 and cosine(5) == pytest.approx(0.6) and cosine(10) == cosine(99) == 0.2
    assert Cosine(1.0, steps=2, warmup=2)(2) == 1.0
    with pytest.raises(ValueError, match="every"):
        Steps(0.1, every=0)
    optimizer = FedAvg(Exponential(1.0, 0.5))
    model = np.zeros(1)
    for _ in range(3):
        model = optimizer.step(model, model + 1)
    assert model.tolist() == [1.75]


def test_fedprox_terms_and_gradients_belong_together() -> None:
    local, anchor = np.array([1.0, 2.0]), np.array([0.0, 4.0])
    assert proximal_term(local, anchor, 0.1) == pytest.approx(0.25)
    assert proximal_gradient(local, anchor, 0.1).tolist() == pytest.approx([0.1, -0.2])
    assert proximal_term([local, local], [anchor, anchor], 0.1) == pytest.approx(0.5)
    step = 1e-6
    for index in range(2):
        moved = local.copy()
        moved[index] += step
        slope = (proximal_term(moved, anchor, 0.1) - proximal_term(local, anchor, 0.1)) / step
        assert slope == pytest.approx(proximal_gradient(local, anchor, 0.1)[index], abs=1e-5)
    assert proximal_term(local, anchor, 0) == 0
    for wrong in ([local], [local, local[:1]]):
        with pytest.raises(ValueError, match="array"):
            proximal_term([local, local], wrong, 0.1)
    with pytest.raises(ValueError, match="shape"):
        proximal_gradient(local, local[:, None], 0.1)
    with pytest.raises(ValueError, match="mu"):
        proximal_term(local, anchor, -1)

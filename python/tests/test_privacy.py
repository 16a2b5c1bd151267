"""Noise of participants: how much it is, and what it is worth."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xaynet_sdk import simulate
from xaynet_sdk.privacy import ClientNoise
from xaynet_sdk.xaynet_sdk import _discrete_gaussian


def test_samples_are_those_of_a_discrete_gaussian() -> None:
    for sigma in (1, 3, 1000, 1 << 40):
        samples = _discrete_gaussian(sigma, 60_000)
        assert samples.dtype == np.int64 and len(samples) == 60_000
        deviation = float(samples.std())
        # Six standard errors.
        assert deviation == pytest.approx(sigma, rel=6 / math.sqrt(2 * 60_000) + 1e-4)
        assert abs(float(samples.mean())) < 6 * sigma / math.sqrt(60_000)
    # exp(-1/2) of the one for 0, and so on: the distribution of integers, not rounded floats.
    counts = np.bincount(_discrete_gaussian(1, 60_000) + 20)
    assert counts[21] / counts[20] == pytest.approx(math.exp(-0.5), rel=0.06)
    assert not np.array_equal(_discrete_gaussian(1000, 8), _discrete_gaussian(1000, 8))
    assert len(_discrete_gaussian(1, 0)) == 0
    for wrong in (0, (1 << 56) + 1):
        with pytest.raises(ValueError, match="sigma"):
            _discrete_gaussian(wrong, 1)


MASK = "Word64/F64/B2/M3"


@settings(deadline=None)
@given(
    st.floats(1e-3, 10),
    st.floats(0.1, 10),
    st.integers(1, 10_000),
    st.integers(1, 1_000_000),
)
def test_together_they_add_what_was_asked_for(
    clip: float, multiplier: float, participants: int, length: int
) -> None:
    noise = ClientNoise(clip, multiplier, participants, mask=MASK)
    sigma, step = noise.sigma(length), noise.step(length)
    # Of the sum, in units of what rounding has made of the clip: never less than asked for, and hardly more.
    together = sigma * step * math.sqrt(participants)
    rounded_clip = clip + step * math.sqrt(length) / 2
    assert multiplier * rounded_clip <= together * (1 + 1e-12)
    assert together <= multiplier * clip * 1.08
    # Fine enough for sums of discrete Gaussians to be discrete Gaussians.
    assert sigma >= 16
    assert noise.deviation(length) == pytest.approx(together / participants)


@pytest.mark.parametrize("mask", ["Word32/F32/B2/M3", "Word64/F64/B2/M3"])
def test_nothing_is_rounded_or_cut_off_after_the_noise(mask: str) -> None:
    """What the coordinator publishes is the sum of what was drawn and what was rounded before, exactly."""
    length = 200
    noise = ClientNoise(clip=8.0, multiplier=2.0, participants=20, mask=mask)
    random = np.random.default_rng(3)
    begin = random.normal(size=length).astype(np.float32)
    sent: list[np.ndarray] = []

    def train(model: np.ndarray) -> np.ndarray:
        sent.append(noise.add(model + random.normal(size=length) * 0.1, model))
        return sent[-1]

    common = {"model_length": length, "rounds": 1, "mask": mask, "progress": False}
    result = simulate([train] * 12, initial_model=begin, **common)
    step = noise.step(length)
    steps = [model.astype(np.float64) / step for model in sent]
    assert all(np.array_equal(each, np.rint(each)) for each in steps), "whole steps are masked"
    assert result.rounds[0].clamped == 0
    expected = sum(steps) / len(steps) * step
    assert result.model is not None
    assert np.array_equal(result.model, expected.astype(result.model.dtype))


def test_there_has_to_be_room_for_the_noise_and_steps_that_are_small_enough() -> None:
    noise = ClientNoise(clip=0.5, multiplier=1.0, participants=100)
    near = np.full(3, 0.9, np.float32)
    with pytest.raises(ValueError, match="larger bound"):
        noise.add(near, near)
    with pytest.raises(ValueError, match="smaller bound"):
        ClientNoise(clip=1e-3, multiplier=1.0, participants=10_000).step(1_000_000)
    for mask in ("Prime/F32/B0/M3", "Word32/F32/B6/M12", "Word64/I32/B0/M3", "anything"):
        with pytest.raises(ValueError):
            ClientNoise(1.0, 1.0, 10, mask=mask)


def test_a_difference_is_clipped_and_gets_noise() -> None:
    length = 10_000
    noise = ClientNoise(clip=1.0, multiplier=1.0, participants=10_000, mask=MASK)
    begin = np.linspace(-0.5, 0.5, length, dtype=np.float32)
    direction = np.full(length, 0.5, np.float32)
    noisy = noise.add(begin + direction, begin)
    assert noisy.dtype == np.float64
    difference = noisy.astype(np.float64) - begin
    # Of the difference of norm 50 there is 1 left, and noise of deviation 0.01 in each weight.
    assert difference.mean() == pytest.approx(1 / math.sqrt(length), rel=0.1)
    assert difference.std() == pytest.approx(0.01, rel=0.1)
    # A small difference stays what it is.
    means = np.mean([noise.add(begin + 1e-3, begin) - begin for _ in range(50)])
    assert means == pytest.approx(1e-3, rel=0.1)


def test_a_federation_with_noise_learns_nevertheless() -> None:
    target = np.array([0.3, -0.2, 0.1], np.float32)
    noise = ClientNoise(clip=0.5, multiplier=1.0, participants=200, mask="Word32/F32/B2/M3")

    def train(model: np.ndarray) -> np.ndarray:
        return noise.add(target, model)

    result = simulate(
        [train] * 300,
        model_length=3,
        rounds=4,
        initial_model=np.zeros(3, np.float32),
        mask=noise.mask,
        masked=False,
        progress=False,
    )
    assert result.model is not None
    error = np.abs(result.model - target)
    assert 0 < error.max() < 6 * noise.deviation(3, 300)


def test_epsilon_is_that_of_the_accountant() -> None:
    pytest.importorskip("dp_accounting")
    noise = ClientNoise(clip=1.0, multiplier=1.0, participants=100)
    one = noise.epsilon(1, 1e-5)
    # The classical bound sqrt(2 ln(1.25 / delta)) is above, the exact value (4.38) below.
    assert 4.3 < one < 4.9
    assert noise.epsilon(0, 1e-5) == 0
    assert one < noise.epsilon(10, 1e-5)
    # A quarter of the others is honest: as with half of the noise.
    half = ClientNoise(clip=1.0, multiplier=0.5, participants=100)
    assert noise.epsilon(1, 1e-5, honest=25) == pytest.approx(half.epsilon(1, 1e-5))
    assert noise.epsilon(1, 1e-5, honest=0) == math.inf
    assert noise.epsilon(1, 1e-5, honest=1000) == one


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in ((0.0, 1.0, 1), (1.0, -1.0, 1), (math.inf, 1.0, 1), (1.0, 1.0, 0)):
        with pytest.raises(ValueError):
            ClientNoise(*wrong)
    noise = ClientNoise(1.0, 1.0, 10)
    with pytest.raises(ValueError, match="initial model"):
        noise.add([1.0], None)
    with pytest.raises(ValueError, match="shape"):
        noise.add([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="finite"):
        noise.add([math.nan], [1.0])
    with pytest.raises(ValueError, match="delta"):
        noise.epsilon(1, 2.0)

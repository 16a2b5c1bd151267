"""Models of the real Keras, with JAX below it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from xaynet_sdk import Layout, LayoutError, flatten, unflatten

if not (find_spec("keras") and find_spec("jax")):
    pytest.skip("needs keras and jax", allow_module_level=True)

# Keras 3.15 with NumPy 2.4 warns of itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")


@pytest.fixture(scope="module")
def keras() -> Iterator[Any]:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    yield keras
    keras.utils.clear_session()


def network(keras: Any, seed: int, dtype: str | None = None) -> Any:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Conv2D(2, 3, dtype=dtype),
            keras.layers.BatchNormalization(dtype=dtype),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3, dtype=dtype),
        ]
    )


def same(a: Any, b: Any) -> bool:
    pairs = zip(a.get_weights(), b.get_weights(), strict=True)
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in pairs)


def test_a_model_there_and_back(keras: Any) -> None:
    trained = network(keras, 1)
    vector, layout = flatten(trained)
    assert layout.source == "keras"
    assert np.array_equal(vector, np.concatenate([each.ravel() for each in trained.get_weights()]))
    assert len(layout) == trained.count_params()
    fresh = network(keras, 2)
    assert not same(fresh, trained)
    assert unflatten(vector, layout, into=fresh) is fresh
    assert same(fresh, trained)
    assert layout == flatten(fresh.get_weights())[1], "participants may use either"


def test_what_is_loaded_shares_no_memory_and_can_be_trained(keras: Any) -> None:
    model = network(keras, 1)
    model.compile("sgd", "mse")
    vector, layout = flatten(model)
    before = vector.copy()
    unflatten(vector, layout, into=model)
    model.fit(np.ones((8, 4, 4, 1)), np.ones((8, 3)), verbose=0)
    assert np.array_equal(vector, before)
    assert not np.array_equal(layout.flatten(model), before)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_other_floats_are_cast_and_come_back_as_they_were(keras: Any, dtype: str) -> None:
    trained = network(keras, 1, dtype)
    vector, layout = flatten(trained)
    assert vector.dtype == np.float32
    read = Layout.from_json(layout.to_json())
    assert {each.dtype.name for each in unflatten(vector, read)} == {dtype}
    assert same(unflatten(vector, layout, into=network(keras, 2, dtype)), trained)


def test_numbers_beyond_a_small_type_are_no_infinities(keras: Any) -> None:
    vector, layout = flatten(network(keras, 1, "float16"))
    with pytest.raises(LayoutError, match="0 is of float16, and a number is too large"):
        unflatten(np.full_like(vector, 7e4), layout)


def test_arrays_of_jax(keras: Any) -> None:
    import jax.numpy as jnp

    parameters = {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3, "bfloat16")}}
    vector, layout = flatten({**parameters, "step": jnp.array(7)})
    assert (vector.tolist(), layout.paths) == ([1] * 6 + [0] * 3, ["dense.kernel", "dense.bias"])
    back = unflatten(vector, layout)
    assert (back["dense"]["bias"].dtype.name, int(back["step"])) == ("bfloat16", 7)


def test_a_model_that_is_not_built_yet(keras: Any) -> None:
    with pytest.raises(LayoutError, match="Sequential has no weights: build it first"):
        flatten(keras.Sequential([keras.layers.Dense(3)]))


def test_another_model_does_not_fit(keras: Any) -> None:
    vector, layout = flatten(network(keras, 1))
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    with pytest.raises(LayoutError, match="is .* and should be"):
        unflatten(vector, layout, into=other)


def answers(keras: Any, model: Any) -> list[np.ndarray[Any, Any]]:
    """Compiled and not: what is compiled has some things as constants."""
    x = np.linspace(-1, 1, 24, dtype="f4").reshape(2, 3, 4)
    return [np.asarray(model(x)), model.predict(x, verbose=0)]


@pytest.mark.parametrize(
    "layer",
    [
        *("BatchNormalization", "Normalization", "LSTM", "TimeDistributed", "SpectralNormalization", "nested"),
    ],
)  # fmt: skip
def test_answers_follow_from_the_vector(keras: Any, layer: str) -> None:
    """What a model is loaded with decides what it answers, compiled before or not."""
    layers = keras.layers
    made: dict[str, Any] = {
        "BatchNormalization": layers.BatchNormalization,
        "Normalization": layers.Normalization,
        "LSTM": lambda: layers.LSTM(2),
        "TimeDistributed": lambda: layers.TimeDistributed(layers.Normalization()),
        "SpectralNormalization": lambda: layers.SpectralNormalization(layers.Dense(2)),
        "nested": lambda: keras.Sequential([layers.Normalization(), layers.Dropout(0.5)]),
    }

    def model() -> Any:
        return keras.Sequential([keras.Input((3, 4)), made[layer](), layers.Dense(2)])

    ours, theirs = model(), model()
    vector, layout = flatten(theirs)
    # Positive, since some are variances.
    vector = np.random.default_rng(1).uniform(0.5, 2, vector.size).astype("f4")
    before = answers(keras, ours)
    unflatten(vector, layout, into=ours)
    unflatten(vector, layout, into=theirs)
    for mine, others, old in zip(answers(keras, ours), answers(keras, theirs), before, strict=True):
        assert np.allclose(mine, others, atol=1e-5)
        assert not np.allclose(mine, old, atol=1e-3), "loading has changed nothing"
    assert np.allclose(*answers(keras, ours), atol=1e-5)
    assert np.array_equal(layout.flatten(ours), vector)


def test_an_adapted_layer_is_loaded(keras: Any) -> None:
    """Normalization computes what it uses from its weights once, and set_weights does not have it do so anew."""
    layer = keras.layers.Normalization()
    model = keras.Sequential([keras.Input((3,)), layer])
    layer.adapt(np.random.default_rng(1).normal(5, 3, (50, 3)))
    x = np.ones((1, 3), "f4")
    before = model.predict(x, verbose=0)
    vector, layout = flatten(model)
    assert layout.paths == ["0", "1"], "mean and variance"
    unflatten(np.array([1, 1, 1, 4, 4, 4], "f4"), layout, into=model)
    assert not np.allclose(before, 0)
    assert np.allclose(model.predict(x, verbose=0), 0)
    assert np.allclose(model(x + 2), 1)


@pytest.mark.filterwarnings("ignore")
def test_quantized_weights_are_told(keras: Any) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.quantize("int8")
    with pytest.raises(LayoutError, match="kernel of int8 is quantized.*Flatten the model before"):
        flatten(model)

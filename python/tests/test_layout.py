"""Models of many arrays as one vector, and back."""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import xaynet_sdk
from xaynet_sdk import Layout, LayoutError, flatten, unflatten


def model() -> dict[str, Any]:
    return {
        "dense": {"kernel": np.arange(6, dtype="f4").reshape(2, 3), "bias": np.zeros(3, "f8")},
        "layers": [np.ones((2, 1), "f2"), (np.float64(0.25), 0.5)],
        "steps": np.array([7, 8]),
        "frozen": True,
    }


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return (
            type(a) is type(b)
            and len(a) == len(b)
            and all(same(*pair) for pair in zip(a, b, strict=True))
        )
    return (
        type(np.asarray(a)) is type(np.asarray(b))
        and np.asarray(a).dtype == np.asarray(b).dtype
        and np.array_equal(a, b)
    )


def test_there_and_back() -> None:
    vector, layout = flatten(model())
    assert vector.dtype == np.float32
    assert vector.tolist() == [0, 1, 2, 3, 4, 5, 0, 0, 0, 1, 1, 0.25, 0.5]
    assert len(layout) == 13
    assert layout.paths == ["dense.kernel", "dense.bias", "layers.0", "layers.1.0", "layers.1.1"]
    assert same(unflatten(vector, layout), model())
    doubled = unflatten((vector * 2).tolist(), layout)
    assert doubled["dense"]["kernel"][1, 2] == 10
    assert doubled["steps"].tolist() == [7, 8], "counters are no weights"


@given(
    st.recursive(
        hnp.arrays(
            st.sampled_from(["f4", "f8"]),
            hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
            elements=st.floats(allow_nan=False, allow_infinity=False, width=32),
        ),
        lambda tree: st.one_of(
            st.lists(tree, max_size=3),
            st.tuples(tree, tree),
            st.dictionaries(st.text(max_size=3), tree, max_size=3),
        ),
        max_leaves=6,
    )
)
def test_any_tree_goes_there_and_back(tree: Any) -> None:
    # One array at least that is not empty.
    tree = [tree, np.ones(1, "f4")]
    vector, layout = flatten(tree)
    assert same(unflatten(vector, layout), tree)
    again = Layout.from_json(layout.to_json())
    assert again == layout
    assert hash(again) == hash(layout)
    assert again.fingerprint == layout.fingerprint
    assert same(again.unflatten(again.flatten(tree)), tree)


def test_a_vector_is_a_copy_and_so_is_what_is_made_of_it() -> None:
    array = np.ones(3, "f4")
    vector, layout = flatten([array])
    array[:] = 5
    assert vector.tolist() == [1, 1, 1]
    (back,) = unflatten(vector, layout)
    back[:] = 7
    assert vector.tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats(dtype: str) -> None:
    vector, layout = flatten([np.array([0.5], "f8"), np.array([3])], dtype)
    assert (vector.dtype, vector.tolist(), layout.dtype) == (np.dtype(dtype), [0.5], dtype)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers(dtype: str) -> None:
    vector, layout = flatten([np.array([5, -3], "i2"), np.array([1], "u8")], dtype)
    assert (vector.dtype, vector.tolist()) == (np.dtype(dtype), [5, -3, 1])
    assert [array.dtype for array in unflatten(vector, layout)] == ["i2", "u8"]
    with pytest.raises(LayoutError, match="0 is of float64, and the vector of int32: round it"):
        flatten([np.zeros(2)], "int32")
    with pytest.raises(LayoutError, match="0 has too large numbers for a vector of int32"):
        flatten([np.array([2**40])], "int32")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"a": {"b": np.array([1, np.nan])}}, r"a\.b has numbers that are not finite"),
        ([np.array([1e300])], "0 has too large numbers for a vector of float32"),
        ({"a": "text"}, "a is no array, but str"),
        ({1: np.zeros(1)}, "keys must be strings, and 1"),
        ([None], "0 is no array, but NoneType"),
        ([np.array(["x"])], "0 is <U1, and no array of numbers"),
        ([np.array([1j])], "0 is complex128, and no array of numbers"),
        ({"a": np.ma.masked_greater([1.0, 2.0], 1)}, r"a has 1 masked numbers: .*filled"),
    ],
)
def test_what_is_wrong_is_named(wrong: Any, message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        flatten(wrong)


def test_only_the_coordinators_types_will_do() -> None:
    for dtype in ("float16", "uint8", "int16", "complex64", "bool"):
        with pytest.raises(LayoutError, match=f"not of {dtype}"):
            flatten([np.zeros(1)], dtype)


def test_vectors_that_do_not_fit() -> None:
    vector, layout = flatten([np.zeros((2, 2))])
    for wrong in (vector[1:], vector.reshape(2, 2)):
        with pytest.raises(LayoutError, match="layout is of 4 in one"):
            unflatten(wrong, layout)
    with pytest.raises(LayoutError, match="must be of floats or integers"):
        unflatten(np.zeros(4, bool), layout)


@pytest.mark.parametrize(
    ("dtype", "vector_dtype", "number"),
    [("f2", "float32", 7e4), ("u1", "int32", 256), ("u1", "int32", -1), ("i4", "int64", 2**40)],
)
def test_numbers_that_a_smaller_type_of_the_model_does_not_have(
    dtype: str, vector_dtype: str, number: float
) -> None:
    _, layout = flatten({"a": np.ones(2, dtype)}, vector_dtype)
    wrong = np.array([1, number], vector_dtype)
    for vector in (wrong, [1.0, number]):
        with pytest.raises(LayoutError, match=f"a is of {np.dtype(dtype)}, and a number is too"):
            unflatten(vector, layout)


def test_another_layout_is_told_apart() -> None:
    _, layout = flatten({"a": np.zeros((2, 3)), "b": np.zeros(2)})
    _, other = flatten({"a": np.zeros((3, 2)), "b": np.zeros(2)})
    assert layout != other
    assert layout.fingerprint != other.fingerprint
    with pytest.raises(LayoutError, match=r"a is \[3, 2\] and should be \[2, 3\]$"):
        layout.flatten({"a": np.zeros((3, 2)), "b": np.zeros(2)})
    with pytest.raises(LayoutError, match="c is .* and should be not there"):
        layout.flatten({"a": np.zeros((2, 3)), "b": np.zeros(2), "c": np.zeros(2)})
    with pytest.raises(LayoutError, match="containers"):
        flatten([np.zeros(1)])[1].flatten((np.zeros(1),))


def test_saved_layouts_of_other_kinds() -> None:
    _, layout = flatten([np.zeros(1)])
    with pytest.raises(LayoutError, match="version 9, this package reads version 1"):
        Layout.from_json(json.dumps({**json.loads(layout.to_json()), "version": 9}))
    for text in ("", "{}", "[]", '{"version": 1}'):
        with pytest.raises(LayoutError, match="no layout"):
            Layout.from_json(text)
    assert issubclass(LayoutError, xaynet_sdk.XaynetError)


# scikit-learn, the real one.


def test_an_estimator() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = np.random.default_rng(1).random((40, 4)), np.arange(40) % 3
    trained = linear_model.SGDClassifier(random_state=1).fit(x, y)
    vector, layout = flatten(trained)
    assert (len(layout), layout.source, layout.paths) == (15, "sklearn", ["coef_", "intercept_"])
    fresh = linear_model.SGDClassifier(random_state=2).partial_fit(x[:3], y[:3], classes=[0, 1, 2])
    assert unflatten(vector, layout, into=fresh) is fresh
    assert np.allclose(fresh.coef_, trained.coef_, atol=1e-5 * abs(trained.coef_).max())
    fresh.partial_fit(x, y)
    assert list(unflatten(vector, layout)) == ["coef_", "intercept_"]
    with pytest.raises(LayoutError, match="SGDClassifier has none .* fit it first"):
        flatten(linear_model.SGDClassifier())
    two = linear_model.SGDClassifier().fit(x, y % 2)
    with pytest.raises(LayoutError, match=r"coef_ is \[1, 4\] and should be \[3, 4\]"):
        unflatten(vector, layout, into=two)


def test_a_neural_network_of_scikit_learn() -> None:
    networks = pytest.importorskip("sklearn.neural_network")
    x, y = np.random.default_rng(1).random((30, 4)), np.arange(30) % 3
    network = networks.MLPClassifier((5,), random_state=1)
    network.partial_fit(x, y, classes=[0, 1, 2])
    before = network.predict_proba(x)
    vector, layout = flatten(network, "float64")
    assert layout.paths == ["coefs_.0", "coefs_.1", "intercepts_.0", "intercepts_.1"]
    network.partial_fit(x, y)
    assert not np.allclose(network.predict_proba(x), before)
    unflatten(vector, layout, into=network)
    assert np.allclose(network.predict_proba(x), before)


# Keras and PyTorch, in the form in which they appear here.


class KerasModel:
    def __init__(self) -> None:
        self.weights = [np.ones((2, 3), "f4"), np.zeros(3, "f4")]

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights: list[np.ndarray[Any, Any]]) -> None:
        assert [weight.shape for weight in weights] == [weight.shape for weight in self.weights]
        self.weights = weights


def test_a_keras_model() -> None:
    vector, layout = flatten(KerasModel())
    assert (layout.source, vector.tolist()) == ("keras", [1] * 6 + [0] * 3)
    fresh = unflatten(vector + 1, layout, into=KerasModel())
    assert fresh.weights[0].tolist() == [[2, 2, 2], [2, 2, 2]]
    assert layout.flatten(KerasModel().get_weights()).tolist() == vector.tolist()
    with pytest.raises(LayoutError, match="cannot be loaded into list"):
        unflatten(vector, layout, into=[1])


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Looks like PyTorch, as far as it is used here; the real one if it is installed."""
    try:
        import torch as real
    except ImportError:
        pass
    else:
        return real

    class Tensor:
        def __init__(self, array: Any, dtype: str) -> None:
            self.array, self.dtype = np.asarray(array), f"torch.{dtype}"

        def detach(self) -> Tensor:
            return self

        cpu = detach

        def float(self) -> Tensor:
            return Tensor(self.array.astype("f4"), "float32")

        def numpy(self) -> np.ndarray[Any, Any]:
            if self.dtype == "torch.bfloat16":
                raise TypeError("Got unsupported ScalarType BFloat16")
            return self.array

        def to(self, dtype: str) -> Tensor:
            return Tensor(self.array, dtype)

        def tolist(self) -> Any:
            return self.array.tolist()

    Tensor.__module__ = "torch"
    module: Any = ModuleType("torch")
    module.Tensor = Tensor
    module.from_numpy = lambda array: Tensor(array, array.dtype.name)
    module.tensor = lambda values, dtype: Tensor(values, dtype)
    for name in ("float32", "float16", "bfloat16", "int64"):
        setattr(module, name, name)
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


class TorchModule:
    def __init__(self, torch: Any, value: float, steps: int) -> None:
        self.state: dict[str, Any] = OrderedDict(
            weight=torch.tensor([[value, 2.0]], dtype=torch.float32),
            half=torch.tensor([0.5], dtype=torch.bfloat16),
            num_batches_tracked=torch.tensor(steps, dtype=torch.int64),
        )

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert list(state) == list(self.state)
        self.state = state


def test_a_torch_module(torch: Any) -> None:
    vector, layout = flatten(TorchModule(torch, 1.0, 5))
    assert (layout.source, vector.tolist()) == ("torch", [1, 2, 0.5])
    state = unflatten(vector, layout)
    assert {name: str(tensor.dtype) for name, tensor in state.items()} == {
        "weight": "torch.float32",
        "half": "torch.bfloat16",
        "num_batches_tracked": "torch.int64",
    }
    assert state["num_batches_tracked"].tolist() == 5
    fresh = unflatten(vector * 2, layout, into=TorchModule(torch, 9.0, 77))
    assert fresh.state["weight"].tolist() == [[2, 4]]
    assert fresh.state["num_batches_tracked"].tolist() == 77, "its own counter stays"
    assert layout.flatten(TorchModule(torch, 3.0, 1)).tolist() == [3, 2, 0.5]


class Parameter:
    """Of PyTorch, as far as it is asked."""

    def __init__(self, address: int, trained: bool = True, integer: bool = False) -> None:
        self.address, self.requires_grad, self.integer = address, trained, integer
        self.dtype = "torch.int32" if integer else "torch.float32"

    def is_floating_point(self) -> bool:
        return not self.integer

    def is_complex(self) -> bool:
        return False

    def data_ptr(self) -> int:
        return self.address


def test_parameters_that_the_state_leaves_out_are_told(torch: Any) -> None:
    """They are trained, and would be in no global model."""

    class Module(TorchModule):
        parameters: dict[str, Parameter]

        def named_parameters(self) -> Any:
            return self.parameters.items()

    module = Module(torch, 1.0, 5)
    module.parameters = {"weight": Parameter(1), "adapter": Parameter(2)}
    with pytest.raises(LayoutError, match="Module trains adapter, which its state_dict"):
        flatten(module)
    module.parameters["adapter"].requires_grad = False
    flatten(module)
    module.parameters["packed"] = Parameter(3, False, True)
    with pytest.raises(LayoutError, match=r"the parameter packed of torch\.int32 is quantized"):
        flatten(module)


@pytest.mark.parametrize("model", [[], {}, np.arange(3), {"steps": 3}, np.empty((0, 2))])
def test_a_model_without_weights_is_told(model: Any) -> None:
    with pytest.raises(xaynet_sdk.LayoutError, match="nothing in the model"):
        xaynet_sdk.flatten(model)


def test_differences_are_told_in_the_models_order() -> None:
    _, layout = xaynet_sdk.flatten({name: np.ones(2) for name in "abcdef"})
    with pytest.raises(xaynet_sdk.LayoutError) as told:
        layout.flatten({name: np.ones(3) for name in "abcdef"})
    names = [part.split()[0] for part in str(told.value).split(": ", 1)[1].split("; ")]
    assert names == list("abcdef")


@pytest.mark.parametrize(
    ("part", "damaged"),
    [
        ('"dtype": "<f4"', '"dtype": "|O"'),
        ('"dtype": "<f4"', '"dtype": "nothing"'),
        ('"dtype": "float32"', '"dtype": "float16"'),
        ('"library": "numpy"', '"library": "os"'),
        ("[2, 2]", "[-2, -2]"),
        ("[2, 2]", "2"),
        ('"kept": 3', '"kept": [3, 4]'),
        ('"kept": 3', '"kept": "three"'),
        ('"tree": {', '"tree": {"list": [], '),
        ('{"list": [1, 2]}', '{"list": [1, 1]}'),
        ('{"list": [1, 2]}', '{"list": [1, 7]}'),
        ('{"list": [1, 2]}', '{"list": [1]}'),
        ('{"list": [1, 2]}', '{"set": [1, 2]}'),
        ('{"list": [1, 2]}', "null"),
        ('["a", 0]', "[0, 0]"),
    ],
)
def test_a_damaged_layout_is_told_when_it_is_read(part: str, damaged: str) -> None:
    tree = {"a": np.ones((2, 2), "f4"), "b": [np.zeros(3), 2.0], "n": np.int64(3)}
    saved = flatten(tree)[1].to_json()
    assert part in saved
    with pytest.raises(xaynet_sdk.LayoutError, match="no layout"):
        Layout.from_json(saved.replace(part, damaged))


def test_a_saved_layout_of_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    layout = flatten([np.ones(3, ml_dtypes.bfloat16)])[1]
    assert Layout.from_json(layout.to_json()) == layout

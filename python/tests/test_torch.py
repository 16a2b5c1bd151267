"""Models of the real PyTorch, where it is installed (`make test-torch`)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from xaynet_sdk import Layout, LayoutError, flatten, unflatten

torch: Any = pytest.importorskip("torch")


def network(seed: int = 1) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    )


def same(a: Any, b: Any) -> bool:
    states = a.state_dict(), b.state_dict()
    return list(states[0]) == list(states[1]) and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )


def test_a_module_there_and_back() -> None:
    trained = network()
    trained(torch.rand(5, 1, 4, 4))
    vector, layout = flatten(trained)
    state = trained.state_dict()
    assert layout.source == "torch"
    assert layout.paths == [key for key in state if key != "1.num_batches_tracked"]
    numbers = [state[key].numpy().ravel() for key in layout.paths]
    assert np.array_equal(vector, np.concatenate(numbers)), "in the order of the state_dict"

    fresh = network(2)
    assert unflatten(vector, layout, into=fresh) is fresh
    assert int(fresh[1].num_batches_tracked) == 0, "its own counter stays"
    fresh[1].num_batches_tracked += 1
    assert same(fresh, trained)
    assert all(parameter.requires_grad for parameter in fresh.parameters())


def test_what_is_loaded_shares_no_memory_and_can_be_trained() -> None:
    model = network()
    vector, layout = flatten(model)
    before = vector.copy()
    unflatten(vector, layout, into=model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.rand(5, 1, 4, 4)).sum().backward()
    optimizer.step()
    assert np.array_equal(vector, before)
    assert not np.array_equal(layout.flatten(model), before)


def test_a_state_dict_there_and_back() -> None:
    trained = network()
    vector, layout = flatten(trained.state_dict())
    assert layout == flatten(trained)[1], "participants may use either"
    state = Layout.from_json(layout.to_json()).unflatten(vector)
    fresh = network(2)
    fresh.load_state_dict(state)
    assert same(fresh, trained)
    assert state["1.num_batches_tracked"].dtype == torch.int64
    assert state["1.num_batches_tracked"].shape == ()


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float64"])
def test_other_floats_are_cast_and_come_back_as_they_were(name: str) -> None:
    dtype = getattr(torch, name)
    model = torch.nn.Linear(3, 2).to(dtype)
    vector, layout = flatten(model)
    assert vector.dtype == np.float32
    fresh = unflatten(vector, layout, into=torch.nn.Linear(3, 2).to(dtype))
    assert fresh.weight.dtype == dtype
    # float64 comes back with the precision of the vector.
    assert torch.equal(fresh.weight.float(), model.weight.float())


def test_numbers_beyond_a_small_type_are_no_infinities() -> None:
    _, layout = flatten({"a": torch.ones(2, dtype=torch.float16)})
    with pytest.raises(LayoutError, match="a is of float16, and a number is too large"):
        unflatten(np.array([1, 7e4], np.float32), layout)


def test_shared_tensors_stay_shared() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    model[1].weight = model[0].weight
    vector, layout = flatten(model)
    assert len(layout) == 24
    unflatten(vector * 2, layout, into=model)
    assert model[1].weight is model[0].weight
    assert np.array_equal(layout.flatten(model), vector * 2)


def test_empty_tensors_scalars_and_buffers() -> None:
    model = torch.nn.Module()
    model.register_buffer("none", torch.zeros(0, 3))
    model.register_buffer("scale", torch.tensor(2.5))
    model.register_buffer("flags", torch.tensor([True, False]))
    model.register_buffer("order", torch.tensor([2, 0, 1], dtype=torch.int32))
    vector, layout = flatten(model)
    assert (vector.tolist(), layout.paths) == ([2.5], ["none", "scale"])
    state = unflatten(vector * 2, layout)
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        "none": (0, 3),
        "scale": (),
        "flags": (2,),
        "order": (3,),
    }
    assert state["flags"].tolist() == [True, False]
    assert state["order"].dtype == torch.int32
    model.order[:] = 7
    unflatten(vector * 2, layout, into=model)
    assert (float(model.scale), model.order.tolist()) == (5, [7, 7, 7])


def test_the_order_of_memory_does_not_matter() -> None:
    image = torch.arange(24.0).reshape(1, 2, 3, 4)
    for tensor in (
        image.contiguous(memory_format=torch.channels_last),
        image.transpose(1, 3).contiguous().transpose(1, 3),
    ):
        assert flatten([tensor])[0].tolist() == list(range(24))
    assert flatten([torch.ones(1).expand(3)])[0].tolist() == [1, 1, 1]


def test_tensors_of_other_classes() -> None:
    tagged = type("Tagged", (torch.Tensor,), {"__module__": "elsewhere"})
    tensor = torch.ones(2).as_subclass(tagged).requires_grad_()
    vector, layout = flatten([tensor, torch.nn.Parameter(torch.zeros(1))])
    assert vector.tolist() == [1, 1, 0]
    assert all(type(each) is torch.Tensor for each in unflatten(vector, layout))


class Versioned(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """Has state of another kind, and looks at the version of what it loads."""

    _version = 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))
        self.note: object = None
        self.seen: object = None

    def get_extra_state(self) -> object:
        return {"note": self.note}

    def set_extra_state(self, state: Any) -> None:
        self.note = state["note"]

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *others: Any) -> None:
        self.seen = metadata.get("version")
        super()._load_from_state_dict(state, prefix, metadata, *others)


def test_extra_state_stays_and_the_version_is_kept() -> None:
    model = Versioned()
    vector, layout = flatten(model)
    assert vector.tolist() == [1, 1]
    model.note = "mine"
    unflatten(vector * 3, layout, into=model)
    assert model.weight.tolist() == [3, 3]
    assert (model.note, model.seen) == ("mine", 3)


def test_tensors_that_are_no_arrays_are_named() -> None:
    with warnings.catch_warnings():
        # "Lazy modules are a new feature", quantized tensors are deprecated, ...
        warnings.simplefilter("ignore")
        wrong = {
            "sparse": torch.eye(2).to_sparse(),
            "quantized": torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8),
            "meta": torch.ones(2, device="meta"),
            "lazy": torch.nn.LazyLinear(3).weight,
        }
    for name, tensor in wrong.items():
        with pytest.raises(LayoutError, match=f"{name} is a tensor of torch.* NumPy cannot have"):
            flatten({name: tensor})
    with pytest.raises(LayoutError, match="0 is complex64, and no array of numbers"):
        flatten([torch.ones(2, dtype=torch.complex64)])


def test_another_module_does_not_fit() -> None:
    vector, layout = flatten(torch.nn.Linear(3, 2))
    other = torch.nn.Linear(2, 3)
    before = other.weight.clone()
    with pytest.raises(LayoutError, match=r"weight is \[3, 2\] and should be \[2, 3\]"):
        unflatten(vector, layout, into=other)
    assert torch.equal(other.weight, before)


class Hidden(torch.nn.Module):
    """Keeps a part of its weights out of its state."""

    def __init__(self) -> None:
        super().__init__()
        self.shown, self.hidden = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)

    def state_dict(self) -> Any:  # type: ignore[override, unused-ignore]
        return {key: value for key, value in super().state_dict().items() if "shown" in key}


def test_parameters_that_the_state_leaves_out_are_told() -> None:
    module = Hidden()
    with pytest.raises(LayoutError, match=r"Hidden trains hidden\.weight, hidden\.bias"):
        flatten(module)
    module.hidden.requires_grad_(False)
    assert len(flatten(module)[0]) == 3


def test_parameters_under_another_name_are_not_missed() -> None:
    class Renamed(torch.nn.Linear):
        def state_dict(self) -> Any:  # type: ignore[override, unused-ignore]
            return {f"my_{key}": value for key, value in super().state_dict().items()}

    assert len(flatten(Renamed(2, 1))[0]) == 3


def test_quantized_weights_are_told() -> None:
    module = torch.nn.Linear(2, 1)
    module.register_buffer("weight_int8", torch.zeros(4, dtype=torch.int8))
    for model in (module, module.state_dict()):
        with pytest.raises(LayoutError, match=r"weight_int8 of torch\.int8 is quantized"):
            flatten(model)
    packed = torch.nn.Linear(2, 1)
    packed.packed = torch.nn.Parameter(torch.zeros(4, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(LayoutError, match=r"the parameter packed of torch\.uint8 is quantized"):
        flatten(packed)


def test_tied_parameters_stay_tied() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    module[1].weight = module[0].weight
    vector, layout = flatten(module)
    loaded = unflatten(vector + 1, layout, into=module)
    assert loaded[1].weight is loaded[0].weight
    assert np.array_equal(flatten(loaded)[0], vector + 1)

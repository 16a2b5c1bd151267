"""The arrays of a PyTorch module or a Keras model, and how they are loaded.

Neither is refused for what it has beside its weights, such as counters; but weights that a vector of floats
would leave out are told, and what a layer computes from its weights is computed anew after loading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from xaynet_sdk._layout_error import LayoutError

_QUANTIZED = (
    "is quantized: its integers would stay each participant's own, while the scales that belong to them are "
    "averaged. Flatten the model before it is quantized, and quantize the global model"
)


def is_torch(model: Any) -> bool:
    return hasattr(model, "state_dict") and hasattr(model, "load_state_dict")


def torch_state(module: Any) -> dict[str, Any]:
    """The tensors of a module.

    Raises:
        LayoutError: Parameters that are trained are not among them, or are no floats.
    """
    # Extra state may be anything, and is each participant's own.
    state = {
        key: value for key, value in module.state_dict().items() if not key.endswith("_extra_state")
    }
    named = getattr(module, "named_parameters", None)
    parameters = dict(named()) if named is not None else {}
    for key, parameter in parameters.items():
        if _is_integer(parameter):
            raise LayoutError(f"the parameter {key} of {parameter.dtype} {_QUANTIZED}")
    refuse_quantized(state)
    trained = [key for key, value in parameters.items() if value.requires_grad and key not in state]
    if trained:
        # Under another name it will do.
        given = {_memory(value) for value in state.values()}
        missing = [key for key in trained if _memory(parameters[key]) not in given]
        if missing:
            raise LayoutError(
                f"the module {type(module).__name__} trains {', '.join(missing[:5])}, which its state_dict() "
                "leaves out: it would be in no global model. Put it there, or freeze it (requires_grad_(False))"
            )
    return state


def refuse_quantized(state: Mapping[str, Any]) -> None:
    """Tensors of signed bytes are weights in fewer bits; masks and positions are of other types."""
    for key, value in state.items():
        if str(getattr(value, "dtype", "")) == "torch.int8" and value.numel() > 1:
            raise LayoutError(f"{key} of {value.dtype} {_QUANTIZED}")


def _memory(tensor: Any) -> object:
    """Where the numbers are; something that equals nothing else if they are nowhere."""
    try:
        return tensor.data_ptr() or object()
    except Exception:
        return object()


def _is_integer(tensor: Any) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex())


def load_torch(module: Any, tensors: Mapping[str, Any]) -> None:
    """What is not among the tensors stays as it is there, and so do the device and the state's version."""
    state = module.state_dict()
    state.update(tensors)
    module.load_state_dict(state)


def is_keras(model: Any) -> bool:
    return hasattr(model, "get_weights") and hasattr(model, "set_weights")


def keras_weights(model: Any) -> list[Any]:
    """The weights of a Keras model or layer.

    Raises:
        LayoutError: It has none yet, or they are quantized.
    """
    weights = list(model.get_weights())
    if not weights:
        raise LayoutError(
            f"the model {type(model).__name__} has no weights: build it first (give it a keras.Input, or call "
            "it once)"
        )
    for variable, weight in zip(_variables(model, len(weights)), weights, strict=True):
        dtype = str(getattr(weight, "dtype", ""))
        if dtype in ("int8", "uint8") and weight.size > 1:
            raise LayoutError(f"{variable} of {dtype} {_QUANTIZED}")
    return weights


def _variables(model: Any, count: int) -> list[str]:
    variables = list(getattr(model, "weights", ()))
    if len(variables) != count:
        return [f"weight {index}" for index in range(count)]
    return [str(getattr(variable, "path", index)) for index, variable in enumerate(variables)]


def load_keras(model: Any, weights: list[Any]) -> None:
    """Sets the weights, and has layers compute anew what they compute from them once (`Normalization`)."""
    model.set_weights(weights)
    stale = False
    for layer in _layers(model):
        finalize = getattr(layer, "finalize_state", None)
        if callable(finalize):
            finalize()
            stale = True
    if stale:
        # Compiled functions have what was computed before as constants.
        for name in ("train_function", "test_function", "predict_function"):
            if hasattr(model, name):
                setattr(model, name, None)


def _layers(model: Any) -> Iterator[Any]:
    yield model
    for layer in getattr(model, "layers", ()):
        yield from _layers(layer)
    # Wrappers, such as TimeDistributed and Bidirectional, have one or two layers and no list of them.
    for name in ("layer", "forward_layer", "backward_layer", "cell"):
        inner = vars(model).get(name) if hasattr(model, "__dict__") else None
        if inner is not None:
            yield from _layers(inner)

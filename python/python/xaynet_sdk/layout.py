"""Models of many arrays as one flat vector, and back.

Participants exchange one vector of numbers. :func:`flatten` makes it from what machine learning libraries
have (arrays in lists or dicts, nested as you like; a PyTorch module or its ``state_dict``; a Keras model or
its weights; a fitted scikit-learn estimator) and records the :class:`Layout`, by which :func:`unflatten`
goes back::

    vector, layout = xaynet_sdk.flatten(model)
    xaynet_sdk.unflatten(vector, layout, into=model)

No library but NumPy is needed, or imported, unless you use its objects.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from xaynet_sdk import _estimators, _networks
from xaynet_sdk._layout_error import LayoutError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    _Array: TypeAlias = npt.NDArray[Any]

__all__ = ["Layout", "LayoutError", "flatten", "unflatten"]

_VERSION = 1


@dataclass(frozen=True, slots=True)
class _Leaf:
    """One array of a model."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    #: The library that it is of: ``numpy``, ``torch``, ``ml_dtypes`` for a NumPy array of one of its types
    #: (JAX's and Keras's bfloat16), or ``python`` for a plain number.
    library: str
    #: Whether it is in the vector. What is not (counters, flags, ...) is kept as it was.
    in_vector: bool
    #: The values of what is not in the vector.
    kept: Any = None

    @property
    def size(self) -> int:
        size = 1
        for length in self.shape:
            size *= length
        return size


# A model without its numbers: the number of a leaf, or a container.
_Tree: TypeAlias = Any


class Layout:
    """How the arrays of a model lie in a vector: made by :func:`flatten`, the same for all participants.

    Two layouts are equal if models of the one can be read as models of the other; send
    :attr:`fingerprint` along with whatever else participants have to agree on.
    """

    def __init__(
        self,
        dtype: str,
        source: str,
        tree: _Tree,
        leaves: Sequence[_Leaf],
        labels: list[Any] | None = None,
        named: bool = False,
    ) -> None:
        self._dtype = dtype
        self._source = source
        self._tree = tree
        self._leaves = tuple(leaves)
        # The classes that a classifier tells apart: models of others mean something else.
        self._labels = labels
        # Whether the user has named the attributes that are the model.
        self._named = named
        self._length = sum(leaf.size for leaf in self._leaves if leaf.in_vector)

    def __len__(self) -> int:
        """How many numbers the vector has: the coordinator's ``model.length``."""
        return self._length

    @property
    def dtype(self) -> str:
        """The vector's data type."""
        return self._dtype

    @property
    def source(self) -> str:
        """What kind of model it is the layout of: ``tree``, ``torch``, ``keras`` or ``sklearn``."""
        return self._source

    @property
    def paths(self) -> list[str]:
        """The names of the arrays in the vector, in their order."""
        return [leaf.path for leaf in self._leaves if leaf.in_vector]

    @property
    def fingerprint(self) -> str:
        """A short name of the layout: equal for equal layouts only."""
        return hashlib.sha256(self._identity().encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        return f"<Layout {self.fingerprint}: {len(self)} x {self.dtype} of {len(self.paths)} arrays ({self.source})>"

    def flatten(self, model: object) -> _Array:
        """Makes the vector of another model of this layout.

        Raises:
            LayoutError: It has another layout; all differences are named.
        """
        vector, layout = _flatten(model, self._dtype, self._attributes())
        if not self._fits(layout):
            raise LayoutError(
                f"the model has another layout than recorded: {_difference(self, layout)}"
            )
        return vector

    def unflatten(self, vector: object, into: Any = None) -> Any:
        """See :func:`unflatten`."""
        return unflatten(vector, self, into)

    def to_json(self) -> str:
        """The layout as JSON, to keep it or to send it to other participants. It holds no weights."""
        leaves = [
            {
                "path": leaf.path,
                "shape": list(leaf.shape),
                "dtype": leaf.dtype,
                "library": leaf.library,
                "in_vector": leaf.in_vector,
                "kept": leaf.kept,
            }
            for leaf in self._leaves
        ]
        return json.dumps(
            {
                "version": _VERSION,
                "dtype": self._dtype,
                "source": self._source,
                "tree": self._tree,
                "leaves": leaves,
                "labels": self._labels,
                "named": self._named,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Layout:
        """Reads a layout from what :meth:`to_json` gave.

        Raises:
            LayoutError: It is something else, or of a version that this package does not know.
        """
        try:
            read = json.loads(text)
            version = read["version"]
            if version != _VERSION:
                raise LayoutError(
                    f"the layout has version {version}, this package reads version {_VERSION}"
                )
            leaves = [
                _Leaf(
                    leaf["path"],
                    tuple(int(length) for length in leaf["shape"]),
                    leaf["dtype"],
                    leaf["library"],
                    bool(leaf["in_vector"]),
                    leaf["kept"],
                )
                for leaf in read["leaves"]
            ]
            _check(read["dtype"], read["tree"], leaves)
            # Both were not there at first.
            labels, named = read.get("labels"), read.get("named")
            if not (labels is None or isinstance(labels, list)):
                raise ValueError(f"its labels are {labels!r}")
            if named is None:
                named = read["source"] == "sklearn" and any(
                    key not in _estimators.WEIGHTS for key, _ in read["tree"]["dict"]
                )
            return cls(read["dtype"], read["source"], read["tree"], leaves, labels, bool(named))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, LayoutError):
                raise
            raise LayoutError(f"this is no layout: {error!r}") from error

    def _shape(self) -> list[Any]:
        # Not of which library an array is, nor what is kept: a NumPy copy of a module fits as well.
        leaves = [(leaf.path, leaf.shape, leaf.in_vector) for leaf in self._leaves]
        return [self._dtype, self._tree, leaves]

    def _identity(self) -> str:
        labels = [] if self._labels is None else [self._labels]
        return json.dumps(self._shape() + labels)

    def _fits(self, other: Layout) -> bool:
        """Whether they are equal as far as both are known: plain arrays have no labels."""
        unknown = self._labels is None or other._labels is None
        return json.dumps(self._shape()) == json.dumps(other._shape()) and (
            unknown or self._labels == other._labels
        )

    def _attributes(self) -> tuple[str, ...] | None:
        if self._source != "sklearn" or not self._named:
            return None
        return tuple(key for key, _ in self._tree["dict"])


def flatten(
    model: object,
    dtype: npt.DTypeLike = "float32",
    *,
    attributes: Sequence[str] | None = None,
) -> tuple[_Array, Layout]:
    """Makes one vector of all weights of a model, with its layout.

    Args:
        model: An array; a list, tuple or dict of such, nested as you like; a PyTorch module or its
            ``state_dict()``; a Keras model or its ``get_weights()``; a fitted scikit-learn estimator.
        dtype: The vector's data type: the coordinator's. Integer arrays (counters, such as those of batch
            normalization) do not go into a vector of floats, but are kept as they are.
        attributes: Which attributes of a scikit-learn estimator are its weights, as far as it has them. By
            default they are found, and an estimator that has learnt anything else is refused; whoever names
            them answers for their being all of the model.

    Raises:
        LayoutError: Something in it is no array, or has a number that the vector's type does not have, or the
            model's predictions may follow from something that would not be in the vector.
    """
    return _flatten(model, dtype, None if attributes is None else tuple(attributes))


def unflatten(vector: object, layout: Layout, into: Any = None) -> Any:
    """Makes a model of a vector: what :func:`flatten` was given, with new numbers.

    Args:
        vector: A flat array or list, such as a global model.
        layout: What :func:`flatten` has recorded.
        into: The PyTorch module, Keras model or scikit-learn estimator to load the weights into, which is
            then given back. Without it the arrays are given: a ``state_dict`` for a module, a list for a
            Keras model, a dict of attributes for an estimator.

    Raises:
        LayoutError: The vector has another length, or ``into`` is not of that layout.
    """
    import numpy as np

    _refuse_masked(vector, "the vector")
    flat = np.asarray(vector)
    if flat.ndim != 1 or flat.size != len(layout):
        raise LayoutError(
            f"the vector has {flat.size} numbers in {flat.ndim} dimension(s), and the layout is of "
            f"{len(layout)} in one"
        )
    if flat.dtype.kind not in "fiu":
        raise LayoutError(f"the vector is of {flat.dtype}, and must be of floats or integers")
    arrays: list[Any] = []
    start = 0
    for leaf in layout._leaves:
        if leaf.in_vector:
            arrays.append(_restored(flat[start : start + leaf.size], leaf))
            start += leaf.size
        else:
            arrays.append(_restored(np.asarray(leaf.kept, dtype=_numpy_type(leaf)), leaf))
    tree = _rebuilt(layout._tree, arrays)
    return tree if into is None else _load(tree, layout, into)


# Taking apart.


def _flatten(
    model: object, dtype: npt.DTypeLike, attributes: tuple[str, ...] | None
) -> tuple[_Array, Layout]:
    import numpy as np

    wanted = np.dtype(dtype)
    if wanted.kind not in "fi" or wanted.itemsize not in (4, 8):
        raise LayoutError(
            f"a vector is of float32, float64, int32 or int64, the coordinator's data types, not of {wanted}"
        )
    source, tree = _source(model, attributes)
    leaves: list[_Leaf] = []
    pieces: list[_Array] = []
    shape = _taken_apart(tree, "", wanted, leaves, pieces)
    if not any(piece.size for piece in pieces):
        kinds = "floats" if wanted.kind == "f" else "integers"
        raise LayoutError(
            f"there is nothing in the model for a vector of {wanted}: it has no {kinds}"
        )
    vector = np.empty(sum(piece.size for piece in pieces), wanted)
    start = 0
    paths = (leaf.path for leaf in leaves if leaf.in_vector)
    for path, piece in zip(paths, pieces, strict=True):
        part = vector[start : start + piece.size]
        _copy_into(part, piece.reshape(-1), path)
        start += piece.size
    labels = _estimators.labels(model) if source == "sklearn" else None
    return vector, Layout(wanted.name, source, shape, leaves, labels, attributes is not None)


def _copy_into(part: _Array, piece: _Array, path: str) -> None:
    import numpy as np

    with np.errstate(over="ignore"):
        np.copyto(part, piece, casting="same_kind" if part.dtype.kind == "f" else "unsafe")
    if part.dtype.kind == "f":
        if not np.isfinite(part).all():
            what = (
                "numbers that are not finite"
                if not np.isfinite(piece).all()
                else "too large numbers"
            )
            raise LayoutError(f"{path or 'the array'} has {what} for a vector of {part.dtype}")
    elif not np.array_equal(part, piece):
        raise LayoutError(
            f"{path or 'the array'} has too large numbers for a vector of {part.dtype}"
        )


def _source(model: Any, attributes: tuple[str, ...] | None) -> tuple[str, Any]:
    if _networks.is_torch(model):
        return "torch", _networks.torch_state(model)
    if _networks.is_keras(model):
        return "keras", _networks.keras_weights(model)
    if _estimators.is_estimator(model):
        return "sklearn", _estimators.weights(model, attributes)
    if isinstance(model, Mapping):
        _networks.refuse_quantized(model)
    return "tree", model


def _taken_apart(
    tree: Any, path: str, wanted: np.dtype[Any], leaves: list[_Leaf], pieces: list[_Array]
) -> _Tree:
    def child(key: object, value: Any) -> _Tree:
        return _taken_apart(value, f"{path}.{key}" if path else str(key), wanted, leaves, pieces)

    if isinstance(tree, Mapping):
        wrong = [key for key in tree if not isinstance(key, str)]
        if wrong:
            raise LayoutError(
                f"keys must be strings, and {wrong[0]!r} in {path or 'the dict'} is not"
            )
        return {"dict": [[key, child(key, value)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        kind = "list" if isinstance(tree, list) else "tuple"
        return {kind: [child(index, value) for index, value in enumerate(tree)]}
    array, library, dtype = _as_numpy(tree, path)
    in_vector = array.dtype.kind in ("f" if wanted.kind == "f" else "iu")
    if in_vector:
        pieces.append(array)
    elif array.dtype.kind not in "iubf":
        raise LayoutError(f"{path or 'the model'} is {array.dtype}, and no array of numbers")
    elif array.dtype.kind == "f":
        raise LayoutError(
            f"{path or 'the array'} is of {array.dtype}, and the vector of {wanted}: round it yourself"
        )
    kept = None if in_vector else array.tolist()
    leaves.append(_Leaf(path, tuple(array.shape), dtype, library, in_vector, kept))
    return len(leaves) - 1


def _as_numpy(leaf: Any, path: str) -> tuple[_Array, str, str]:
    import numpy as np

    # A tensor can be here only if somebody has imported its library.
    tensor_type = getattr(sys.modules.get("torch"), "Tensor", None)
    if tensor_type is not None and isinstance(leaf, tensor_type):
        return _tensor_as_numpy(leaf, path), "torch", str(leaf.dtype)
    if type(leaf) in (float, int, bool):
        # A plain number; a truth value is one that is kept.
        array = np.asarray(leaf)
        return array, "python", type(leaf).__name__
    if isinstance(leaf, str | bytes) or leaf is None:
        raise LayoutError(f"{path or 'the model'} is no array, but {type(leaf).__name__}")
    _refuse_masked(leaf, path or "the array")
    array = np.asarray(leaf)
    if array.dtype.type.__module__ == "ml_dtypes" and "float" in array.dtype.name:
        return array.astype(np.float32), "ml_dtypes", array.dtype.name
    return array, "numpy", array.dtype.str


def _refuse_masked(array: Any, what: str) -> None:
    """As an array, or seen through a view, they would be numbers that nobody has meant."""
    import numpy as np

    while isinstance(array, memoryview):
        array = array.obj
    if isinstance(array, np.ma.MaskedArray) and (masked := int(np.sum(np.ma.getmaskarray(array)))):
        raise LayoutError(f"{what} has {masked} masked numbers: say with filled() what they are")


def _tensor_as_numpy(tensor: Any, path: str) -> _Array:
    dtype = str(tensor.dtype)
    try:
        tensor = tensor.detach().cpu()
        if dtype == "torch.bfloat16":
            # NumPy has no such type.
            tensor = tensor.float()
        array: _Array = tensor.numpy()
    # What PyTorch raises for sparse, quantized, meta and lazy tensors, and for types that NumPy does not have.
    except (RuntimeError, TypeError, ValueError) as error:
        raise LayoutError(
            f"{path or 'the model'} is a tensor of {dtype} that NumPy cannot have: {error}"
        ) from error
    return array


# Putting together.


def _numpy_type(leaf: _Leaf) -> np.dtype[Any]:
    import numpy as np

    if leaf.library == "torch":
        return np.dtype(leaf.dtype.removeprefix("torch.").replace("bfloat16", "float32"))
    if leaf.library == "ml_dtypes":
        import ml_dtypes  # type: ignore[import-not-found, unused-ignore]

        known: np.dtype[Any] = np.dtype(getattr(ml_dtypes, leaf.dtype))
        return known
    return np.dtype(leaf.dtype)


def _restored(numbers: _Array, leaf: _Leaf) -> Any:
    import numpy as np

    if leaf.library == "python":
        number = numbers.reshape(-1)[0].item()
        return {"float": float, "int": int, "bool": bool}[leaf.dtype](number)
    dtype = _numpy_type(leaf)
    if leaf.in_vector and dtype.kind in "iu" and numbers.dtype.kind == "f":
        numbers = np.rint(numbers)
    # A copy: whoever changes the model does not change the vector.
    with np.errstate(over="ignore", invalid="ignore"):
        array = numbers.astype(dtype, copy=True)
    if not (np.can_cast(numbers.dtype, dtype) or _fit(numbers, array)):
        raise LayoutError(
            f"{leaf.path or 'the array'} is of {dtype}, and a number is too large for that"
        )
    array = array.reshape(leaf.shape)
    if leaf.library != "torch":
        return array
    import torch  # type: ignore[import-not-found, unused-ignore]

    return torch.from_numpy(array).to(getattr(torch, leaf.dtype.removeprefix("torch.")))


def _fit(numbers: _Array, array: _Array) -> bool:
    import numpy as np

    if array.dtype.kind in "iu":
        return np.array_equal(numbers, array)
    return bool((np.isfinite(array) | ~np.isfinite(numbers)).all())


def _rebuilt(tree: _Tree, arrays: list[Any]) -> Any:
    if isinstance(tree, int):
        return arrays[tree]
    ((kind, children),) = tree.items()
    if kind == "dict":
        return {key: _rebuilt(child, arrays) for key, child in children}
    built = [_rebuilt(child, arrays) for child in children]
    return tuple(built) if kind == "tuple" else built


def _check(dtype: str, tree: Any, leaves: Sequence[_Leaf]) -> None:
    """Raises whatever comes of it if these are not parts of a layout: they may be from anywhere."""
    import numpy as np

    if dtype not in ("float32", "float64", "int32", "int64"):
        raise ValueError(f"it is for vectors of {dtype}")
    for leaf in leaves:
        if min(leaf.shape, default=0) < 0:
            raise ValueError(f"{leaf.path} has the shape {list(leaf.shape)}")
        if leaf.library not in ("numpy", "torch", "ml_dtypes", "python"):
            raise ValueError(f"{leaf.path} is an array of {leaf.library}")
        if leaf.library == "ml_dtypes":
            # It need not be installed where a layout is only read; what it has is never kept.
            if "float" not in leaf.dtype or not leaf.in_vector:
                raise ValueError(f"{leaf.path} is of {leaf.dtype}")
            continue
        kept_as = _numpy_type(leaf)
        if kept_as.kind not in "iubf":
            raise ValueError(f"{leaf.path} is of {kept_as}")
        if not leaf.in_vector:
            np.asarray(leaf.kept, dtype=kept_as).reshape(leaf.shape)
    # Every array has one place, and there are no others.
    numbers: list[int] = []

    def visit(tree: Any) -> None:
        if isinstance(tree, int):
            numbers.append(tree)
            return
        ((kind, children),) = tree.items()
        for child in children:
            if kind == "dict":
                key, child = child
                if not isinstance(key, str):
                    raise ValueError(f"{key!r} is a key")
            elif kind not in ("list", "tuple"):
                raise ValueError(f"{kind} is no container")
            visit(child)

    visit(tree)
    if numbers != list(range(len(leaves))):
        raise ValueError("its tree does not have exactly its arrays")


def _load(tree: Any, layout: Layout, into: Any) -> Any:
    source, _ = _source(into, layout._attributes())
    if source == "tree":
        raise LayoutError(
            f"weights cannot be loaded into {type(into).__name__}: give a PyTorch module, a Keras model or a "
            "scikit-learn estimator, or leave `into` out and take the arrays"
        )
    _, found = _flatten(into, layout.dtype, layout._attributes())
    if not layout._fits(found):
        raise LayoutError(
            f"the model to load into has another layout than recorded: {_difference(layout, found)}"
        )
    if source == "torch":
        kept = {leaf.path for leaf in layout._leaves if not leaf.in_vector}
        _networks.load_torch(into, {key: tree[key] for key in tree if key not in kept})
    elif source == "keras":
        _networks.load_keras(into, tree)
    else:
        for name, value in tree.items():
            setattr(into, name, value)
    return into


def _difference(expected: Layout, found: Layout) -> str:
    def described(layout: Layout) -> dict[str, str]:
        return {
            leaf.path: f"{list(leaf.shape)}{'' if leaf.in_vector else ' (kept)'}"
            for leaf in layout._leaves
        }

    named = "; ".join(_differences(described(expected), described(found)))
    if named:
        return named
    if expected._labels is not None and found._labels not in (None, expected._labels):
        return f"classes_ are {_short(found._labels)} and should be {_short(expected._labels)}"
    return f"its containers are others ({expected.dtype}, {found.dtype})"


def _short(labels: list[Any]) -> str:
    text = str(labels)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(labels)})"


def _differences(expected: dict[str, str], found: dict[str, str]) -> Iterator[str]:
    # In the order of the model.
    for path in dict.fromkeys([*expected, *found]):
        if expected.get(path) != found.get(path):
            yield (
                f"{path or 'the array'} is {found.get(path, 'not there')} and should be "
                f"{expected.get(path, 'not there')}"
            )

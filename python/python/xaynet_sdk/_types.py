"""What models and states may be given as."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias


class SupportsBuffer(Protocol):
    """A buffer of numbers, such as a NumPy array, an ``array.array`` or a memoryview."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


class SupportsArray(Protocol):
    """What can become a NumPy array, such as a tensor in main memory."""

    def __array__(self) -> Any: ...


#: A local model: a flat list, buffer or array of numbers.
Weights: TypeAlias = Sequence[float] | Sequence[int] | SupportsBuffer | SupportsArray

#: A saved state: what ``stop()`` gave, or the same bytes in another container.
State: TypeAlias = Sequence[int] | SupportsBuffer

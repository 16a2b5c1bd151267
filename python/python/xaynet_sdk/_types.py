"""What models and states may be given as."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import Buffer


class ArrayLike(Protocol):
    """What can become a NumPy array, such as a tensor in main memory."""

    def __array__(self) -> Any: ...


#: A local model: a flat list, buffer or array of numbers.
Weights: TypeAlias = "Sequence[float] | Sequence[int] | Buffer | ArrayLike"

#: A saved state: what ``stop()`` gave, or the same bytes in another container.
State: TypeAlias = "Sequence[int] | Buffer"

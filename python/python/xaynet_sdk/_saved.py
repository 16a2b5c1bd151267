"""A participant's saved state, as programs of old and of today expect it."""

from __future__ import annotations

from typing import Any, SupportsIndex, overload

from xaynet_sdk.xaynet_sdk import _Saved

__all__ = ["SavedState"]


class SavedState(list[int], _Saved):
    """What ``stop()`` gives: a list of integers from 0 to 255, as in Xaynet, so that ``json.dumps(state)`` works; and
    bytes at the same time, wherever those are asked for: ``file.write(state)``, ``bytes(state)``,
    ``Path.write_bytes(state)``. It holds secret keys."""

    __slots__ = ()

    def __buffer__(self, flags: int, /) -> memoryview:
        # What Python 3.12 asks; before that, the native base class answers.
        return memoryview(bytes(list(self)))

    def __eq__(self, other: object) -> bool:
        """Equal to a list, and to bytes, that hold the same."""
        if isinstance(other, bytes | bytearray | memoryview):
            return bytes(self) == other
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    # As every list.
    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return SavedState, (bytes(self),)

    # What programs do with bytes.

    def __contains__(self, item: object) -> bool:
        if isinstance(item, bytes | bytearray | memoryview):
            return bytes(item) in bytes(self)
        return super().__contains__(item)

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, index: slice, /) -> SavedState: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> int | SavedState:
        found = super().__getitem__(index)
        return SavedState(found) if isinstance(found, list) else found

    def __add__(self, other: Any, /) -> Any:
        if isinstance(other, bytes | bytearray | memoryview):
            return bytes(self) + other
        return super().__add__(other)

    def startswith(self, prefix: bytes) -> bool:
        return bytes(self).startswith(prefix)

    def hex(self) -> str:
        return bytes(self).hex()

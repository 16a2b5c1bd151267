"""What is more than its data: a running participant, a coordinator, a machine."""

from __future__ import annotations

from typing import NoReturn


class NotCopied:
    """Cannot be pickled or copied, and says so: two of the same keys would get in each other's way."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled or copied: it is not only data, but at work in this "
            "process. Where it has a saved state, hand on that, and restore it there"
        )

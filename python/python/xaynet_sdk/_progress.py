"""Showing how far it is."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from xaynet_sdk.history import RoundResult


class _Show(Protocol):
    def __enter__(self) -> Callable[[RoundResult], object]: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def progress_of(progress: bool | Callable[[RoundResult], object], rounds: int | None) -> _Show:
    if not isinstance(progress, bool):
        return _Called(progress)
    if not progress:
        return _Called(lambda done: None)
    try:
        # A bar of its own in notebooks.
        from tqdm.auto import tqdm  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        return _Line(rounds)
    return _Bar(tqdm(total=rounds, unit="round"))


class _Called:
    def __init__(self, call: Callable[[RoundResult], object]) -> None:
        self._call = call

    def __enter__(self) -> Callable[[RoundResult], object]:
        return self._call

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        """Nothing is to be tidied up."""


class _Bar(_Called):
    def __init__(self, bar: Any) -> None:
        def show(done: RoundResult) -> None:
            bar.set_postfix({name: f"{value:.4g}" for name, value in done.metrics.items()})
            bar.update()

        super().__init__(show)
        self._bar = bar

    def _end(self) -> None:
        self._bar.close()


class _Line(_Called):
    """One line on standard error, written anew; nothing where nobody reads along."""

    def __init__(self, rounds: int | None) -> None:
        self._count = itertools.count(1)
        self._of = "" if rounds is None else f"/{rounds}"
        self._shown = sys.stderr.isatty() or "ipykernel" in sys.modules
        super().__init__(self._show)

    def _show(self, done: RoundResult) -> None:
        number = next(self._count)
        if self._shown:
            metrics = "".join(f"  {name} {value:.4g}" for name, value in done.metrics.items())
            sys.stderr.write(f"\rround {number}{self._of}{metrics}\x1b[K")
            sys.stderr.flush()

    def _end(self) -> None:
        if self._shown:
            sys.stderr.write("\n")

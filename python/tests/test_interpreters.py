"""What is declared about sub-interpreters holds: isolated ones refuse to import the package."""

from __future__ import annotations

import sys

import pytest


def test_an_isolated_interpreter_is_told_that_it_cannot_have_the_module() -> None:
    interpreters = pytest.importorskip("_interpreters", reason="needs CPython 3.13 or later")
    interpreter = interpreters.create("isolated")
    try:
        failure = interpreters.exec(
            interpreter, f"import sys; sys.path[:] = {sys.path!r}; import xaynet_sdk"
        )
    finally:
        interpreters.destroy(interpreter)
    assert failure is not None
    assert failure.type.__name__ == "ImportError"
    assert "does not support loading in subinterpreters" in failure.msg

"""Every Python snippet of the documentation runs."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import xaynet_sdk

ROOT = Path(__file__).resolve().parents[2]
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def snippets(page: str) -> str:
    """All of them as one program, each on the lines that it has on the page."""
    text = (ROOT / page).read_text()
    program = [""] * len(text.splitlines())
    for match in SNIPPET.finditer(text):
        first = text[: match.start(1)].count("\n")
        lines = match.group(1).splitlines()
        program[first : first + len(lines)] = lines
    return "\n".join(program)


@pytest.mark.parametrize("page", ["docs/python.md", "docs/python-migration.md"])
def test_a_page(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("httpx")
    monkeypatch.chdir(tmp_path)
    program = snippets(page)
    assert "xaynet_sdk" in program
    with xaynet_sdk.Coordinator(
        4, settings={"pet.sum.time.max": 1, "pet.update.time.max": 5}
    ) as coordinator:
        program = program.replace("http://127.0.0.1:8081", coordinator.url)
        namespace: dict[str, Any] = {"__name__": "snippets"}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile(program, str(ROOT / page), "exec"), namespace)


def test_the_readmes_snippets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stand for themselves, and lean on each other: what they leave out is put in here."""
    import numpy as np

    monkeypatch.chdir(tmp_path)
    program = snippets("python/README.md").replace("...\nstate", "\nstate")
    with xaynet_sdk.Coordinator(
        10, settings={"pet.sum.time.max": 1, "pet.update.time.max": 5}
    ) as coordinator:
        program = program.replace("http://127.0.0.1:8081", coordinator.url)
        model = [np.zeros((2, 5), np.float32)]
        program = program.replace("into=model)", ")").replace("into=model", "")
        namespace: dict[str, Any] = {
            "__name__": "snippets",
            "model": model,
            "participants": [lambda model: np.zeros(10, np.float32)] * 8,
            "accuracy": lambda model: 0.5,
        }
        exec(compile(program, "python/README.md", "exec"), namespace)
        namespace["participant"].stop()

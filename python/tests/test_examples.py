"""Every example runs, as a program of its own."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAMS = sorted(path.name for path in EXAMPLES.glob("*.py") if path.name != "company.py")
NEEDS = {
    "asyncio_participant.py": ["httpx"],
    "keras_digits.py": ["keras", "jax", "sklearn"],
    "pytorch_digits.py": ["torch", "sklearn"],
    "sklearn_sgd.py": ["sklearn"],
    "trio_participant.py": ["httpx", "trio"],
}
# Warnings of the libraries themselves.
TOLERATED = {
    "keras_digits.py": ["ignore::DeprecationWarning:keras.src.backend.common.variables"],
}


def run(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    warnings = [f"-W{rule}" for rule in ("error", *TOLERATED.get(name, []))]
    command = [sys.executable, *warnings, EXAMPLES / name]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("XAYNET")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """All of them, a few at a time: they mostly wait."""
    folder = tmp_path_factory.mktemp("examples")
    with ThreadPoolExecutor(4) as pool:
        wanted = [name for name in PROGRAMS if all(map(find_spec, NEEDS.get(name, [])))]
        yield {name: pool.submit(run, name, folder / name) for name in wanted}


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_runs(name: str, runs: dict[str, Future[subprocess.CompletedProcess[str]]]) -> None:
    missing = [module for module in NEEDS.get(name, []) if find_spec(module) is None]
    if missing:
        pytest.skip(f"{name} needs {', '.join(missing)}, which is not installed")
    done = runs[name].result()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.strip()


def test_all_are_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.iterdir():
        if path.suffix in (".py", ".ipynb") and path.name != "company.py":
            assert f"`{path.name}`" in listed


def run_notebook(name: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The outputs of all cells."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=600, startup_timeout=300, kernel_name="python3"
    )
    client.execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def last_value(outputs: list[Any]) -> Any:
    return ast.literal_eval(outputs[-1]["data"]["text/plain"])


def test_the_notebook_of_the_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = run_notebook("federated_digits.ipynb", monkeypatch)
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert {"image/png", "text/html"} <= kinds, "a plot and a table"
    assert last_value(outputs)["accuracy"] > 0.5


def test_the_notebook_of_hospitals_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = run_notebook("hospitals_that_differ.ipynb", monkeypatch)
    assert any("image/png" in output.get("data", {}) for output in outputs), "a plot"
    # What its text says.
    found = last_value(outputs)
    assert found["FedProx late"] < found["FedAvg late"]
    assert found["masked"] > 0.9


def test_the_notebook_of_production(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trustme")
    outputs = run_notebook("in_production.ipynb", monkeypatch)
    found = last_value(outputs)
    assert found["rounds"] >= 3
    assert found["files"] == [f"site-{number}.state" for number in range(6)]
    told = [str(output.get("data", {}).get("text/plain", "")) for output in outputs]
    assert any("certificate" in each.lower() for each in told), told
    assert not any("let in" in each for each in told)


@pytest.mark.filterwarnings("ignore")
def test_the_notebook_of_flower(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("flwr", "sklearn", "matplotlib"):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}: see make test-flower")
    found = last_value(run_notebook("from_flower.ipynb", monkeypatch))
    assert found["simulated"] > 0.8 and found["for real"] > 0.7, found


@pytest.mark.filterwarnings("ignore")
def test_the_notebook_of_lora(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("torch", "transformers", "peft"):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}: see make test-trainers")
    outputs = run_notebook("fine_tuning_with_lora.ipynb", monkeypatch)
    found = last_value(outputs)
    assert found["after"] < found["before"] - 0.05, found


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text())
    assert not any(cell.get("outputs") for cell in notebook["cells"])

"""The types that are promised."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import xaynet_sdk

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy has found out about libraries, which takes it most of the time, once."""
    return tmp_path_factory.mktemp("mypy")


def test_a_typed_program_is_accepted(tmp_path: Path, cache: Path) -> None:
    check = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache)]
        + [str(HERE / "typed_program.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert check.returncode == 0, check.stdout + check.stderr


def mistakes() -> set[int]:
    lines = (HERE / "typed_mistakes.py").read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# mistake")}


def test_names_that_are_not_there_are_refused_by_mypy(tmp_path: Path, cache: Path) -> None:
    """A `__getattr__` of the module would make any name one."""
    check = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache)]
        + [str(HERE / "typed_mistakes.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    found = re.findall(r"^\S+?:(\d+): error:.*attr-defined", check.stdout, re.MULTILINE)
    assert {int(number) for number in found} == mistakes(), check.stdout + check.stderr
    assert check.stdout.count("error:") == len(mistakes()), check.stdout


def test_names_that_are_not_there_are_refused_by_pyright(tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    # Beside the file there is no configuration, so that it is taken as anybody's program.
    program = tmp_path / "typed_mistakes.py"
    program.write_text((HERE / "typed_mistakes.py").read_text())
    source = Path(xaynet_sdk.__file__).resolve().parents[1]
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(source)]}))
    check = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson"]
        + ["--pythonpath", sys.executable, "-p", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    found = {
        each["range"]["start"]["line"] + 1
        for each in json.loads(check.stdout)["generalDiagnostics"]
        if each["severity"] == "error"
    }
    assert found == mistakes(), check.stdout

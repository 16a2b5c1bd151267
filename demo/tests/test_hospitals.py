"""A hospital that fails ends the demo."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

DEMO = runpy.run_path(str(Path(__file__).parents[1] / "__main__.py"), run_name="demo")


def test_a_hospital_that_fails_is_found() -> None:
    well, broken = SimpleNamespace(error=None), SimpleNamespace(error=ValueError("no patients"))
    DEMO["check_hospitals"]([well, well])
    with pytest.raises(DEMO["HospitalFailed"], match="hospital 2 .*no patients"):
        DEMO["check_hospitals"]([well, broken])

"""The documentation says from where the package is installed today, and that works in a fresh environment."""

from __future__ import annotations

import os
import re
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "python" / "README.md",
    ROOT / "python" / "examples" / "README.md",
]


def test_nobody_is_told_to_install_what_is_not_published() -> None:
    for page in PAGES:
        for line in page.read_text().splitlines():
            if re.match(r"    .*pip install ", line):
                from_index = re.search(r"""install .*?["' ]xaynet-sdk(\[|["' ]|$)""", line)
                assert not from_index, f"{page}: {line}"


def test_the_wheel_installs_as_the_guide_says(tmp_path: Path) -> None:
    if not list((ROOT / "target" / "wheels").glob("*.whl")):
        pytest.skip("no wheel: make wheel")
    (line,) = re.findall(
        r"^    (pip install \"\$\(ls target/wheels.*?)(?: *#.*)?$",
        (ROOT / "docs/python.md").read_text(),
        re.MULTILINE,
    )
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    settings = {
        **os.environ,
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        # The package itself, and nothing from anywhere else.
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONPATH": "",
    }
    subprocess.run(["bash", "-euc", line], cwd=ROOT, env=settings, check=True, timeout=300)
    program = """
import xaynet_sdk
from xaynet_sdk import protocol
assert "numpy" not in __import__("sys").modules
machine = protocol.ParticipantMachine(arrays=False)
machine.handle_input(0.0, protocol.SetModel([1.0, 2.0]))
print(len(machine.snapshot()) > 0)
"""
    run = subprocess.run(
        [environment / "bin" / "python", "-c", program],
        cwd=tmp_path,
        env=settings,
        check=True,
        timeout=300,
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "True"

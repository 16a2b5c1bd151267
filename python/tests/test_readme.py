"""README's first steps, taken literally."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from conftest import coordinator_binary, wait_until

ROOT = Path(__file__).resolve().parents[2]
URL = "http://127.0.0.1:8081"
CARGO = "cargo run --release -p pet-coordinator --"


def test_the_first_snippet_gives_a_global_model_within_a_minute(tmp_path: Path) -> None:
    """All but the port, the place of the data, and who has built the coordinator is as it is written there."""
    text = (ROOT / "README.md").read_text()
    serve = re.search(rf"^    {re.escape(CARGO)} (serve .*)$", text, re.MULTILINE)
    snippet = re.search(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert serve is not None and snippet is not None and URL in snippet[1]
    port_file, log = tmp_path / "port", tmp_path / "log"
    environment = {key: value for key, value in os.environ.items() if "XAYNET" not in key}
    command = [str(coordinator_binary()), *shlex.split(serve[1])]
    command += ["--bind", "127.0.0.1:0", "--port-file", str(port_file)]
    with log.open("wb") as stream:
        coordinator = subprocess.Popen(command, stderr=stream, env=environment, cwd=tmp_path)
    program: subprocess.Popen[bytes] | None = None
    try:
        wait_until(
            lambda: port_file.exists() and ":" in port_file.read_text(), "the coordinator listens"
        )
        url = f"http://{port_file.read_text().strip()}"
        begin = time.monotonic()
        program = subprocess.Popen(
            [sys.executable, "-c", snippet[1].replace(URL, url)], cwd=tmp_path, env=environment
        )

        def completed() -> bool:
            assert program is not None and program.poll() is None, "the snippet ends by itself"
            with urllib.request.urlopen(f"{url}/status", timeout=30) as answer:
                return bool(json.load(answer)["totals"]["completed"])

        wait_until(completed, "a global model", 60.0)
        print(f"a global model after {time.monotonic() - begin:.1f} s")
    finally:
        for process in (program, coordinator):
            if process is not None:
                process.kill()
                process.wait()
    assert "panicked" not in log.read_text()

"""The command ``xaynet``."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import xaynet_sdk
from xaynet_sdk.callbacks import load_checkpoint
from xaynet_sdk.cli import main, running

SETTINGS = {
    "pet.sum.prob": 0.3,
    "pet.sum.time.max": 2,
    "pet.update.time.max": 5,
    "pet.sum2.time.max": 5,
}
PROGRAM = """
import numpy as np
import xaynet_sdk

MODEL = np.array([0.5, 0.25], np.float32)
aggregation = xaynet_sdk.WeightedMean(metrics=["loss"], reference_samples=10)
participants = [lambda model: xaynet_sdk.Update(MODEL, 10, {"loss": 0.5})] * 4
model_length = 2


def evaluate(model):
    return {"first": float(model[0])}


class Hospital(xaynet_sdk.ParticipantABC):
    def train_round(self, training_input):
        return MODEL

    def serialize_training_result(self, training_result):
        return xaynet_sdk.Update(training_result, 10, {"loss": 0.5})

    def deserialize_training_input(self, global_model):
        return global_model
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "federation_program.py"
    file.write_text(PROGRAM)
    return file


@pytest.fixture
def federation() -> Iterator[xaynet_sdk.Coordinator]:
    class Trainer(xaynet_sdk.ParticipantABC):
        def train_round(self, training_input: object) -> object:
            return None

        def serialize_training_result(self, training_result: object) -> list[float]:
            return [0.5, 0.25]

        def deserialize_training_input(self, global_model: object) -> object:
            return None

    with xaynet_sdk.Coordinator(2, settings=SETTINGS) as coordinator:
        participants = [xaynet_sdk.spawn_participant(coordinator.url, Trainer) for _ in range(6)]
        yield coordinator
        for each in participants:
            each.stop()
        for each in participants:
            each.join(20)


def test_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for command in ("serve", "simulate", "participant", "status", "follow", "export", "doctor"):
        assert command in told
    with pytest.raises(SystemExit):
        main(["--version"])
    assert xaynet_sdk.__version__ in capsys.readouterr().out


def test_a_file_is_simulated(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "model.npz"
    assert main(["simulate", str(program), "--rounds", "2", "--save", str(saved)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert (
        len(
            [
                line
                for line in told
                if re.match(r"round \d+: \d+ models  loss 0\.5  first 0\.5", line)
            ]
        )
        == 2
    )
    np.testing.assert_allclose(load_checkpoint(saved).model, [0.5, 0.25], atol=1e-6)


def test_mistakes_are_told_in_one_line(
    tmp_path: Path, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.py"
    empty.write_text("")
    for arguments, words in [
        (["simulate", str(tmp_path / "none.py")], "there is no file"),
        (["simulate", str(empty)], "defines no participants"),
        (["simulate", str(program), "--set", "x"], "--set takes KEY=VALUE"),
        (["participant", str(program), "http://127.0.0.1:1"], "give the file and the class"),
        (["participant", f"{program}:evaluate", "http://127.0.0.1:1"], "is no class derived from"),
        (["participant", f"{program}:Nobody", "http://127.0.0.1:1"], "defines no Nobody"),
    ]:
        assert main(arguments) == 2
        (told,) = capsys.readouterr().err.splitlines()
        assert words in told
    assert main(["status", "nonsense"]) == 1
    assert "not a coordinator's URL" in capsys.readouterr().err


def test_numbers_of_a_coordinator_go_to_trackers(
    federation: xaynet_sdk.Coordinator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With modules that stand for theirs, called as they document."""
    told: list[Any] = []

    class Run:
        def log(self, numbers: dict[str, float], step: int) -> None:
            told.append(("wandb", numbers["federation/models"], step))

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            told.append(folder)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            told.append((name, value, step))

        def close(self) -> None:
            told.append("closed")

    def log_metrics(numbers: dict[str, float], step: int) -> None:
        told.append(("mlflow", numbers["federation/models"], step))

    def init(project: str) -> Run:
        told.append(project)
        return Run()

    modules = {
        "mlflow": {"log_metrics": log_metrics},
        "tensorboardX": {"SummaryWriter": SummaryWriter},
        "wandb": {"init": init, "run": None},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    options = ["--tensorboard", "runs", "--mlflow", "--wandb", "hospitals"]
    assert main(["follow", federation.url, "--rounds", "1", "--timeout", "180", *options]) == 0
    assert told[:2] == ["runs", "hospitals"] and told[-1] == "closed"
    (round_id,) = {each[2] for each in told if isinstance(each, tuple)}
    (models,) = {each[1] for each in told if each[0] == "federation/models"}
    assert ("mlflow", models, round_id) in told and ("wandb", models, round_id) in told

    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert main(["follow", federation.url, "--mlflow"]) == 2
    assert "pip install mlflow" in capsys.readouterr().err


def test_a_coordinator_is_looked_at(
    federation: xaynet_sdk.Coordinator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = federation.url
    saved = tmp_path / "latest.npz"
    assert main(["follow", url, "--rounds", "1", "--timeout", "180", "--save", str(saved)]) == 0
    assert re.match(r"round \d+: \d+ models  \d+\.\d+ s", capsys.readouterr().out)
    assert load_checkpoint(saved).model.tolist() == pytest.approx([0.5, 0.25], abs=1e-6)

    assert main(["status", url]) == 0
    told = capsys.readouterr().out
    assert "models of 2 weights, masked with Prime/F32/B0/M3" in told
    assert re.search(r"  round \d+: \d+ models", told)
    assert main(["status", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["length"] == 2

    exported = tmp_path / "model.npy"
    assert main(["export", url, str(exported)]) == 0
    assert np.load(exported).tolist() == pytest.approx([0.5, 0.25], abs=1e-6)
    assert main(["export", url, str(exported), "--round", "100000"]) == 2
    assert re.search(r"kept are those of: \d", capsys.readouterr().err)
    assert main(["export", url, "model.pt"]) == 2

    assert main(["doctor", url, "--model-length", "2"]) == 0
    told = capsys.readouterr().out
    assert "a round for models of 2 weights (float32), masked with Prime/F32/B0/M3" in told
    assert "nothing is wrong" in told
    assert main(["doctor", url, "--model-length", "3"]) == 1
    told = capsys.readouterr().out
    assert "WRONG  your model has 3 weights, and the coordinator's 2" in told


def test_the_doctor_says_why_rounds_fail(capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"pet.sum.time.min": 0, "pet.sum.time.max": 0.1}
    with xaynet_sdk.Coordinator(2, settings=settings) as coordinator:
        end = time.monotonic() + 120
        while not coordinator.status()["totals"]["failed"]:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert main(["doctor", coordinator.url]) == 1
    told = capsys.readouterr().out
    assert re.search(r"WRONG  the last \d+ rounds have all failed, at last because only 0 of", told)
    assert "->" in told


def test_the_doctor_says_what_is_in_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    def doctor(url: str) -> str:
        assert main(["doctor", url]) == 1
        return capsys.readouterr().out

    assert "is no URL" in doctor("localhost")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    assert "nobody listens at" in doctor(f"http://127.0.0.1:{port}")
    assert "cannot be found" in doctor("http://nowhere.invalid")
    with xaynet_sdk.Coordinator(2, settings=SETTINGS) as coordinator:
        assert "answers with status 404" in doctor(f"{coordinator.url}/elsewhere")
        assert "no TLS" in doctor(coordinator.url.replace("http", "https"))


class Running:
    """The command as a process."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "xaynet_sdk", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    def wait_for(self, pattern: str) -> str:
        def found() -> str | None:
            return next((line for line in self.lines if re.search(pattern, line)), None)

        with self._changed:
            line = self._changed.wait_for(found, 180)
        assert line, self.lines
        return line

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        status = self.process.wait(120)
        self._reading.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_reads_that_a_command_runs_may_end_it_at_once(
    number: signal.Signals, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said so before it listened to signals: whoever was quick killed it, and its state was not saved."""
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        signal.raise_signal(number)

    def nobody_listens(*_: object) -> None:
        raise AssertionError(f"said too early: {said[-1]}")

    monkeypatch.setattr(running, "say", say)
    before = signal.signal(number, nobody_listens)
    try:
        with xaynet_sdk.Coordinator(2, settings=SETTINGS) as coordinator:
            assert main(["serve", "--model-length=2", "--bind=127.0.0.1:0"]) == 0
            assert main(["participant", f"{program}:Hospital", coordinator.url]) == 0
        assert signal.getsignal(number) is nobody_listens
    finally:
        signal.signal(number, before)
    assert [text.split()[0] for text in said] == ["coordinator", "taking"]


def test_a_federation_of_commands(program: Path, tmp_path: Path) -> None:
    serve = Running(
        "serve",
        "--model-length=4",
        "--bind=127.0.0.1:0",
        *(f"--set={key}={value}" for key, value in SETTINGS.items()),
    )
    others: list[Running] = []
    try:
        line = serve.wait_for("coordinator at http")
        url = line.split()[2]
        others = [Running("participant", f"{program}:Hospital", url) for _ in range(5)]
        state = tmp_path / "state"
        others.append(
            Running("participant", f"{program}:Hospital", url, "--state-file", str(state))
        )
        follow = Running("follow", url, "--rounds=1", "--program", str(program))
        others.append(follow)
        follow.wait_for(r"round \d+: \d+ models  loss 0\.5  first 0\.5")
        assert follow.process.wait(120) == 0
        # A round needs some of them only: the others may still be on their way.
        for each in others[:-1]:
            each.wait_for("taking part")
    finally:
        statuses = [each.end(signal.SIGTERM) for each in others]
        served = serve.end(signal.SIGINT)
    assert statuses == [0] * len(others), [each.lines for each in others]
    assert served == 0, serve.lines
    assert state.stat().st_size > 0
    assert any("update" in line for each in others for line in each.lines)

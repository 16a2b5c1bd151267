"""What is done after each round, in simulations and on a coordinator that is looked on at."""

from __future__ import annotations

import http.server
import logging
import math
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xaynet_sdk
from xaynet_sdk import History, RoundResult, Update, WeightedMean, callbacks, follow
from xaynet_sdk.callbacks import (
    Callback,
    Checkpoint,
    CheckpointError,
    EarlyStopping,
    MLflow,
    TensorBoard,
    WandB,
    load_checkpoint,
)

SETTINGS = {
    "pet.sum.prob": 0.3,
    "pet.sum.time.max": 2,
    "pet.update.time.max": 5,
    "pet.sum2.time.max": 5,
}
MODEL = np.array([0.5, 0.25], np.float32)


def result(number: int, **metrics: float) -> RoundResult:
    return RoundResult(number, 3, 1, 0.1, 0, 0.0, metrics)


def rounds_until_stopped(callback: Callback, values: list[float], name: str = "accuracy") -> int:
    for number, value in enumerate(values, 1):
        if callback.on_round(result(number, **{name: value}), MODEL):
            return number
    return 0


def test_it_stops_when_a_metric_is_not_better_for_some_rounds() -> None:
    assert rounds_until_stopped(EarlyStopping("accuracy", patience=2), [1, 2, 2, 3, 3, 1, 4]) == 6
    assert rounds_until_stopped(EarlyStopping("accuracy", patience=2), [1, 2, 3, 4]) == 0
    # Smaller is better where the name says so.
    assert rounds_until_stopped(EarlyStopping("loss", patience=1), [3, 2, 1, 1], "loss") == 4
    assert rounds_until_stopped(EarlyStopping("loss", patience=1, mode="max"), [3, 2], "loss") == 2
    assert rounds_until_stopped(EarlyStopping("accuracy", patience=1, min_delta=1), [1, 1.5]) == 2
    assert rounds_until_stopped(EarlyStopping("accuracy", patience=2), [1, math.nan, math.nan]) == 3


def test_a_metric_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="no metric 'loss'; there are accuracy"):
        EarlyStopping("loss").on_round(result(1, accuracy=1.0), MODEL)
    with pytest.raises(ValueError, match="give evaluate="):
        Checkpoint("x.npz", best="loss").on_round(result(1), MODEL)
    with pytest.raises(ValueError, match='mode is "min" or "max"'):
        EarlyStopping("loss", mode="up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="patience"):
        EarlyStopping("loss", patience=0)


@pytest.fixture(params=["npz", "safetensors"])
def ending(request: pytest.FixtureRequest) -> str:
    if request.param == "safetensors":
        pytest.importorskip("safetensors")
    return str(request.param)


def test_a_checkpoint_has_the_latest_model_or_the_best(tmp_path: Path, ending: str) -> None:
    latest = Checkpoint(tmp_path / f"latest.{ending}")
    best = Checkpoint(tmp_path / f"best.{ending}", best="loss")
    every = Checkpoint(tmp_path / f"deep/{{round}}.{ending}")
    for number, loss in enumerate([3.0, 1.0, 2.0], 1):
        for each in (latest, best, every):
            each.on_round(result(number, loss=loss), MODEL * number)
    found = load_checkpoint(tmp_path / f"latest.{ending}")
    assert (found.round_id, found.metrics, found.layout) == (3, {"loss": 2.0}, None)
    assert found.model.dtype == np.float32
    np.testing.assert_array_equal(found.model, MODEL * 3)
    assert load_checkpoint(tmp_path / f"best.{ending}").round_id == 2
    assert [load_checkpoint(tmp_path / f"deep/{n}.{ending}").round_id for n in (1, 2, 3)] == [
        1,
        2,
        3,
    ]
    # Nothing of what is written on the way stays.
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "best." + ending,
        "deep",
        "latest." + ending,
    ]


def test_a_checkpoint_with_a_layout_loads_a_model(tmp_path: Path, ending: str) -> None:
    model = {"a": np.zeros((2, 2), np.float32), "b": np.ones(3, np.float32)}
    vector, layout = xaynet_sdk.flatten(model)
    path = tmp_path / f"model.{ending}"
    Checkpoint(path, layout=layout).on_round(result(1), vector)
    found = load_checkpoint(path)
    assert found.layout == layout
    np.testing.assert_array_equal(found.load_into(None)["b"], model["b"])
    Checkpoint(path).on_round(result(1), vector)
    with pytest.raises(CheckpointError, match="has no layout"):
        load_checkpoint(path).load_into(None)


def test_a_write_that_fails_leaves_the_file_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.npz"
    checkpoint = Checkpoint(path)
    checkpoint.on_round(result(1), MODEL)

    def full(*args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        checkpoint.on_round(result(2), MODEL)
    assert load_checkpoint(path).round_id == 1
    assert [each.name for each in tmp_path.iterdir()] == ["model.npz"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no", b"x" * 100])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"file.{ending}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / f"none.{ending}")
    with pytest.raises(ValueError, match=r"\.npz or \.safetensors"):
        Checkpoint("model.pt")


def test_a_file_with_pickled_objects_is_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, model=np.array([print], dtype=object), xaynet_sdk=np.array("{}"))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_a_simulation_calls_them_and_stops_when_one_says_so(tmp_path: Path) -> None:
    ended: list[str] = []
    seen: list[int] = []

    class Noting(Callback):
        def on_round(self, result: RoundResult, model: Any) -> None:
            assert len(model) == 2
            seen.append(result.round_id)

        def on_end(self) -> None:
            ended.append("ended")

    def third(result: RoundResult, model: Any) -> bool:
        return len(seen) == 3

    participants = [lambda model: MODEL] * 4
    options: dict[str, Any] = {"model_length": 2, "progress": False}
    stopped = xaynet_sdk.simulate(
        participants,
        rounds=50,
        callbacks=[third, Noting(), Checkpoint(tmp_path / "m.npz")],
        **options,
    )
    assert len(stopped.rounds) == 4
    assert stopped.stopped == "third has stopped it"
    assert ended == ["ended"]
    assert load_checkpoint(tmp_path / "m.npz").round_id == stopped.rounds[-1].round_id
    again = xaynet_sdk.simulate(participants, rounds=5, resume=stopped, **options)
    assert (len(again.rounds), again.stopped) == (5, None)
    loss = xaynet_sdk.simulate(
        participants,
        rounds=50,
        evaluate=lambda model: {"loss": 1.0},
        callbacks=[EarlyStopping("loss", patience=1)],
        **options,
    )
    assert loss.stopped == "loss has not become better for 1 round"
    with pytest.raises(TypeError, match="a callback is an object"):
        xaynet_sdk.simulate(participants, callbacks=[EarlyStopping], **options)  # type: ignore[list-item]


def test_an_exception_of_a_callback_has_what_there_is() -> None:
    ended: list[str] = []

    class Failing(Callback):
        def on_round(self, result: RoundResult, model: Any) -> None:
            raise RuntimeError("of the callback")

        def on_end(self) -> None:
            ended.append("ended")

    with pytest.raises(RuntimeError, match="of the callback") as raised:
        xaynet_sdk.simulate(
            [lambda model: MODEL] * 4, model_length=2, callbacks=[Failing()], progress=False
        )
    assert len(raised.value.simulation.rounds) == 1  # type: ignore[attr-defined]
    assert ended == ["ended"]


def test_trackers_get_the_numbers_of_each_round(tmp_path: Path) -> None:
    """The real TensorBoard writer, where it is there; MLflow and Weights & Biases are called as they document."""
    done = RoundResult(7, 3, 1, 0.5, 0, 0.0, {"loss": 0.25}, (), 120.0, {"right": 60.0})
    expected = {
        "federation/loss": 0.25,
        "federation/right": 60.0,
        "federation/models": 3.0,
        "federation/seconds": 0.5,
        "federation/samples": 120.0,
    }

    class Run:
        def log(self, numbers: dict[str, float], step: int) -> None:
            assert (numbers, step) == (expected, 7)

    WandB(Run()).on_round(done, MODEL)
    pytest.importorskip("tensorboardX")
    board = TensorBoard(tmp_path / "runs")
    board.on_round(done, MODEL)
    board.on_end()
    (events,) = (tmp_path / "runs").iterdir()
    assert all(name.encode() in events.read_bytes() for name in expected)


@pytest.mark.parametrize(("make", "package"), [(MLflow, "mlflow"), (WandB, "wandb")])
def test_a_tracker_that_is_not_there_says_how_to_get_it(
    make: type[Callback], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install {package}"):
        make()


def test_mlflow_logs_into_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    with mlflow.start_run() as run:
        MLflow().on_round(result(3, loss=0.5), MODEL)
    assert mlflow.get_run(run.info.run_id).data.metrics["federation/loss"] == 0.5


# Looking on at a coordinator.


class Trainer(xaynet_sdk.ParticipantABC):
    aggregation = WeightedMean(metrics=["loss"], reference_samples=10)

    def train_round(self, training_input: object) -> Update:
        return Update(MODEL, 10, {"loss": 0.5})

    def serialize_training_result(self, training_result: Update) -> Update:
        return training_result

    def deserialize_training_input(self, global_model: object) -> object:
        return global_model


@pytest.fixture
def federation() -> Iterator[xaynet_sdk.Coordinator]:
    with xaynet_sdk.Coordinator(
        2, settings=SETTINGS, aggregation=Trainer.aggregation
    ) as coordinator:
        participants = [
            xaynet_sdk.spawn_participant(coordinator.url, Trainer, aggregation=Trainer.aggregation)
            for _ in range(6)
        ]
        yield coordinator
        for each in participants:
            each.stop()
        for each in participants:
            each.join(20)


def test_a_coordinator_is_looked_on_at(federation: xaynet_sdk.Coordinator, tmp_path: Path) -> None:
    shown: list[RoundResult] = []
    history = follow(
        federation,
        rounds=2,
        aggregation=Trainer.aggregation,
        evaluate=lambda model: {"first": model[0]},
        callbacks=[Checkpoint(tmp_path / "model.npz")],
        progress=shown.append,
        keep_models=True,
        timeout=180,
        interval=0.1,
    )
    assert len(history.rounds) == len(history.models) == 2
    assert shown == history.rounds
    for done in history.rounds:
        assert done.metrics["loss"] == pytest.approx(0.5, abs=1e-5)
        assert done.metrics["first"] == pytest.approx(0.5, abs=1e-5)
        assert done.samples == pytest.approx(done.models * 10, rel=1e-5)
        assert done.models >= 3
    assert history.model is not None
    np.testing.assert_allclose(history.model, MODEL, atol=1e-5)
    assert load_checkpoint(tmp_path / "model.npz").round_id == history.rounds[-1].round_id
    assert "<td>" in history._repr_html_()
    assert repr(history).startswith("<History: 2 rounds; at last loss 0.5")
    # By its URL, and a callback that has enough.
    once = follow(
        federation.url, callbacks=[lambda result, model: "enough"], progress=False, timeout=180
    )
    assert (len(once.rounds), once.stopped) == (1, "enough")
    assert isinstance(once, History)


def test_who_waits_in_vain_learns_what_for() -> None:
    with xaynet_sdk.Coordinator(2, settings=SETTINGS) as coordinator:
        with pytest.raises(
            TimeoutError, match="in the sum phase of round .* 0 of at least 1"
        ) as raised:
            follow(coordinator, timeout=0.5, interval=0.05, progress=False)
        assert raised.value.history.rounds == []  # type: ignore[attr-defined]


def test_rounds_that_fail_are_told_once_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    settings = {"pet.sum.time.min": 0, "pet.sum.time.max": 0.1}
    with xaynet_sdk.Coordinator(2, settings=settings) as coordinator:
        with caplog.at_level(logging.WARNING), pytest.raises(TimeoutError, match="have failed"):
            follow(coordinator, timeout=3, interval=0.05, progress=False)
    told = [each.message for each in caplog.records if "have failed" in each.message]
    assert len(told) == 1


class Other(http.server.BaseHTTPRequestHandler):
    """Some other server."""

    def do_GET(self) -> None:
        self.send_response(200 if self.server.body else 404)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(self.server.body)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "status 404: a coordinator of Xaynet does not tell"),
        (b"<html>", "is no status of a coordinator"),
        (b"[]", "is no status of a coordinator"),
        (b"x" * (5 << 20), "this is no coordinator"),
    ],
)
def test_what_is_no_coordinator_is_named(body: bytes, words: str) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        server.body = body  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(xaynet_sdk.FollowError, match=words):
            follow(f"http://127.0.0.1:{server.server_port}", progress=False)
        server.shutdown()


def test_a_url_that_is_none_or_leads_nowhere() -> None:
    with pytest.raises(xaynet_sdk.FollowError, match="not a coordinator's URL"):
        follow("localhost:8081")
    with pytest.raises(xaynet_sdk.FollowError, match="cannot be reached"):
        follow("http://127.0.0.1:1", progress=False)


def test_the_module_is_found_from_the_package() -> None:
    assert xaynet_sdk.callbacks is callbacks

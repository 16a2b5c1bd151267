"""Whole federations in virtual time."""

from __future__ import annotations

import io
import sys
import weakref
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import xaynet_sdk
from xaynet_sdk.simulation import SimulationError

TARGETS = np.linspace(-0.5, 0.5, 10)


def trainer(target: float) -> Any:
    def train(model: Any) -> Any:
        start = np.zeros(3, np.float32) if model is None else model
        return start + (target - start) / 2

    return train


def run(**arguments: Any) -> xaynet_sdk.Simulation:
    settings: dict[str, Any] = {"model_length": 3, "rounds": 4, "progress": False, **arguments}
    return xaynet_sdk.simulate([trainer(target) for target in TARGETS], **settings)


def test_the_mean_of_those_who_take_part() -> None:
    trained: list[float] = []

    def noting(target: float) -> Any:
        def train(model: Any) -> Any:
            trained.append(target)
            return trainer(target)(model)

        return train

    result = xaynet_sdk.simulate(
        [noting(target) for target in TARGETS], model_length=3, rounds=1, progress=False
    )
    (done,) = result.rounds
    assert done.models == len(trained)
    assert 1 <= done.votes <= len(TARGETS) - done.models
    assert result.model is not None
    assert np.allclose(result.model, np.mean(trained) / 2, atol=1e-6)


def test_the_same_seed_gives_the_same_models() -> None:
    one, same, other = run(keep_models=True), run(keep_models=True), run(keep_models=True, seed=1)
    assert np.array_equal(one.models, same.models)
    assert not np.array_equal(one.models, other.models)
    assert [done.models for done in one.rounds] == [done.models for done in same.rounds]


@pytest.mark.parametrize("mask", ["Prime/F32/B0/M3", "Word32/F32/B0/M3", "Integer/F64/B2/M6"])
def test_envelopes_change_no_number(mask: str) -> None:
    """Messages and mask seeds are not sealed unless that is asked for: what comes of it is the same to the last bit."""
    common: dict[str, Any] = {"mask": mask, "scalars": [0.3, 1.0] * 5, "keep_models": True}
    without, sealed = run(**common), run(envelopes=True, **common)
    assert all(
        one.tobytes() == other.tobytes()
        for one, other in zip(without.models, sealed.models, strict=True)
    )
    rounds = [[(done.models, done.votes) for done in each.rounds] for each in (without, sealed)]
    assert rounds[0] == rounds[1]


@pytest.mark.parametrize(
    ("participants", "model_length"), [(140, 3), (20, 4_000)], ids=["looks", "work"]
)
def test_threads_change_nothing(participants: int, model_length: int) -> None:
    """There are others from 128 participants on, which look at the same time, and from 32,768 weights that are worked at."""

    def rounds(threads: int) -> xaynet_sdk.Simulation:
        def training(index: int) -> Any:
            rng = np.random.default_rng(index)
            weights = rng.uniform(-0.5, 0.5, model_length).astype(np.float32)
            return lambda model: weights if model is None else (model + weights) / 2

        return xaynet_sdk.simulate(
            [training(index) for index in range(participants)],
            model_length=model_length,
            rounds=2,
            threads=threads,
            keep_models=True,
            progress=False,
        )

    one, many = rounds(1), rounds(7)
    assert len(one.models) == 2
    # (Else this test would find nothing.)
    assert participants >= 128 or one.rounds[0].models * model_length >= 1 << 15
    assert np.array_equal(one.models, many.models)
    assert [done.votes for done in one.rounds] == [done.votes for done in many.rounds]


def test_a_simulation_goes_on_with_the_envelopes_that_it_has() -> None:
    part = run(rounds=1)
    with pytest.raises(ValueError, match="has envelopes=False"):
        run(rounds=2, resume=part, envelopes=True)
    for more in ({"masked": False}, {"protocol": "v2"}):
        with pytest.raises(ValueError, match="envelopes are for"):
            run(envelopes=True, **more)


@pytest.mark.parametrize("envelopes", [False, True])
def test_few_copies_of_the_global_model_are_in_memory(envelopes: bool) -> None:
    """Each participant has one of its own, but only while it trains."""
    given: list[weakref.ref[Any]] = []
    most = 0

    def train(model: Any) -> Any:
        nonlocal most
        if model is not None:
            given.append(weakref.ref(model))
            most = max(most, sum(each() is not None for each in given))
        return [0.25] * 3

    class Trainer(Participant):
        global_model_as_array = True

        def deserialize_training_input(self, global_model: Any) -> Any:
            return global_model

        def train_round(self, training_input: Any) -> Any:
            return train(training_input)

    for everyone in ([train] * 60, [Trainer([]) for _ in range(60)]):
        given.clear()
        xaynet_sdk.simulate(
            everyone,
            model_length=3,
            rounds=3,
            progress=False,
            threads=1,
            envelopes=envelopes,
        )
        assert len(given) >= 60
        assert most <= 2


def test_scalars_weigh() -> None:
    # All but one count for nothing.
    result = xaynet_sdk.simulate(
        [lambda model, i=i: [float(i == 3)] for i in range(4)],
        model_length=1,
        rounds=2,
        scalars=[0, 0, 0, 1],
        settings={"pet.sum.prob": 0.1},
        progress=False,
        max_failures=10_000,
    )
    assert result.model is not None
    assert result.model[0] == pytest.approx(1)


def test_metrics_by_round() -> None:
    result = run(evaluate=lambda model: {"error": float(abs(model).max()), "length": len(model)})
    table = result.columns()
    assert table["round"] == [1, 2, 3, 4]
    assert table["length"] == [3] * 4
    assert all(error < 0.6 for error in table["error"])
    assert {len(column) for column in table.values()} == {4}
    assert "error" in repr(result)
    html = result._repr_html_()
    assert html.count("<tr>") == 5
    assert run(evaluate=lambda model: 1.5).columns()["metric"] == [1.5] * 4


def test_a_plot() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    result = run(evaluate=lambda model: float(abs(model).max()))
    ax = result.plot()
    (line,) = ax.get_lines()
    assert line.get_ydata().tolist() == result.columns()["metric"]
    assert result.plot(["models", "votes"], ax=ax) is ax
    with pytest.raises(KeyError, match="no metric 'x'; there are round, models"):
        result.plot(["x"])
    from matplotlib import pyplot

    pyplot.close("all")


def test_clamped_weights_are_counted() -> None:
    with pytest.warns(xaynet_sdk.ClampWarning):
        result = xaynet_sdk.simulate(
            [lambda model: [0.0, 2.5]] * 6, model_length=2, rounds=1, progress=False
        )
    (done,) = result.rounds
    assert (done.clamped, done.largest_clamped) == (done.models, 2.5)


class Participant(xaynet_sdk.ParticipantABC[Any, Any]):
    def __init__(self, calls: list[str]) -> None:
        self.calls = calls
        self.fail = False

    def train_round(self, training_input: Any) -> Any:
        self.calls.append("train_round")
        if self.fail:
            raise RuntimeError("no")
        return [0.0] if training_input is None else training_input

    def serialize_training_result(self, training_result: Any) -> Any:
        return training_result

    def deserialize_training_input(self, global_model: Any) -> Any:
        assert isinstance(global_model, list)
        return global_model

    def participate_in_update_task(self) -> bool:
        self.calls.append("participate_in_update_task")
        return True

    def on_new_global_model(self, global_model: Any) -> None:
        self.calls.append(f"on_new_global_model {global_model}")

    def on_stop(self) -> None:
        self.calls.append("on_stop")


def test_classes_of_the_users_are_called_as_ever() -> None:
    calls: list[str] = []
    participants = [Participant([]) for _ in range(7)] + [Participant(calls)]
    xaynet_sdk.simulate(participants, model_length=1, rounds=3, progress=False)
    assert calls[0] == "on_new_global_model None"
    assert calls[-1] == "on_stop"
    assert "on_new_global_model [0.0]" in calls
    trained = [i for i, call in enumerate(calls) if call == "train_round"]
    assert trained
    assert all(calls[i - 1] == "participate_in_update_task" for i in trained)


def test_an_exception_of_the_users_comes_out() -> None:
    participants = [Participant([]) for _ in range(8)]
    for participant in participants:
        participant.fail = True
    with pytest.raises(RuntimeError, match="^no$"):
        xaynet_sdk.simulate(participants, model_length=1, progress=False)


def test_a_settled_exception_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    participants = [Participant([]) for _ in range(12)]
    participants[5].fail = True
    monkeypatch.setattr(Participant, "on_error", lambda self, error: True)
    result = xaynet_sdk.simulate(participants, model_length=1, rounds=3, progress=False)
    assert len(result.rounds) == 3


def test_wrong_models_are_told() -> None:
    with pytest.raises(xaynet_sdk.LocalModelLengthMisMatch, match="2 weights"):
        xaynet_sdk.simulate([lambda model: [0.0, 0.0]] * 6, model_length=1, progress=False)


def test_federations_that_cannot_get_on() -> None:
    with pytest.raises(ValueError, match="at least 4 participants"):
        xaynet_sdk.simulate([lambda model: [0.0]] * 3, model_length=1)
    with pytest.raises(ValueError, match="4 participants, and 1 scalars"):
        xaynet_sdk.simulate([lambda model: [0.0]] * 4, model_length=1, scalars=[1])
    with pytest.raises(SimulationError, match=r"5 rounds in a row.*of at least 3 update"):
        xaynet_sdk.simulate(
            [lambda model: None] * 6,
            model_length=1,
            progress=False,
            max_failures=5,
            settings={"pet.sum.prob": 0.9},
        )


def test_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []
    run(progress=lambda done: seen.append(done.models))
    assert len(seen) == 4
    assert all(models >= 3 for models in seen)
    run(progress=True)
    output = capsys.readouterr()
    assert output.out == ""


def test_the_bar_of_tqdm_is_taken_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Bar:
        def __init__(self, total: int, unit: str) -> None:
            calls.append((total, unit))

        def set_postfix(self, values: dict[str, str]) -> None:
            calls.append(values)

        def update(self) -> None:
            calls.append("update")

        def close(self) -> None:
            calls.append("close")

    module: Any = ModuleType("tqdm.auto")
    module.tqdm = Bar
    monkeypatch.setitem(sys.modules, "tqdm", ModuleType("tqdm"))
    monkeypatch.setitem(sys.modules, "tqdm.auto", module)
    run(progress=True, rounds=2, evaluate=lambda model: 0.25)
    assert calls == [(2, "round"), *[{"metric": "0.25"}, "update"] * 2, "close"]


def test_a_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    run(progress=True, rounds=2, evaluate=lambda model: 0.25)
    assert "\rround 1/2  metric 0.25" in terminal.getvalue()
    assert terminal.getvalue().endswith("\n")


@pytest.mark.parametrize("found", ["good", None, {"accuracy": "good"}, np.ones(3)])
def test_metrics_are_numbers(found: Any) -> None:
    with pytest.raises(TypeError, match="evaluate gives a number"):
        xaynet_sdk.simulate(
            [lambda model: [0.5] * 2] * 10,
            model_length=2,
            rounds=1,
            evaluate=lambda model: found,
            progress=False,
        )


@pytest.mark.parametrize("participant", [5, xaynet_sdk.ParticipantABC])
def test_what_is_no_participant_is_told_at_once(participant: Any) -> None:
    with pytest.raises(TypeError, match="participant"):
        xaynet_sdk.simulate([participant] * 10, model_length=2, progress=False)


def test_participants_are_stopped_also_after_a_failure() -> None:
    stopped = []

    class Broken(xaynet_sdk.ParticipantABC[Any, Any]):
        def train_round(self, training_input: Any) -> Any:
            raise ArithmeticError("diverged")

        def serialize_training_result(self, training_result: Any) -> Any: ...
        def deserialize_training_input(self, global_model: Any) -> Any: ...
        def on_stop(self) -> None:
            stopped.append(self)

    with pytest.raises(ArithmeticError):
        xaynet_sdk.simulate([Broken() for _ in range(10)], model_length=2, progress=False)
    assert len(stopped) == 10


def test_few_sum_however_many_there_are() -> None:
    """As in a federation in earnest: otherwise 300 of a thousand would open 700 seeds each."""
    result = xaynet_sdk.simulate(
        [lambda model: [0.5] * 2] * 400, model_length=2, rounds=5, progress=False
    )
    assert all(1 <= done.votes <= 40 for done in result.rounds)
    assert all(done.models >= 360 for done in result.rounds)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, ArithmeticError])
def test_what_there_is_is_not_lost(stop: type[BaseException]) -> None:
    """Stopped in the middle of a round, and gone on with: the same as if nothing had been."""
    whole = run(rounds=6, keep_models=True)
    trained = 0

    def stopping(target: float) -> Any:
        def train(model: Any) -> Any:
            nonlocal trained
            trained += 1
            if trained == 20:
                raise stop
            return trainer(target)(model)

        return train

    arguments: dict[str, Any] = {"model_length": 3, "rounds": 6, "progress": False}
    everyone = [stopping(target) for target in TARGETS]
    with pytest.raises(stop) as caught:
        xaynet_sdk.simulate(everyone, keep_models=True, **arguments)
    part = caught.value.simulation  # type: ignore[union-attr]
    assert 1 <= len(part.rounds) < 6
    rest = xaynet_sdk.simulate(everyone, keep_models=True, resume=part, **arguments)
    assert len(part.rounds) < len(rest.rounds) == 6
    assert [done.models for done in rest.rounds] == [done.models for done in whole.rounds]
    assert np.array_equal(rest.models, whole.models)


def test_going_on_after_the_end() -> None:
    whole, part = run(rounds=5, keep_models=True), run(rounds=2, keep_models=True)
    rest = run(rounds=5, keep_models=True, resume=part)
    assert np.array_equal(rest.models, whole.models)
    assert run(rounds=5, resume=rest).rounds == rest.rounds
    with pytest.raises(ValueError, match="10 participants, and not 5"):
        xaynet_sdk.simulate([trainer(0.5)] * 5, model_length=3, resume=part, progress=False)
    for state in (None, b"", b"PETf", part.state[:-1], part.state + b"x"):  # type: ignore[index]
        with pytest.raises(ValueError, match="state|participants"):
            run(resume=xaynet_sdk.Simulation(state=state))


def test_the_outcome_of_models_is_told_in_simulations_too() -> None:
    outcomes: list[str] = []

    class Telling(Participant):
        def on_update_outcome(self, outcome: xaynet_sdk.UpdateOutcome) -> None:
            outcomes.append(outcome.kind)

    result = xaynet_sdk.simulate(
        [Telling([]) for _ in range(10)], model_length=1, rounds=3, progress=False
    )
    assert outcomes.count("accepted") >= sum(done.models for done in result.rounds)
    failed = sum(len(done.failures) for done in result.rounds)
    assert ("round_failed" in outcomes) <= (failed > 0)

"""What concerns the whole process: exit, Ctrl-C, fork, logs, and which modules are there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap

import pytest
from fake import FakeCoordinator

PROLOGUE = """
import sys, threading, xaynet_sdk
url = sys.argv[1]
class Trainer(xaynet_sdk.ParticipantABC):
    def train_round(self, training_input):
        print("training", flush=True)
        threading.Event().wait()
    def serialize_training_result(self, result): return result
    def deserialize_training_input(self, model): return model
    def on_stop(self): print("on_stop", flush=True)
"""


def start(program: str, url: str = "", **environment: str) -> subprocess.Popen[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("XAYNET")}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROLOGUE + textwrap.dedent(program), url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean, **environment},
    )


def run(program: str, url: str = "", **environment: str) -> str:
    process = start(program, url, **environment)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    return output


@pytest.mark.parametrize("path", ["nothing", "/params"])
def test_a_program_may_end_without_stopping(fake: FakeCoordinator, path: str) -> None:
    fake.new_round(1)
    fake.silent.add(path)
    output = run(
        """
        one = xaynet_sdk.spawn_participant(url, Trainer)
        two, event = xaynet_sdk.spawn_async_participant(url)
        three = xaynet_sdk.xaynet_sdk.Participant(url, 1.0)
        three.tick()
        """,
        fake.url,
    )
    assert output in ("", "training\n")


def test_a_program_may_end_while_a_participant_trains(fake: FakeCoordinator) -> None:
    import fake as wire

    fake.new_round(1)
    fake.set("/sums", wire.sum_dict())
    output = run(
        """
        import time
        class Busy(Trainer):
            def train_round(self, training_input):
                started.set()
                while True: time.sleep(0.001)
        started = threading.Event()
        one = xaynet_sdk.spawn_participant(url, Busy)
        started.wait(30)
        """,
        fake.url,
    )
    assert output == ""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    "call",
    [
        "xaynet_sdk.spawn_async_participant(url)[0].get_global_model()",
        "xaynet_sdk.spawn_participant(url, Trainer).join()",
        "xaynet_sdk.spawn_async_participant(url)[1].wait()",
        "xaynet_sdk.xaynet_sdk.Participant(url, 1.0).tick(1000)",
    ],
)
def test_ctrl_c_is_heard(fake: FakeCoordinator, call: str) -> None:
    fake.silent.add("/params")
    process = start(
        f"""
        print("ready", flush=True)
        {call}
        """,
        fake.url,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    fake.wait_for_request("/params")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_forked_process_has_no_participant(fake: FakeCoordinator) -> None:
    fake.new_round(1)
    output = run(
        """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        participant, event = xaynet_sdk.spawn_async_participant(url)
        event.wait(30)
        child = os.fork()
        if child == 0:
            for call in (participant.get_global_model, participant.stop):
                try:
                    call()
                except xaynet_sdk.UninitializedParticipant as error:
                    print("fork" in str(error), flush=True)
            del participant
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        participant.stop()
        """,
        fake.url,
    )
    assert output == "True\nTrue\n"


@pytest.mark.parametrize("variable", ["XAYNET_CLIENT", "XAYNET__CLIENT"])
def test_native_events_are_logged_to_standard_output(fake: FakeCoordinator, variable: str) -> None:
    fake.new_round(1, task="none")
    program = """
        participant, event = xaynet_sdk.spawn_async_participant(url)
        event.wait(30)
        participant.stop()
        """
    assert "new round" in run(program, fake.url, **{variable: "info"})
    assert "new round" in run(program, fake.url, **{variable: "error,xaynet_sdk=debug"})
    assert "new round" not in run(program, fake.url, **{variable: "error"})
    assert run(program, fake.url) == ""


def test_logging_may_be_initialised_again() -> None:
    program = """
        from xaynet_sdk.xaynet_sdk import init_logging
        init_logging(); init_logging()
        """
    run(program, XAYNET_CLIENT="debug")


def test_a_wrong_filter_is_no_reason_to_fail() -> None:
    process = start("print('fine')", XAYNET_CLIENT="debug,=,")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output == "fine\n"
    assert re.search("XAYNET_CLIENT", errors)


def test_numpy_is_not_needed(fake: FakeCoordinator) -> None:
    import fake as wire

    fake.new_round(1, length=2)
    fake.set("/sums", wire.sum_dict())
    fake.set("/model", wire.model([1, 2]))
    output = run(
        """
        import array
        assert "numpy" not in sys.modules
        sys.modules["numpy"] = None
        participant, event = xaynet_sdk.spawn_async_participant(url)
        event.wait(30)
        print(participant.get_global_model())
        try:
            participant.get_global_model(as_array=True)
        except ImportError as error:
            print("pip install numpy" in str(error))
        participant.set_local_model(array.array("f", [1, 0.5]))
        participant.stop()
        """,
        fake.url,
    )
    assert output == "[1.0, 2.0]\nTrue\n"

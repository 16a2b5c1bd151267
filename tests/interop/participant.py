"""One participant in a process of its own, run by the interpreter whose `xaynet_sdk` is to be tested.

It takes part in rounds until its standard input ends, and tells what happens to it in JSON lines on
standard output: `ready`, `train` (with the round and the model it hands in), `global` (a global
model arrived), `task` (with --api native), `stopped`. Everything else goes to standard error.

Old and new SDK are driven by the same lines, in the three ways that the package offers: a class
derived from `ParticipantABC`, a `spawn_async_participant` handle, and the native `Participant`.
"""

import argparse
import http.client
import importlib.metadata
import json
import logging
import sys
import threading
import time
import traceback
import urllib.request
from pathlib import Path

import xaynet_sdk
import xaynet_sdk.xaynet_sdk as native

import models
from wire import read_parameters

REPORT_LOCK = threading.Lock()
POLL_SECONDS = 0.05


def report(event, **details):
    with REPORT_LOCK:
        print(json.dumps(dict(details, event=event)), flush=True)


def published_version():
    """The version of the published package, if that is what `xaynet_sdk` belongs to."""
    try:
        return importlib.metadata.version("xaynet-sdk-python")
    except importlib.metadata.PackageNotFoundError:
        return None


class Training:
    """What the participant trains: a model that follows from its number and the round."""

    def __init__(self, options):
        self.options = options
        self.config = models.Config(*options.config.split("-"), options.magnitude)

    def current_round(self):
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(self.options.url + "/params", timeout=30) as response:
                    return read_parameters(response.read()).seed
            except (OSError, http.client.HTTPException, ValueError):
                # It is being started again, and has no round at first. Were this raised, the old package's thread would end.
                if time.monotonic() > deadline:
                    raise
            time.sleep(POLL_SECONDS)

    def train(self):
        """Trains and reports a model for the round that the coordinator is in.

        If that changes meanwhile, the model is dropped by the SDK, and reported for nothing.
        """
        return self._train(self.current_round())

    def train_ahead(self):
        """Trains and reports a model that fits any round."""
        return self._train(models.ANY_ROUND)

    def _train(self, round_seed):
        options = self.options
        model = models.local_model(
            self.config, options.index, options.population, options.length, round_seed
        )
        report("train", round=round_seed, model=model)
        return model


class Trainer(xaynet_sdk.ParticipantABC):
    def __init__(self, training):
        super().__init__()
        self.training = training

    def train_round(self, training_input):
        return tuple(self.training.train())

    def serialize_training_result(self, training_result):
        return list(training_result)

    def deserialize_training_input(self, global_model):
        return tuple(global_model)

    def participate_in_update_task(self):
        return True

    def on_new_global_model(self, global_model):
        report("global", model=None if global_model is None else list(global_model))

    def on_stop(self):
        report("on_stop")


def run_class(options, training, state, stop_requested):
    participant = xaynet_sdk.spawn_participant(
        options.url, Trainer, args=(training,), state=state, scalar=options.scalar
    )
    report("ready", published_version=published_version())
    while not stop_requested.wait(POLL_SECONDS):
        if not participant.is_alive():
            raise RuntimeError("the participant's thread has ended")
    return participant.stop()


def run_async(options, training, state, stop_requested):
    participant, new_global_model = xaynet_sdk.spawn_async_participant(
        options.url, state=state, scalar=options.scalar
    )
    report("ready", published_version=published_version())
    known_round = None
    while not stop_requested.wait(POLL_SECONDS):
        if new_global_model.is_set():
            model = participant.get_global_model()
            report("global", model=model)
            # The old SDK knows the model's length only once it has heard from the coordinator,
            # which the event shows.
        elif known_round is None:
            continue
        current_round = training.current_round()
        if current_round != known_round:
            known_round = current_round
            # It may be used now or in a later round.
            participant.set_local_model(training.train_ahead())
    return participant.stop()


def run_native(options, training, state, stop_requested):
    participant = native.Participant(options.url, options.scalar, state)
    report("ready", published_version=published_version())
    known = None
    while not stop_requested.wait(POLL_SECONDS):
        participant.tick()
        if participant.new_global_model():
            report("global", model=participant.global_model())
        if participant.should_set_model():
            participant.set_model(training.train())
        task = participant.task()
        if task != known:
            known = task
            report("task", task=task, round=training.current_round())
    return participant.save()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--api", choices=["class", "async", "native"], required=True)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--population", type=int, required=True)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--scalar", type=float, required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--magnitude", type=int, required=True)
    parser.add_argument("--state", type=Path, help="a state to go on from, and to leave behind")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG)

    stop_requested = threading.Event()

    def wait_for_end_of_input():
        sys.stdin.read()
        stop_requested.set()

    threading.Thread(target=wait_for_end_of_input, daemon=True).start()
    state = None
    if options.state and options.state.exists():
        state = json.loads(options.state.read_text())
    run = {"class": run_class, "async": run_async, "native": run_native}[options.api]
    try:
        state = list(run(options, Training(options), state, stop_requested))
    except Exception:
        traceback.print_exc()
        report("failed", error=traceback.format_exc())
        sys.exit(1)
    if options.state:
        options.state.write_text(json.dumps(state))
    report("stopped", state_length=len(state))


if __name__ == "__main__":
    main()

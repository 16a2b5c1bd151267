"""A participant of the published package of old that takes part until its standard input ends: its model is 1 at one place and 0
at all others, so that a global model tells whether it is in it, and how often."""

import argparse
import logging
import sys

from justbackoff import Backoff

import xaynet_sdk


class OneHot(xaynet_sdk.ParticipantABC):
    def __init__(self, length, index):
        super().__init__()
        self.model = [0.0] * length
        self.model[index] = 1.0

    def train_round(self, training_input):
        return self.model

    def serialize_training_result(self, training_result):
        return training_result

    def deserialize_training_input(self, global_model):
        return None

    def participate_in_update_task(self):
        return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--index", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    participant = xaynet_sdk.spawn_participant(
        options.url, OneHot, args=(options.length, options.index)
    )
    # It asks more often than it would: these rounds last for parts of a second.
    participant._poll_period = Backoff(min_ms=5, max_ms=40, factor=1.2, jitter=False)
    sys.stdin.read()
    participant.stop()


if __name__ == "__main__":
    main()

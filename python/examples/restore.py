"""Stopping, keeping the state in a file that only a passphrase opens, and going on from it."""

import tempfile
from pathlib import Path

from company import coordinator

import xaynet_sdk

MODEL_LENGTH = 10
PASSPHRASE = "in earnest: from a key store, not from a program"

with coordinator(MODEL_LENGTH) as url, tempfile.TemporaryDirectory() as folder:
    file = Path(folder, "participant.state")

    participant, new_global_model = xaynet_sdk.spawn_async_participant(url)
    new_global_model.wait()
    participant.set_local_model([0.1] * MODEL_LENGTH)  # not yet used, it is saved as well
    file.write_bytes(participant.stop(passphrase=PASSPHRASE))
    print(f"saved: {file.stat().st_size} bytes")

    try:
        xaynet_sdk.spawn_async_participant(url, state=file.read_bytes(), passphrase="guessed")
    except xaynet_sdk.SealError as error:
        print("refused:", error)

    participant, new_global_model = xaynet_sdk.spawn_async_participant(
        url, state=file.read_bytes(), passphrase=PASSPHRASE
    )
    new_global_model.wait()
    print("going on; the global model:", participant.get_global_model())
    participant.stop()

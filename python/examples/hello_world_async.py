"""A participant to which a local model may be handed at any time."""

from company import coordinator

import xaynet_sdk

MODEL_LENGTH = 10

with coordinator(MODEL_LENGTH) as url:
    participant, new_global_model = xaynet_sdk.spawn_async_participant(url)
    for number in range(3):
        new_global_model.wait()
        weights = participant.get_global_model()  # None in the first round; clears the event
        print(f"round {number}:", "no global model yet" if weights is None else weights[:3])
        # This is where a model is trained. It is used when this participant next updates.
        participant.set_local_model([0.1] * MODEL_LENGTH if weights is None else weights)
    participant.stop()

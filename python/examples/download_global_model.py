"""The global model for whoever uses it, without training it."""

import numpy as np
from company import coordinator

import xaynet_sdk

with coordinator(10) as url:
    participant, new_global_model = xaynet_sdk.spawn_async_participant(url)
    weights = None
    while weights is None:
        new_global_model.wait()
        weights = participant.get_global_model(as_array=True)
    participant.stop()

np.save("global_model.npy", weights)
print(f"global_model.npy: {weights.dtype}, {weights.shape}")

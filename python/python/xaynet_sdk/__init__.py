"""Take part in federated learning with the PET protocol.

Two ways to take part:

- :func:`spawn_participant` runs a class of yours, derived from :class:`ParticipantABC`, on a thread
  of its own, and calls it whenever there is something to train.
- :func:`spawn_async_participant` gives a handle to which a local model may be handed at any time.
"""

import logging as _logging

from xaynet_sdk.async_participant import AsyncParticipant
from xaynet_sdk.participant import (
    InternalParticipant,
    ParticipantABC,
    TrainingInput,
    TrainingResult,
)
from xaynet_sdk.spawn import spawn_async_participant, spawn_participant
from xaynet_sdk.xaynet_sdk import (
    CryptoInit,
    GlobalModelDataTypeMisMatch,
    GlobalModelUnavailable,
    LocalModelDataTypeMisMatch,
    LocalModelLengthMisMatch,
    ParticipantInit,
    ParticipantRestore,
    UninitializedParticipant,
    XaynetError,
    init_logging,
)

__all__ = [
    "AsyncParticipant",
    "CryptoInit",
    "GlobalModelDataTypeMisMatch",
    "GlobalModelUnavailable",
    "InternalParticipant",
    "LocalModelDataTypeMisMatch",
    "LocalModelLengthMisMatch",
    "ParticipantABC",
    "ParticipantInit",
    "ParticipantRestore",
    "TrainingInput",
    "TrainingResult",
    "UninitializedParticipant",
    "XaynetError",
    "spawn_async_participant",
    "spawn_participant",
]

try:
    init_logging()
except ValueError as _error:
    # A mistake in a log filter is no reason not to take part.
    _logging.getLogger("participant").warning("%s", _error)

"""Take part in federated learning with the PET protocol.

Two ways to take part:

- :func:`spawn_participant` runs a class of yours, derived from :class:`ParticipantABC`, on a thread
  of its own, and calls it whenever there is something to train.
- :func:`spawn_async_participant` gives a handle to which a local model may be handed at any time.

Further parts: :func:`flatten` and :class:`Layout` for models of many arrays, :class:`Coordinator` for one in
this process, :func:`simulate` for whole federations, :mod:`xaynet_sdk.aio` for asyncio,
:mod:`xaynet_sdk.protocol` for event loops of any kind, :mod:`xaynet_sdk.sealing` for saved states.
"""

import logging as _logging

from xaynet_sdk import aio, protocol, sealing
from xaynet_sdk.async_participant import AsyncParticipant
from xaynet_sdk.coordinator import Coordinator
from xaynet_sdk.layout import Layout, LayoutError, flatten, unflatten
from xaynet_sdk.participant import (
    InternalParticipant,
    ParticipantABC,
    TrainingInput,
    TrainingResult,
)
from xaynet_sdk.simulation import Simulation, SimulatedRound, simulate
from xaynet_sdk.spawn import spawn_async_participant, spawn_participant
from xaynet_sdk.tls import Tls
from xaynet_sdk.xaynet_sdk import (
    ClampWarning,
    CoordinatorInit,
    CryptoInit,
    GlobalModelDataTypeMisMatch,
    GlobalModelUnavailable,
    LocalModelDataTypeMisMatch,
    LocalModelLengthMisMatch,
    ParticipantInit,
    ParticipantRestore,
    SealError,
    UninitializedParticipant,
    XaynetError,
    init_logging,
)

__all__ = [
    "AsyncParticipant",
    "ClampWarning",
    "Coordinator",
    "CoordinatorInit",
    "CryptoInit",
    "GlobalModelDataTypeMisMatch",
    "GlobalModelUnavailable",
    "InternalParticipant",
    "Layout",
    "LayoutError",
    "LocalModelDataTypeMisMatch",
    "LocalModelLengthMisMatch",
    "ParticipantABC",
    "ParticipantInit",
    "ParticipantRestore",
    "SealError",
    "SimulatedRound",
    "Simulation",
    "Tls",
    "TrainingInput",
    "TrainingResult",
    "UninitializedParticipant",
    "XaynetError",
    "aio",
    "flatten",
    "protocol",
    "sealing",
    "simulate",
    "spawn_async_participant",
    "spawn_participant",
    "unflatten",
]

try:
    init_logging()
except ValueError as _error:
    # A mistake in a log filter is no reason not to take part.
    _logging.getLogger("participant").warning("%s", _error)

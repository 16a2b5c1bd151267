"""Take part in federated learning with the PET protocol.

Two ways to take part:

- :func:`spawn_participant` runs a class of yours, derived from :class:`ParticipantABC`, on a thread
  of its own, and calls it whenever there is something to train.
- :func:`spawn_async_participant` gives a handle to which a local model may be handed at any time.

Further parts: :class:`WeightedMean` for means weighted by samples and for metrics, :func:`flatten` and :class:`Layout` for models of many arrays, :class:`Coordinator` for one in
this process, :class:`Member` for a member of a group of PET v2, :func:`simulate` for whole federations, :func:`follow` to look on at a real one, :mod:`xaynet_sdk.callbacks` for what is done after each round,
:mod:`xaynet_sdk.optimizers`, :mod:`xaynet_sdk.schedules` and :mod:`xaynet_sdk.fedprox` for better models, :mod:`xaynet_sdk.privacy` for noise, :mod:`xaynet_sdk.aio` for asyncio,
:mod:`xaynet_sdk.protocol` for event loops of any kind, :mod:`xaynet_sdk.sealing` for saved states.
"""

import importlib as _importlib
import logging as _logging
import typing as _typing

from xaynet_sdk import sealing
from xaynet_sdk._saved import SavedState
from xaynet_sdk.aggregation import (
    Aggregate,
    AggregationError,
    SamplesWarning,
    Update,
    WeightedMean,
)
from xaynet_sdk.async_participant import AsyncParticipant
from xaynet_sdk.coordinator import Coordinator
from xaynet_sdk.layout import Layout, LayoutError, flatten, unflatten
from xaynet_sdk.member import Member, create_member_key
from xaynet_sdk.outcome import UpdateOutcome
from xaynet_sdk.participant import (
    InternalParticipant,
    ParticipantABC,
    TrainingInput,
    TrainingResult,
)
from xaynet_sdk.pin import Budget, Noise, Pin, PrivacyBudget
from xaynet_sdk.spawn import spawn_async_participant, spawn_participant
from xaynet_sdk.tls import Tls
from xaynet_sdk.xaynet_sdk import (
    BudgetSpent,
    ClampWarning,
    CoordinatorInit,
    CoordinatorWithoutV2,
    CredentialExpired,
    CryptoInit,
    ForgedAnnouncements,
    GlobalModelDataTypeMisMatch,
    GlobalModelLengthMisMatch,
    GlobalModelUnavailable,
    InvalidCertificate,
    LocalModelDataTypeMisMatch,
    LocalModelLengthMisMatch,
    MemberInit,
    MissingMajority,
    NoNoise,
    NotAdmitted,
    ParticipantInit,
    ParticipantRestore,
    PrecisionWarning,
    Refused,
    SealError,
    SplitModel,
    SplitRound,
    TooFewUpdates,
    UninitializedParticipant,
    UnknownVersion,
    WrongRoster,
    WrongScalar,
    WrongTerms,
    XaynetError,
    __version__,
    init_logging,
)

if _typing.TYPE_CHECKING:
    from xaynet_sdk import aio, callbacks, fedprox, optimizers, privacy, protocol, schedules
    from xaynet_sdk.following import FollowError, follow
    from xaynet_sdk.history import History, RoundResult
    from xaynet_sdk.optimizers import (
        FedAdagrad,
        FedAdam,
        FedAvg,
        FedAvgM,
        FedYogi,
        ServerOptimizer,
    )
    from xaynet_sdk.simulation import SimulatedRound, Simulation, SimulationError, simulate

__all__ = [
    "Aggregate",
    "AggregationError",
    "AsyncParticipant",
    "Budget",
    "BudgetSpent",
    "ClampWarning",
    "Coordinator",
    "CoordinatorInit",
    "CoordinatorWithoutV2",
    "CredentialExpired",
    "CryptoInit",
    "FedAdagrad",
    "FedAdam",
    "FedAvg",
    "FedAvgM",
    "FedYogi",
    "FollowError",
    "ForgedAnnouncements",
    "GlobalModelDataTypeMisMatch",
    "GlobalModelLengthMisMatch",
    "GlobalModelUnavailable",
    "History",
    "InternalParticipant",
    "InvalidCertificate",
    "Layout",
    "LayoutError",
    "LocalModelDataTypeMisMatch",
    "LocalModelLengthMisMatch",
    "Member",
    "MemberInit",
    "MissingMajority",
    "NoNoise",
    "Noise",
    "NotAdmitted",
    "ParticipantABC",
    "ParticipantInit",
    "ParticipantRestore",
    "Pin",
    "PrecisionWarning",
    "PrivacyBudget",
    "Refused",
    "RoundResult",
    "SamplesWarning",
    "SavedState",
    "SealError",
    "ServerOptimizer",
    "SimulatedRound",
    "Simulation",
    "SimulationError",
    "SplitModel",
    "SplitRound",
    "Tls",
    "TooFewUpdates",
    "TrainingInput",
    "TrainingResult",
    "UninitializedParticipant",
    "UnknownVersion",
    "Update",
    "UpdateOutcome",
    "WeightedMean",
    "WrongRoster",
    "WrongScalar",
    "WrongTerms",
    "XaynetError",
    "__version__",
    "aio",
    "callbacks",
    "create_member_key",
    "fedprox",
    "flatten",
    "follow",
    "optimizers",
    "privacy",
    "protocol",
    "schedules",
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

# What few programs need, and what takes time to import, such as asyncio: only when it is used.
_LATER = {
    "aio": None,
    "callbacks": None,
    "fedprox": None,
    "optimizers": None,
    "privacy": None,
    "schedules": None,
    **dict.fromkeys(
        ("FedAdagrad", "FedAdam", "FedAvg", "FedAvgM", "FedYogi", "ServerOptimizer"), "optimizers"
    ),
    "FollowError": "following",
    "follow": "following",
    "History": "history",
    "RoundResult": "history",
    "protocol": None,
    "simulation": None,
    "SimulatedRound": "simulation",
    "Simulation": "simulation",
    "SimulationError": "simulation",
    "simulate": "simulation",
}


def _get_later(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    where = _LATER[name]
    if where is None:
        return _importlib.import_module(f"{__name__}.{name}")
    value = getattr(_importlib.import_module(f"{__name__}.{where}"), name)
    globals()[name] = value
    return value


# A type checker that sees a `__getattr__` takes every name for one of this module's.
if not _typing.TYPE_CHECKING:
    __getattr__ = _get_later


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})

"""Starting participants."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from xaynet_sdk._types import State
from xaynet_sdk.aggregation import WeightedMean
from xaynet_sdk.async_participant import AsyncParticipant
from xaynet_sdk.outcome import UpdateOutcome
from xaynet_sdk.participant import InternalParticipant, ParticipantABC
from xaynet_sdk.pin import Budget, Pin, _Path
from xaynet_sdk.sealing import unseal
from xaynet_sdk.tls import Tls


def spawn_participant(
    coordinator_url: str,
    participant: type[ParticipantABC[Any, Any]],
    args: Iterable[Any] = (),
    kwargs: Mapping[str, Any] = {},
    state: State | None = None,
    scalar: float = 1.0,
    *,
    timeout: float = 60.0,
    key: bytes | None = None,
    passphrase: str | None = None,
    tls: Tls | None = None,
    keep_models: bool = False,
    max_message_size: int | None = None,
    roster: Pin | _Path | None = None,
    credential: bytes | _Path | None = None,
    identity: bytes | _Path | None = None,
    budget: Budget | None = None,
    state_file: _Path | None = None,
    aggregation: WeightedMean | None = None,
) -> InternalParticipant:
    """Starts a participant on a daemon thread of its own.

    Args:
        coordinator_url: The coordinator's base URL, such as ``http://127.0.0.1:8081``; it may have a
            path.
        participant: The class to run. It is instantiated on the participant's thread, and all its
            methods are called there.
        args: Positional arguments for it.
        kwargs: Keyword arguments for it.
        state: The state of a stopped participant, to go on from; None for a new one.
        scalar: The weight of this participant's models in the average, sum(s_i * w_i) / sum(s_i).
            Take, for instance, each participant's share of the samples.
        timeout: The longest wait for an answer of the coordinator, in seconds. (Not in Xaynet.)
        key, passphrase: What the state was sealed with, if it was. (Not in Xaynet.)
        tls: Whom to trust, and what to show, if the URL is an https one. (Not in Xaynet.)
        keep_models: Whether what ``train_round`` gives after its round is over is used in a later one. By default it
            is dropped, and ``on_update_outcome`` told. (In Xaynet it was used.)
        max_message_size: Longer messages are split into parts of at most so many bytes, for proxies that take no
            larger ones. (A participant that is refused with status 413 by a proxy finds a size by itself, at the
            price of some attempts.) (Not in Xaynet.)
        roster: For rounds of version 2, in which no sum participant and coordinator together see a model: the roster to
            insist on. A :class:`xaynet_sdk.Pin`, a roster file, or the roster's hash in hexadecimal digits. Such a
            participant takes no part in rounds of version 1; what is wrong with a coordinator or a round is a
            :class:`xaynet_sdk.Refused`, given to ``on_error``. (Not in Xaynet.)
        credential: What the roster's admission authority has given for this participant's key, where it has an
            authority: bytes, hexadecimal digits, or a file, as ``pet-coordinator roster admit`` writes them. (Not in
            Xaynet.)
        identity: The key that the credential is for: a key file, as ``pet-coordinator keys generate`` writes it, or its 32
            secret bytes. By default a new participant has a new key. (Not in Xaynet.)
        budget: The privacy budget: then only rounds with noise are taken part in, until it is spent. Give a
            ``state_file`` with it. (Not in Xaynet.)
        state_file: Where the state is kept, in the clear and readable for its owner only; no other participant may use it
            at the same time. It is read at the start if there is one and no ``state`` is given, written when the participant
            is stopped, and, in rounds of version 2, before an update leaves: a process that is killed has not forgotten what
            it has promised and spent. Without it, both are kept in memory only. (Not in Xaynet.)
        aggregation: How models are weighted by samples, and what is summed beside them: then training gives a
            :class:`xaynet_sdk.Update`. All participants need the same, and ``scalar`` stays 1. (Not in Xaynet.)

    Raises:
        CryptoInit: The operating system gives no random bytes.
        ParticipantInit: The URL, the scalar, the time-out or the size is invalid, a certificate cannot be read, the
            environment names a proxy that cannot be used, or roster, credential, identity or budget are none.
        ParticipantRestore: The state cannot be read.
        SealError: The state does not open with this key or passphrase, or needs one.
        TypeError: It is an instance, not a class.
        Exception: Whatever the participant's own constructor raises.
    """
    if not callable(participant):
        name = type(participant).__name__
        hint = f": give {name}, and the arguments of its constructor as args and kwargs"
        raise TypeError(
            "a participant is the class to run, which is instantiated on a thread of its own, not an object of "
            f"type {name}{hint if isinstance(participant, ParticipantABC) else ''}"
        )
    if state is not None:
        state = unseal(state, key=key, passphrase=passphrase)
    internal = InternalParticipant(
        coordinator_url,
        participant,
        args,
        kwargs,
        state,
        scalar,
        timeout=timeout,
        tls=tls,
        keep_models=keep_models,
        max_message_size=max_message_size,
        roster=roster,
        credential=credential,
        identity=identity,
        budget=budget,
        state_file=state_file,
        aggregation=aggregation,
    )
    internal.start()
    internal.wait_until_ready()
    return internal


def spawn_async_participant(
    coordinator_url: str,
    state: State | None = None,
    scalar: float = 1.0,
    *,
    timeout: float = 60.0,
    key: bytes | None = None,
    passphrase: str | None = None,
    tls: Tls | None = None,
    keep_models: bool = True,
    on_update_outcome: Callable[[UpdateOutcome], object] | None = None,
    max_message_size: int | None = None,
    roster: Pin | _Path | None = None,
    credential: bytes | _Path | None = None,
    identity: bytes | _Path | None = None,
    budget: Budget | None = None,
    state_file: _Path | None = None,
    aggregation: WeightedMean | None = None,
) -> tuple[AsyncParticipant, threading.Event]:
    """Starts a participant that takes local models whenever they are ready.

    The event is set whenever there may be a new global model, that is, when a round begins (in the
    first one there is none yet), and cleared by :meth:`AsyncParticipant.get_global_model`.

    The further arguments and the exceptions are those of :func:`spawn_participant`.

    Args:
        keep_models: Whether a local model that was not used in one round is kept for a later one, as in Xaynet. If
            not, it counts for the round whose global model was fetched last, and for no other. (Not in Xaynet.)
        on_update_outcome: What to call with what has become of local models, on the participant's thread, or within
            ``set_local_model``: see :class:`xaynet_sdk.UpdateOutcome`. It should return soon. (Not in Xaynet.)
    """
    if state is not None:
        state = unseal(state, key=key, passphrase=passphrase)
    notifier = threading.Event()
    participant = AsyncParticipant(
        coordinator_url,
        notifier,
        state,
        scalar,
        timeout=timeout,
        tls=tls,
        keep_models=keep_models,
        on_update_outcome=on_update_outcome,
        max_message_size=max_message_size,
        roster=roster,
        credential=credential,
        identity=identity,
        budget=budget,
        state_file=state_file,
        aggregation=aggregation,
    )
    participant.start()
    return participant, notifier

"""A member of a group: what keeps a federation of version 2 sealed."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from xaynet_sdk._handle import NotCopied
from xaynet_sdk._numbers import seconds, whole
from xaynet_sdk.tls import Tls
from xaynet_sdk.xaynet_sdk import MemberInit, _member_key, _MemberService

__all__ = ["Member", "create_member_key"]


def create_member_key(data_dir: str | os.PathLike[str]) -> str:
    """Makes a member's directory and key, and returns the key's public half: 64 hexadecimal digits, for the roster.

    If there is a key already, it stays, and its public half is returned. The directory is for nobody else (mode 0700).

    Raises:
        MemberInit: The directory cannot be made, is open to others, or a member runs on it.
    """
    return _member_key(Path(data_dir))


class Member(NotCopied):
    """A member of a group of PET v2, on a thread of its own: it keeps keys, checks what the coordinator shows, and adds up
    masks. The same as the program ``pet-coordinator member``::

        key = xaynet_sdk.create_member_key("member")     # once: the key goes into the roster
        with xaynet_sdk.Member("https://coordinator.example", roster=HASH, data_dir="member") as member:
            ...
            print(member.status()["waits_for"])

    What it has promised is in the directory: never put an old copy of it back, and never run two members with one key.
    After a start it takes part in rounds that are opened from then on.

    Args:
        coordinator_url: The coordinator.
        roster: The hash of the roster, as ``pet-coordinator roster hash`` prints it. Not to be had from the coordinator.
        data_dir: The directory with the key and the state.
        n_min: The least number of updates that this member ever helps to unmask together.
        epsilon: A privacy budget: rounds without noise are refused.
        delta: Of the privacy budget.
        least_noise: The least noise multiplier of a round.
        poll: The longest pause between two looks at the coordinator, in seconds.
        tls: Whom to trust, and what certificate to show.

    Raises:
        MemberInit: The settings are wrong.
    """

    def __init__(
        self,
        coordinator_url: str,
        *,
        roster: str,
        data_dir: str | os.PathLike[str],
        n_min: int = 3,
        epsilon: float | None = None,
        delta: float = 1e-5,
        least_noise: float | None = None,
        poll: float = 10.0,
        tls: Tls | None = None,
    ) -> None:
        self._url = coordinator_url
        self._roster = roster
        self._data_dir = Path(data_dir)
        self._n_min = whole("n_min", n_min, 3)
        self._budget = None if epsilon is None else (float(epsilon), float(delta))
        self._least_noise = None if least_noise is None else _thousandths(least_noise)
        self._poll = seconds("poll", poll)
        self._tls = tls
        self._native: _MemberService | None = None

    def start(self) -> Self:
        """Starts it, with what is in its directory; nothing happens if it runs.

        Raises:
            MemberInit: There is no key, the state is damaged, or another process uses the directory.
        """
        if self._native is None or not self._native.is_running():
            files = (None, None) if self._tls is None else self._tls._files()
            self._native = _MemberService(
                self._url,
                self._roster,
                self._data_dir,
                self._n_min,
                self._budget,
                self._least_noise,
                self._poll,
                files,
            )
        return self

    @property
    def public_key(self) -> str:
        """The public half of its key, in hexadecimal digits."""
        if self._native is not None:
            return self._native.public_key
        return create_member_key(self._data_dir)

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._native is not None and self._native.is_running()

    def status(self) -> dict[str, Any]:
        """How it stands, as ``/status`` of ``pet-coordinator member`` tells: ``round``, ``phase``, ``takes_part``,
        ``may_vote``, ``sits_out`` (why it does not take part), ``waits_for``, ``failure`` (of the last request), and others.

        Raises:
            MemberInit: It was never started.
        """
        if self._native is None:
            raise MemberInit("the member was not started: call start()")
        status: dict[str, Any] = json.loads(self._native.status())
        return status

    def complaint(self) -> str | None:
        """What is wrong: it was stopped, or the coordinator has not answered for minutes. None if it is well."""
        return "the member was not started" if self._native is None else self._native.complaint()

    def stop(self) -> None:
        """Stops it, and waits until it has let go of its directory. Once is enough."""
        if self._native is not None:
            self._native.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Member in {self._data_dir}{'' if self.running else ', not running'}>"


def _thousandths(multiplier: float) -> int:
    if not 0 < multiplier < 1e6:
        raise MemberInit(f"least_noise must be a number above 0, not {multiplier}")
    return math.ceil(multiplier * 1000)

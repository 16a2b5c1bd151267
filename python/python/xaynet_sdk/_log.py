"""The package's log, whose lines say of which participant they are."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class ParticipantLog(_Adapter):
    """The logger ``participant``, with the beginning of a participant's public key before each message."""

    def __init__(self, public_key: bytes) -> None:
        super().__init__(logging.getLogger("participant"), {})
        #: What tells this participant from others.
        self.participant = public_key[:4].hex()

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return f"[{self.participant}] {msg}", kwargs

"""TLS: whom a participant trusts, and how it identifies itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from xaynet_sdk.xaynet_sdk import ParticipantInit

if TYPE_CHECKING:
    import ssl

__all__ = ["Tls"]

_Path: TypeAlias = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """For coordinators whose URL begins with ``https`` and whose certificate is not from one of the web's
    well-known authorities, or that want to see certificates of their participants::

        tls = xaynet_sdk.Tls(ca="our-ca.pem", certificate="me.pem", key="me.key")
        xaynet_sdk.spawn_participant("https://coordinator.example", Participant, tls=tls)

    The files are in PEM form. They are read when a participant starts.
    """

    #: A file with certificates of authorities: they, and no others, are trusted.
    ca: _Path | None = None
    #: A file with the certificate to show, and those that lead from it to its authority.
    certificate: _Path | None = None
    #: A file with the certificate's private key, without a passphrase.
    key: _Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ParticipantInit("Tls needs both certificate and key, or neither")

    def _files(self) -> tuple[bytes | None, tuple[bytes, bytes] | None]:
        """What the native module takes: authorities, certificate and key."""
        ca = None if self.ca is None else _read("ca", self.ca)
        if self.certificate is None or self.key is None:
            return ca, None
        return ca, (_read("certificate", self.certificate), _read("key", self.key))

    def _context(self, authorities: bytes | None = None) -> ssl.SSLContext:
        """What HTTP clients of Python take; the authorities are those of the environment."""
        import ssl

        self._files()
        try:
            named = authorities.decode() if authorities and self.ca is None else None
            context = ssl.create_default_context(cafile=self.ca, cadata=named)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except ssl.SSLError as error:
            raise ParticipantInit(f"{self}: {error}") from error
        return context


def _read(name: str, path: _Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ParticipantInit(f"Tls({name}={os.fspath(path)!r}) cannot be read: {error}") from error

"""Participants of a coordinator that speaks TLS."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

import xaynet_sdk
from xaynet_sdk import Tls, aio

SECONDS = 120.0


@dataclass
class Authority:
    """An authority, and files with what it has certified."""

    folder: Path
    authority: trustme.CA

    @property
    def ca(self) -> Path:
        path = self.folder / "ca.pem"
        self.authority.cert_pem.write_to_path(path)
        return path

    def certify(self, name: str) -> tuple[Path, Path]:
        """Files with a certificate and its key."""
        issued = self.authority.issue_cert(name)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        for nth, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(certificate, append=nth > 0)
        issued.private_key_pem.write_to_path(key)
        return certificate, key


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, trustme.CA())


@pytest.fixture
def server(authority: Authority) -> Iterator[xaynet_sdk.Coordinator]:
    certificate, key = authority.certify("127.0.0.1")
    settings: dict[str, object] = {
        "api.tls_certificate": certificate,
        "api.tls_key": key,
        "pet.sum.prob": 0.3,
        "pet.update.prob": 1.0,
        # By these draws now and then nobody adds up masks, or too few train.
        "pet.sum.time.max": 3,
        "pet.update.time.max": 10,
        "pet.sum2.time.max": 10,
    }
    with xaynet_sdk.Coordinator(4, settings=settings) as coordinator:
        yield coordinator


@pytest.fixture
def choosy(authority: Authority) -> Iterator[xaynet_sdk.Coordinator]:
    """A coordinator that wants to see certificates."""
    certificate, key = authority.certify("127.0.0.1")
    settings = {
        "api.tls_certificate": certificate,
        "api.tls_key": key,
        "api.tls_client_auth": authority.ca,
    }
    with xaynet_sdk.Coordinator(4, settings=settings) as coordinator:
        yield coordinator


def reaches(url: str, tls: Tls | None) -> bool:
    """Whether a participant gets an answer."""
    participant, _ = xaynet_sdk.spawn_async_participant(url, tls=tls)
    try:
        return participant.get_global_model() is None
    except xaynet_sdk.GlobalModelUnavailable:
        return False
    finally:
        participant.stop()


async def reaches_by_aio(url: str, tls: Tls | None) -> bool:
    async with aio.connect(url, tls=tls) as participant:
        try:
            return await participant.global_model() is None
        except xaynet_sdk.GlobalModelUnavailable:
            return False


def test_an_authority_is_trusted(authority: Authority, server: xaynet_sdk.Coordinator) -> None:
    assert server.url.startswith("https://")
    assert reaches(server.url, Tls(ca=authority.ca))
    assert not reaches(server.url, None)
    stranger = authority.folder / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    assert not reaches(server.url, Tls(ca=stranger))


def test_a_certificate_is_shown(authority: Authority, choosy: xaynet_sdk.Coordinator) -> None:
    certificate, key = authority.certify("participant")
    assert reaches(choosy.url, Tls(ca=authority.ca, certificate=certificate, key=key))
    assert not reaches(choosy.url, Tls(ca=str(authority.ca)))


# What httpx's connections leave behind when the other side ends TLS is the garbage collector's.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_asyncio_participants_do_the_same(
    authority: Authority, choosy: xaynet_sdk.Coordinator
) -> None:
    certificate, key = authority.certify("participant")

    async def both() -> None:
        async with asyncio.timeout(SECONDS):
            whole = Tls(ca=authority.ca, certificate=certificate, key=key)
            assert await reaches_by_aio(choosy.url, whole)
            assert not await reaches_by_aio(choosy.url, Tls(ca=authority.ca))

    asyncio.run(both())
    gc.collect()


def test_a_participant_trains_over_tls(
    authority: Authority, server: xaynet_sdk.Coordinator
) -> None:
    participants = [
        xaynet_sdk.spawn_async_participant(server.url, tls=Tls(ca=authority.ca))[0]
        for _ in range(12)
    ]
    for participant in participants:
        participant.set_local_model([0.5, -0.5, 0.25, 1.0])
    try:
        server.wait_for_round(1, SECONDS)
    finally:
        for participant in participants:
            participant.stop()
    assert server.global_model(as_array=False) == pytest.approx([0.5, -0.5, 0.25, 1.0])


def test_mistakes_are_named(authority: Authority) -> None:
    url = "https://127.0.0.1:1"
    certificate, key = authority.certify("participant")
    garbage = authority.folder / "garbage.pem"
    garbage.write_text("nothing of use")
    with pytest.raises(xaynet_sdk.ParticipantInit, match="both certificate and key"):
        Tls(certificate=certificate)
    with pytest.raises(xaynet_sdk.ParticipantInit, match=r"Tls\(ca='/nowhere'\) cannot be read"):
        xaynet_sdk.spawn_async_participant(url, tls=Tls(ca="/nowhere"))
    with pytest.raises(xaynet_sdk.ParticipantInit, match="no certificate or key in PEM form"):
        xaynet_sdk.spawn_async_participant(url, tls=Tls(ca=garbage))
    with pytest.raises(xaynet_sdk.ParticipantInit, match="no certificate or key in PEM form"):
        wrong = Tls(certificate=certificate, key=garbage)
        xaynet_sdk.spawn_async_participant(url, tls=wrong)
    for tls in (Tls(ca=garbage), Tls(certificate=certificate, key=garbage), Tls(ca="/nowhere")):
        with pytest.raises(xaynet_sdk.ParticipantInit):
            aio.connect(url, tls=tls)
    assert str(key) in repr(Tls(certificate=certificate, key=key))

"""A member of a group of version 2 in this process."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import xaynet_sdk
from xaynet_sdk import Member, MemberInit, create_member_key

HASH = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
# Nobody listens there.
NOBODY = "http://127.0.0.1:1"


def member(path: Path, **settings: object) -> Member:
    return Member(NOBODY, roster=HASH, data_dir=path, poll=0.05, **settings)  # type: ignore[arg-type]


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "member"
    key = create_member_key(path)
    assert len(bytes.fromhex(key)) == 32
    assert create_member_key(path) == key
    assert stat.S_IMODE((path / "member.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert member(path).public_key == key


def test_it_starts_waits_stops_and_starts_again(tmp_path: Path) -> None:
    path = tmp_path / "member"
    key = create_member_key(path)
    with member(path) as running:
        assert running.running
        assert running.public_key == key
        end = time.monotonic() + 30
        while running.status()["failure"] is None:
            assert time.monotonic() < end
            time.sleep(0.005)
        status = running.status()
        assert "cannot be reached" in status["failure"]
        assert (status["round"], status["takes_part"], status["may_vote"]) == (None, False, False)
        assert running.complaint() is None
        assert (path / "member.state").exists()
    assert not running.running
    assert "stopped" in (running.complaint() or "")
    running.stop()
    with running:
        assert running.running


def test_two_never_share_a_directory(tmp_path: Path) -> None:
    create_member_key(tmp_path / "member")
    with member(tmp_path / "member"):
        with pytest.raises(MemberInit, match="a member runs on it already"):
            member(tmp_path / "member").start()
    member(tmp_path / "member").start().stop()


def test_what_is_wrong_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(MemberInit, match="member init"):
        member(tmp_path / "nothing").start()
    create_member_key(tmp_path / "member")
    with pytest.raises(MemberInit, match="hexadecimal"):
        Member(NOBODY, roster="12", data_dir=tmp_path / "member").start()
    with pytest.raises(MemberInit, match="not a coordinator's URL"):
        Member("nowhere", roster=HASH, data_dir=tmp_path / "member").start()
    with pytest.raises(MemberInit, match="privacy budget"):
        member(tmp_path / "member", epsilon=-1.0).start()
    with pytest.raises(MemberInit, match="least_noise"):
        member(tmp_path / "member", least_noise=0.0)
    with pytest.raises(ValueError, match="n_min"):
        member(tmp_path / "member", n_min=2)
    with pytest.raises(MemberInit, match="not started"):
        member(tmp_path / "member").status()
    assert issubclass(MemberInit, xaynet_sdk.XaynetError)


FORKS = """
import os, sys
import xaynet_sdk

path, roster, url = sys.argv[1:]
xaynet_sdk.create_member_key(path)
with xaynet_sdk.Member(url, roster=roster, data_dir=path, poll=0.05) as running:
    child = os.fork()
    if child == 0:
        try:
            running.status()
        except xaynet_sdk.XaynetError:
            os._exit(7)
        os._exit(0)
    _, code = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(code) == 7, code
    assert running.running
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_leaves_it_alone(tmp_path: Path) -> None:
    # In a process of its own: libraries of other tests do not like to be forked.
    arguments = [str(tmp_path / "member"), HASH, NOBODY]
    subprocess.run([sys.executable, "-c", FORKS, *arguments], check=True, timeout=60)

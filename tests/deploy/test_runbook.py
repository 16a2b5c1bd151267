"""The runbook quotes what replicas really say."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def said() -> str:
    """The text of all crates that replicas are made of, with what is broken into lines put together again."""
    folders = [
        "coordinator/src",
        "ledger/src",
        "store-postgres/src",
        "store-redis/src",
        "store-s3/src",
    ]
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.rs"))]
    text = "\n".join(file.read_text() for file in files)
    return re.sub(r"\\\n\s*", "", text)


def test_every_message_of_the_runbook_is_said_by_somebody() -> None:
    page = (ROOT / "docs" / "runbook.md").read_text()
    rows = re.findall(r"^\| (.*?`.*?) \|", page, re.MULTILINE)
    quoted = [message for row in rows for message in re.findall(r"`([^`]+)`", row)]
    assert len(quoted) > 30
    text = said()
    assert [message for message in quoted if message not in text] == []

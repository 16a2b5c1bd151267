"""The groups of the demo: keys, a roster that all have signed, credentials, and the members' processes.

All of it is made with the commands that docs/v2-operation.md tells organisations to use.
"""

from __future__ import annotations

import queue
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from processes import Process, ProcessFailed, run

GROUPS = ("North clinic", "South clinic", "Auditor")
MEMBERS = 3
N_MIN = 8

ANSWER_SECONDS = 120.0


@dataclass(frozen=True)
class Member:
    """A member's place, and its data directory."""

    group: int
    index: int
    directory: Path

    @property
    def place(self) -> str:
        return f"{self.group}.{self.index}"

    @property
    def name(self) -> str:
        return f"member {self.index + 1} of {GROUPS[self.group]}"

    @property
    def state(self) -> Path:
        return self.directory / "member.state"


@dataclass(frozen=True)
class Updater:
    """A hospital's files: its key, its credential, and its state."""

    identity: Path
    credential: Path
    state: Path
    public_key: str


@dataclass
class Committee:
    """Everybody's keys, and the roster."""

    binary: Path
    directory: Path
    hospitals: int
    members: list[Member] = field(default_factory=list)
    updaters: list[Updater] = field(default_factory=list)
    roster_hash: str = ""

    def __post_init__(self) -> None:
        keys: list[list[str]] = []
        for group in range(len(GROUPS)):
            keys.append([])
            for index in range(MEMBERS):
                member = Member(group, index, self.directory / f"member-{group}-{index}")
                keys[-1].append(self._run("member", "init", "--data-dir", str(member.directory)))
                self.members.append(member)
        self.token.touch(0o600)
        self.token.write_text(secrets.token_hex(16) + "\n")
        authority = self.directory / "authority.key"
        public = self._run("keys", "generate", "-o", str(authority))
        create = ["roster", "create", "-o", str(self.roster), "--authority", public]
        for name, of_group in zip(GROUPS, keys):
            create += ["--group", f"{name}={','.join(of_group)}"]
        self._run(*create)
        self.roster_hash = self._run("roster", "hash", str(self.roster))
        for member in self.members:
            key = str(member.directory / "member.key")
            self._run(
                "roster", "sign", str(self.roster), "--key", key, "--expect", self.roster_hash
            )
        self._run("roster", "show", "--complete", str(self.roster))
        for number in range(self.hospitals):
            self.updaters.append(self._admit(authority, self.directory / f"hospital-{number}"))

    @property
    def roster(self) -> Path:
        return self.directory / "roster.toml"

    @property
    def socket(self) -> Path:
        """Where the coordinator's operator speaks to it."""
        return self.directory / "admin.sock"

    @property
    def token(self) -> Path:
        return self.directory / "admin.token"

    def skip_round(self, check: Callable[[], None]) -> None:
        """Skips the round that was opened before the members were started: they take part in later ones only.

        When a round was opened is told in whole seconds: so the next one must not be opened in the same second. Calls
        `check` now and then, which may raise.
        """
        started = int(time.time())
        while int(time.time()) == started:
            check()
            time.sleep(0.02)
        admin = ["admin", "--socket", str(self.socket), "--token-file", str(self.token)]
        self._run(*admin, "skip")

    def _admit(self, authority: Path, path: Path) -> Updater:
        files = [path.with_suffix(suffix) for suffix in (".key", ".credential", ".state")]
        key, credential, state = files
        public = self._run("keys", "generate", "-o", str(key))
        self._run(
            *("roster", "admit", "--key", str(authority), "--roster", str(self.roster)),
            *("--updater", public, "--days", "1", "-o", str(credential)),
        )
        return Updater(key, credential, state, public)

    def _run(self, *arguments: str) -> str:
        return run([str(self.binary), *arguments])

    def start(self, member: Member, url: str) -> Process:
        """Starts a member as a service. It is ready when its health page is there."""
        port = member.directory / "port"
        command = [str(self.binary), "member", "--coordinator", url, "--roster", self.roster_hash]
        command += ["--n-min", str(N_MIN), "--data-dir", str(member.directory)]
        command += ["--bind", "127.0.0.1:0", "--port-file", str(port)]
        command += ["--set", "member.poll=0.2", "--set", "member.threads=1"]
        process = Process(member.name, command)
        try:
            process.wait_for_file(port)
        except BaseException:
            process.stop()
            raise
        return process


class Liar:
    """The member that lies, in league with others whose states it may read: `sealed_groups lie`."""

    def __init__(
        self,
        program: Path,
        committee: Committee,
        member: Member,
        allies: list[Member],
        url: str,
    ) -> None:
        self.seeds = committee.directory / "seeds"
        #: By round, how it has lied, and what it was answered.
        self.lied: dict[int, tuple[str, str]] = {}
        self._answers: queue.Queue[list[str]] = queue.Queue()
        command = [str(program), "lie", url, committee.roster_hash]
        command += [str(member.directory), str(self.seeds)]
        command += [f"{ally.place}={ally.state}" for ally in allies]
        self.process = Process(f"{member.name}, which lies,", command, self._hear)
        try:
            self._answer("ready")
        except BaseException:
            self.process.stop()
            raise

    def _hear(self, line: str) -> None:
        match line.split():
            case ["lied", number, lie, answer]:
                self.lied[int(number)] = (lie, answer)
            case ["opened", *_]:
                pass
            case words:
                self._answers.put(words)

    def _answer(self, expected: str) -> None:
        waited = 0.0
        while True:
            try:
                words = self._answers.get(timeout=0.2)
                break
            except queue.Empty:
                self.process.check()
                waited += 0.2
                if waited > ANSWER_SECONDS:
                    raise ProcessFailed(
                        f"{self.process.name} does not answer:\n{self.process.log()}"
                    ) from None
        if words[:1] != [expected]:
            raise ProcessFailed(
                f"{self.process.name} says {words} where it should say {expected!r}"
            )

    def tell(self, how: str) -> None:
        """Has it lie from now on, or be honest: `lie vote`, `lie mask`, `lie accuse N`, `honest`."""
        self.process.tell(how)
        self._answer("ok")

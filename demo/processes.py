"""Programs that run as long as the demo does, each with the end of its log at hand."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

START_SECONDS = 120.0
STOP_SECONDS = 10.0


class ProcessFailed(Exception):
    """A program did not start, has ended, or does not answer."""


class Process:
    """A program in a process of its own, which is interrupted at the end."""

    def __init__(
        self, name: str, command: list[str], on_line: Callable[[str], None] | None = None
    ) -> None:
        """Starts it; what it prints on its standard output goes to `on_line`, on another thread."""
        self.name = name
        self._tail: deque[str] = deque(maxlen=20)
        self._is_wanted = True
        try:
            # A session of its own: Ctrl-C is for the demo alone, which then stops everything.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            raise ProcessFailed(f"cannot run {name}, {command[0]}: {error}") from error
        self._readers = [
            threading.Thread(target=self._read, args=arguments, daemon=True)
            for arguments in (
                (self._process.stdout, on_line or self._tail.append),
                (self._process.stderr, self._tail.append),
            )
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(lines: object, on_line: Callable[[str], None]) -> None:
        for line in lines:  # type: ignore[attr-defined]
            on_line(line.rstrip())

    def tell(self, line: str) -> None:
        """Writes a line to its standard input."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError as error:
            self.check()
            raise ProcessFailed(f"{self.name} does not listen: {error}") from error

    def wait_for_file(self, path: Path) -> str:
        """What it writes into a file once it is ready; the file appears in one step."""
        deadline = time.monotonic() + START_SECONDS
        while not path.exists():
            self.check()
            if time.monotonic() > deadline:
                raise ProcessFailed(
                    f"{self.name} is not ready after {START_SECONDS:.0f} s:\n{self.log()}"
                )
            time.sleep(0.01)
        return path.read_text()

    def check(self) -> None:
        """Raises ProcessFailed, with the end of its log, if it has ended, and was not killed."""
        if self._is_wanted and self._process.poll() is not None:
            for reader in self._readers:
                reader.join(STOP_SECONDS)
            raise ProcessFailed(
                f"{self.name} ended with status {self._process.returncode}:\n{self.log()}"
            )

    def log(self) -> str:
        """The end of its log."""
        return "\n".join(f"    {line}" for line in list(self._tail))

    def kill(self) -> None:
        """Ends it as a loss of power would. It stays dead."""
        self._is_wanted = False
        self._process.kill()
        self._process.wait()
        self._close()

    def interrupt(self) -> None:
        """Asks it to end, and does not wait."""
        self._is_wanted = False
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        """Interrupts it and waits for its end."""
        self.interrupt()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        for reader in self._readers:
            reader.join(STOP_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            # What was written to one that has ended is lost.
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()


def run(command: list[str]) -> str:
    """Runs a program to its end; what it has printed."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProcessFailed(f"cannot run {' '.join(command[:3])}: {error}") from error
    if done.returncode != 0:
        lines = "\n".join(f"    {line}" for line in done.stderr.splitlines()[-20:])
        raise ProcessFailed(
            f"{' '.join(command[:3])} ended with status {done.returncode}:\n{lines}"
        )
    return done.stdout.strip()

"""What participants cost a coordinator that wait for the next round (`Prefer: wait`).

    python bench/idle.py --coordinator target/release/pet-coordinator --connections 10000

A real coordinator in a process of its own, and so many connections to it that are answered once there is news. Of the
coordinator it is measured, from /proc: its memory, its processor time while nothing happens but that waits end and begin again, and
how long it takes to tell all of them of a new round. Nothing but the standard library; Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

#: The longest that a coordinator keeps anybody waiting.
WAIT = 50
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
#: So many connections are made at once.
AT_ONCE = 200


class Coordinator:
    """A coordinator whose first round fails after a while, so that the next one is news."""

    def __init__(self, program: str, connections: int, round_takes: int, tls: bool) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="pet-idle-")
        place = Path(self.folder.name)
        settings: dict[str, object] = {
            "api.bind_address": "127.0.0.1:0",
            "model.length": 1000,
            "storage.ephemeral": "true",
            "log.filter": "warn",
            "limits.connections": connections * 2,
            "limits.connections_per_address": 0,
            "limits.requests_per_second": 0,
            "pet.sum.time.min": 1,
            "pet.sum.time.max": round_takes,
        }
        self.tls: ssl.SSLContext | None = None
        if tls:
            key, certificate = place / "key.pem", place / "certificate.pem"
            command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"
            subprocess.run(
                [*command.split(), "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
                check=True,
                capture_output=True,
            )
            settings |= {"api.tls_certificate": certificate, "api.tls_key": key}
            self.tls = ssl.create_default_context()
            self.tls.check_hostname = False
            self.tls.verify_mode = ssl.CERT_NONE
        port = place / "port"
        arguments = [f"--set={key}={value}" for key, value in settings.items()]
        self.process = subprocess.Popen(
            [program, "serve", "--port-file", port, *arguments], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while not port.exists() or not port.read_text().strip():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the coordinator does not listen")
            time.sleep(0.01)
        host, _, number = port.read_text().strip().rpartition(":")
        self.address = host or "127.0.0.1", int(number)

    def memory(self) -> int:
        """The bytes that it has in memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * PAGE

    def processor(self) -> float:
        """The processor time that it has taken, in seconds; of it in the kernel, as well."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


class Crowd:
    """All that wait."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator
        self.tag = ""
        self.waiting = 0
        self.asked = 0
        #: When each heard of the next round.
        self.told: list[float] = []
        self.news = asyncio.Event()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self.coordinator.address
        return await asyncio.open_connection(host, port, ssl=self.coordinator.tls)

    async def ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: str
    ) -> tuple[int, str]:
        """The status of `GET /params`, and its tag."""
        self.asked += 1
        writer.write(f"GET /params HTTP/1.1\r\nhost: x\r\n{headers}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        lines = dict(line.split(": ", 1) for line in head.split("\r\n") if ": " in line)
        status = int(head.split()[1])
        if status == 200:
            await reader.readexactly(int(lines["content-length"]))
        return status, lines.get("etag", "")

    async def wait(self, places: asyncio.Semaphore) -> None:
        """One that waits, until there is news."""
        async with places:
            reader, writer = await self.connect()
        known = f"if-none-match: {self.tag}\r\nprefer: wait={WAIT}\r\n"
        self.waiting += 1
        while (await self.ask(reader, writer, known))[0] == 304:
            pass
        self.told.append(time.monotonic())
        self.news.set()
        writer.close()

    async def rate(self, seconds: float) -> tuple[float, float]:
        """Requests that are answered at once, a second of processor time and a second."""
        known = f"if-none-match: {self.tag}\r\n"
        end, count = time.monotonic() + seconds, 0

        async def again() -> None:
            nonlocal count
            reader, writer = await self.connect()
            while time.monotonic() < end:
                await self.ask(reader, writer, known)
                count += 1
            writer.close()

        began, before = time.monotonic(), self.coordinator.processor()
        await asyncio.gather(*(again() for _ in range(16)))
        took = self.coordinator.processor() - before
        return count / max(took, 1 / TICK), count / (time.monotonic() - began)


async def measure(program: str, connections: int, seconds: int, tls: bool) -> dict[str, float]:
    settle = 20 + connections // 200
    coordinator = Coordinator(program, connections, settle + seconds + 60, tls)
    try:
        crowd = Crowd(coordinator)
        reader, writer = await crowd.connect()
        _, crowd.tag = await crowd.ask(reader, writer, "")
        per_processor_second, per_second = await crowd.rate(5)
        before = coordinator.memory()
        places = asyncio.Semaphore(AT_ONCE)
        cost = coordinator.processor()
        waits = [asyncio.create_task(crowd.wait(places)) for _ in range(connections)]
        while crowd.waiting < connections:
            await asyncio.sleep(0.1)
        connecting = coordinator.processor() - cost
        await asyncio.sleep(2)
        memory = coordinator.memory() - before
        idle, asked = coordinator.processor(), crowd.asked
        await asyncio.sleep(seconds)
        idle, asked = coordinator.processor() - idle, crowd.asked - asked
        assert not crowd.told, "the round was over too soon"
        await crowd.news.wait()
        telling = coordinator.processor()
        await asyncio.gather(*waits)
        telling = coordinator.processor() - telling
        crowd.told.sort()
        return {
            "connections": connections,
            "tls": tls,
            "memory_before_bytes": before,
            "memory_a_connection_bytes": memory / connections,
            "connecting_processor_us_each": connecting / connections * 1e6,
            "idle_requests_a_second": asked / seconds,
            "idle_processor_percent": idle / seconds * 100,
            "telling_all_seconds": crowd.told[-1] - crowd.told[0],
            "telling_processor_us_each": telling / connections * 1e6,
            "requests_a_processor_second": per_processor_second,
            "requests_a_second_16_clients": per_second,
        }
    finally:
        coordinator.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coordinator", default="target/release/pet-coordinator")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=100, help="how long nothing happens")
    parser.add_argument("--tls", action="store_true", help="over TLS")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if 0 < hard < arguments.connections + 100:
        parser.error(f"the system allows {hard} open files: see `ulimit -Hn`")
    found = asyncio.run(
        measure(arguments.coordinator, arguments.connections, arguments.seconds, arguments.tls)
    )
    for name, value in found.items():
        print(f"{name:40} {value:,.1f}" if isinstance(value, float) else f"{name:40} {value:,}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Blob servers for tests: in this process, in one that can be killed, on S3, and a naughty one."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.services.ports import reserve_port

from kumiai.adapters.blobs.options import ClientOptions
from kumiai.base.keys import derive_key

ROOT = Path(__file__).resolve().parents[3]
ALICE = derive_key(b"blobs", "alice")
BOB = derive_key(b"blobs", "bob")
QUICK = ClientOptions(  # quick to try again, and patient with a machine that is busy
    is_private_allowed=True,
    attempts=3,
    retry_s=0.01,
    connect_s=60.0,
    idle_s=60.0,
    slow_after_s=60.0,
    straggler_s=60.0,
    settle_s=120.0,
    piece_bytes=1 << 20,
    split_above_bytes=3 << 20,
)

_PROGRAM = """
import sys
from pathlib import Path
from kumiai.adapters.blobs.limits import BlobLimits
from kumiai.adapters.blobs.server import serve
from kumiai.adapters.blobs.store import BlobStore
serve(BlobStore(Path(sys.argv[1]), BlobLimits(idle_s=60)), "127.0.0.1", int(sys.argv[2]),
      on_start=lambda url: print(url, flush=True))
"""


def make_bytes(size_bytes: int, seed: int = 0) -> bytes:
    """Bytes that look random and are the same each time."""
    block = hashlib.shake_256(b"%d" % seed).digest(min(size_bytes, 1 << 16))
    parts = [block[i % 251 :] + block[: i % 251] for i in range(size_bytes // (1 << 16) + 1)]
    return b"".join(parts)[:size_bytes]


def name_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class ServerProcess:
    """A server that can be killed and started again on the same port and folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = reserve_port()
        self.url = ""
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(self.folder), str(self.port)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the server did not start"

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def stop(self) -> int:
        if self._process.poll() is None:
            self._process.terminate()
        code = self._process.wait(120)
        self._process.stdout.close()
        return code


@contextmanager
def run_process(folder: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(folder)
    try:
        yield server
    finally:
        with suppress(ValueError):
            server.stop()


@contextmanager
def run_s3(folder: Path) -> Iterator[str]:
    """localbucket in a thread; yields the endpoint of a server that has the bucket `blobs`."""
    if find_spec("localbucket") is None:
        pytest.skip("localbucket is not installed: it comes with the extra `dev`")
    import localbucket

    (folder / "blobs").mkdir(parents=True)
    handler = type("Handler", (localbucket.S3Handler,), {"data_root": folder})
    queued = type("Server", (ThreadingHTTPServer,), {"request_queue_size": 128})
    server = queued(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Naughty:
    """A server on a bare socket: `play(request, writer)` may answer whatever it likes."""

    def __init__(self, play: Callable[[str, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self._play = play
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.url = ""

    async def __aenter__(self) -> Naughty:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        assert not self.faults, self.faults

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.requests.append(request)
            try:
                await self._play(request, writer)
            except AssertionError as error:
                self.faults.append(str(error))
        with suppress(ConnectionError):
            writer.close()


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    """A response that closes its connection."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [line for line in lines if line.split(":")[0] not in named]
    lines += [f"{name}: {value}" for name, value in named.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

"""Putting and getting one big blob over loopback: megabytes a second and memory.

    python benchmarks/blobs.py [--size-mb 1000] [--repeat 3] [--folder FOLDER] [--save FOLDER]

Server and client are processes of their own; memory is the most that each ever held (VmHWM). Our
client hashes, checks and writes what it gets to a file, and the server hashes and checks what is
put: a file whose name is known, as the market's blobs are, or one that the client hashes first.
The peers do less: http.client and aiohttp read the same URL and count its bytes; aiohttp puts the
same file to the same server. "one core" is CPU time: what a core could do by itself. Files lie in
memory (/dev/shm) unless --folder names a disk. The best of the repeats counts: others may work on
the machine. The goals: >= 600 MB/s both ways, server and client below 100 MB each.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVER = """
import sys
from pathlib import Path
from kumiai.adapters.blobs.server import serve
from kumiai.adapters.blobs.store import BlobStore
serve(BlobStore(Path(sys.argv[1])), "127.0.0.1", 0, on_start=lambda url: print(url, flush=True))
"""
OURS = ("put", "hash, put", "get", "get, two mirrors")
CLIENTS = (*OURS, "http.client get", "aiohttp get", "aiohttp put")
SEAL = ("seal", "open")


def read_peak_mb(pid: int | str) -> float:
    """The most memory that a process ever held, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def read_cpu_s(pid: int) -> float:
    """CPU time of another process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def touch_memory(folder: Path, size_bytes: int) -> None:
    """Write and remove as much as the action will write. A virtual machine gets its memory when it
    is first written, and gives back what it has not used for seconds: that is not what is measured.
    """
    block, path = bytes(1_000_000), folder / "touched"
    with path.open("wb") as file:
        for _ in range(0, size_bytes, len(block)):
            file.write(block)
    path.unlink()


def write_source(path: Path, size_bytes: int) -> None:
    with path.open("wb") as file:
        for at in range(0, size_bytes, 1_000_000):
            file.write(os.urandom(min(1_000_000, size_bytes - at)))


def act(what: str, folder: Path, urls: list[str]) -> None:
    """In a process of its own: do it once and print what it took."""
    source, target = folder / "source", folder / "target"
    act_by = {
        "put": lambda: asyncio.run(put(source, urls[:1], name_source(source))),
        "hash, put": lambda: asyncio.run(put(source, urls[:1], "")),
        "get": lambda: asyncio.run(get(source, target, urls[:1])),
        "get, two mirrors": lambda: asyncio.run(get(source, target, urls)),
        "http.client get": lambda: get_plainly(source, urls[0]),
        "aiohttp get": lambda: asyncio.run(get_aiohttp(source, urls[0])),
        "aiohttp put": lambda: asyncio.run(put_aiohttp(source, urls[0])),
        "seal": lambda: measure(lambda: seal_file(source, folder / "sealed", bytes(32))),
        "open": lambda: measure(
            lambda: open_file(folder / "sealed", target, bytes(32), source.stat().st_size)
        ),
    }
    touch_memory(folder, source.stat().st_size)
    before = time.process_time()
    seconds = act_by[what]()
    told = {"s": seconds, "cpu_s": time.process_time() - before, "mb": read_peak_mb("self")}
    print(json.dumps(told))


def measure(work: object) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def name_source(source: Path) -> str:
    """The hash, kept beside the file: not part of what is measured."""
    note = source.with_suffix(".sha256")
    if not note.exists():
        with source.open("rb") as file:
            note.write_text(hashlib.file_digest(file, "sha256").hexdigest())
    return note.read_text()


async def put(source: Path, urls: list[str], sha256: str) -> float:
    client = HttpBlobs(derive_key(b"bench", "alice"), urls)
    start = time.perf_counter()
    location = await client.upload(source, sha256=sha256)
    seconds = time.perf_counter() - start
    assert location.servers == tuple(urls)
    await client.close()
    return seconds


async def get(source: Path, target: Path, urls: list[str]) -> float:
    client = HttpBlobs(derive_key(b"bench", "alice"), [], ClientOptions(is_private_allowed=True))
    wanted = BlobLocation(name_source(source), source.stat().st_size, tuple(urls))
    start = time.perf_counter()
    await client.download(wanted, target, wanted.size_bytes)
    seconds = time.perf_counter() - start
    await client.close()
    target.unlink()
    return seconds


def get_plainly(source: Path, url: str) -> float:
    start = time.perf_counter()
    connection = http.client.HTTPConnection(url.split("//")[1])
    connection.request("GET", "/" + name_source(source))
    answer, count = connection.getresponse(), 0
    while block := answer.read(1 << 20):
        count += len(block)
    assert count == source.stat().st_size
    return time.perf_counter() - start


async def get_aiohttp(source: Path, url: str) -> float:
    start, count = time.perf_counter(), 0
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/{name_source(source)}") as answer,
    ):
        async for block in answer.content.iter_any():
            count += len(block)
    assert count == source.stat().st_size
    return time.perf_counter() - start


async def put_aiohttp(source: Path, url: str) -> float:
    name, key = name_source(source), derive_key(b"bench", "alice")
    headers = {
        "Authorization": sign_authorization(key, Verb.UPLOAD, int(time.time()), hashes=[name])
    }
    start = time.perf_counter()
    with source.open("rb") as file:
        async with (
            aiohttp.ClientSession() as session,
            session.put(f"{url}/upload", data=file, headers=headers) as answer,
        ):
            assert answer.status in {200, 201}, await answer.text()
    return time.perf_counter() - start


class ServerProcess:
    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        self.url = self.process.stdout.readline().strip()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def run_client(what: str, folder: Path, urls: list[str]) -> dict[str, float]:
    told = subprocess.run(
        [sys.executable, __file__, "--act", what, "--folder", str(folder), *urls],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(told.stdout)


def measure_once(what: str, folder: Path) -> dict[str, float]:
    """One action against fresh servers, those for getting filled beforehand."""
    servers = [ServerProcess(folder / f"store{at}") for at in range(2)]
    urls = [server.url for server in servers]
    try:
        if "get" in what:
            for url in urls:
                run_client("put", folder, [url])
        for server in servers:  # the peak from here on
            Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
        cpu_s = sum(read_cpu_s(server.process.pid) for server in servers)
        told = run_client(what, folder, urls)
        told["server_cpu_s"] = sum(read_cpu_s(it.process.pid) for it in servers) - cpu_s
        told["server_mb"] = max(read_peak_mb(server.process.pid) for server in servers)
    finally:
        for server in servers:
            server.stop()
        for at in range(2):
            subprocess.run(["rm", "-rf", str(folder / f"store{at}")], check=True)
    return told


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size-mb", type=int, default=1_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--act", help=argparse.SUPPRESS)
    parser.add_argument("urls", nargs="*", help=argparse.SUPPRESS)
    add_save_option(parser, "blobs")
    options = parser.parse_args()
    if options.act:
        act(options.act, options.folder, options.urls)
        return
    memory = Path("/dev/shm")
    base = options.folder or (memory if memory.is_dir() else None)
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=base) as name:
        folder = Path(name)
        write_source(folder / "source", options.size_mb * 1_000_000)
        name_source(folder / "source")
        for what in CLIENTS + SEAL:
            for _ in range(options.repeat):
                if what in SEAL:
                    told = run_client(what, folder, [])
                else:
                    told = measure_once(what, folder)
                if what not in results or told["s"] < results[what]["s"]:
                    results[what] = told
        where = "in memory" if base == memory else str(base or "temporary folder")
    table = Table(title=f"One blob of {options.size_mb} MB over loopback, files {where}")
    heads = ("MB/s", "client, MB/s one core", "server, MB/s one core", "client, MB", "server, MB")
    table.add_column("what")
    for head in heads:
        table.add_column(head, justify="right")
    for what, told in results.items():
        size = options.size_mb
        server = f"{size / told['server_cpu_s']:.0f}" if told.get("server_cpu_s") else ""
        peak = f"{told['server_mb']:.0f}" if "server_mb" in told else ""
        cells = (f"{size / told['s']:.0f}", f"{size / told['cpu_s']:.0f}", server)
        table.add_row(what, *cells, f"{told['mb']:.0f}", peak)
    out = Printout("blobs", options.save)
    out.show(table)
    out.say(
        "put: of a file whose sha256 is known; hash, put: of one that is hashed before it is sent;"
        " get includes checking and writing it."
    )
    out.save(results)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    import aiohttp
    from rich.table import Table

    from kumiai.adapters.blobs.authorization import sign_authorization
    from kumiai.adapters.blobs.client import HttpBlobs
    from kumiai.adapters.blobs.options import ClientOptions
    from kumiai.adapters.blobs.sealed import open_file, seal_file
    from kumiai.base.keys import derive_key
    from kumiai.market.nips.bud import Verb
    from kumiai.nodes.market.ports import BlobLocation
    from saved_tables import Printout, add_save_option

    main()

"""A real anvil process for tests: on a free port of 127.0.0.1, ended by its pid.

::

    @pytest.fixture(scope="module")
    def anvil() -> Iterator[Anvil]:
        with run_anvil() as node:        # skips with a reason where the npm packages are missing
            yield node
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

CONTRACTS = Path(__file__).resolve().parents[3] / "contracts"
FOUNDRY = CONTRACTS / "node_modules" / "@foundry-rs"
START_SECONDS_MAX = 30.0
# anvil's own first developer accounts (mnemonic "test test ... junk"): public, worth nothing
KEYS = (
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
)


def find_tool(name: str) -> Path:
    """anvil, cast or forge of contracts/node_modules; the test is skipped where it is missing."""
    path = FOUNDRY / f"{name}-linux-amd64" / "bin" / name
    if not path.exists():
        pytest.skip(f"{name} is not installed: run `make contracts`")
    return path


class Anvil:
    """A running node: `url`, `pid`, `request`; `kill` is SIGKILL, `start` the same node again."""

    def __init__(self, options: Sequence[str], port: int) -> None:
        self._options = tuple(options)
        self._process: subprocess.Popen[str] | None = None
        self.port = port
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the node was ended"
        return self._process.pid

    def start(self) -> None:
        """Start it (again, on the port it had) and wait until it answers."""
        assert self._process is None, "it runs already"
        command = [str(find_tool("anvil")), "--host", "127.0.0.1", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [*command, *self._options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:  # ends when the process does
            said.append(line)
            if found := re.search(r"Listening on 127\.0\.0\.1:(\d+)", line):
                self.port = int(found.group(1))
                break
        else:
            self._end(kill=True)
            raise RuntimeError(f"anvil did not start: {''.join(said)[-2000:]}")
        # From here on it is `--quiet` for us: an unread pipe would stop it when it is full.
        self._drain()
        self._wait_until_answering()

    def _drain(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        pipe = self._process.stdout
        threading.Thread(target=lambda: [None for _ in pipe], daemon=True).start()

    def _wait_until_answering(self) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                self.request("eth_chainId")
                return
            except OSError:
                if time.monotonic() > deadline:
                    self._end(kill=True)
                    raise
                time.sleep(0.01)

    def request(self, method: str, *params: object) -> object:
        """The result of one call; RuntimeError with the node's error object."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        call = urllib.request.Request(
            self.url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(call, timeout=60) as answer:
            said = json.loads(answer.read())
        if "error" in said:
            raise RuntimeError(said["error"])
        return said["result"]

    def stop(self) -> None:
        """SIGTERM: it writes its --state file, and ends."""
        self._end(kill=False)

    def kill(self) -> None:
        """SIGKILL: as if the machine had taken it away."""
        self._end(kill=True)

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        process.wait()


@contextmanager
def run_anvil(*options: str, block_seconds: int | None = None, port: int = 0) -> Iterator[Anvil]:
    """A node for the length of the block, chain id 31337, hardfork prague.

    options: further arguments of anvil, as `--state FILE`. block_seconds: None seals each
    transaction when it comes (stalls under many senders at once), else a block each so many.
    """
    chosen = ["--hardfork", "prague", *options]
    if block_seconds is not None:
        chosen += ["--block-time", str(block_seconds)]
    node = Anvil(chosen, port)
    try:
        yield node
    finally:
        node.kill()

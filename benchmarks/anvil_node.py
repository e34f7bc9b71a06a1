"""A real anvil of contracts/node_modules for the benchmarks, on a port of 127.0.0.1."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

ANVIL = (
    Path(__file__).resolve().parents[1]
    / "contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"
)
SECRETS = tuple(  # anvil's own first developer accounts: public, worth nothing
    bytes.fromhex(digits)
    for digits in (
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
        "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
        "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    )
)
CHAIN_ID = 31337


class AnvilNode:
    """Started and ended at will, on one port; `options` as anvil takes them."""

    def __init__(self, *options: str) -> None:
        if not ANVIL.exists():
            raise SystemExit("anvil is not installed: run `make contracts`")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--quiet"]
        command = [str(ANVIL), *where, "--hardfork", "prague", *self._options]
        environment = {**os.environ, "NO_COLOR": "1"}
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.request("eth_chainId")
                return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.02)

    def end(self, *, kill: bool = False) -> None:
        """SIGTERM (its state is written), or SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            process.kill() if kill else process.terminate()
            process.wait()

    def request(self, method: str, *params: object) -> object:
        """The result of one call."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        call = urllib.request.Request(
            self.url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(call, timeout=30) as answer:
            return json.loads(answer.read())["result"]

"""The embedded chain for tests: its HTTP door in a thread, on a free port, as `anvil.py` has it."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eth_account import Account
from tests.adapters.evm.anvil import KEYS

from kumiai.adapters.evm.chain.chain import EmbeddedChain, Options, open_chain
from kumiai.adapters.evm.chain.engine import GenesisAccount
from kumiai.adapters.evm.chain.genesis import Genesis
from kumiai.adapters.evm.chain.server import serve

ETHER = 10**18


def make_genesis(chain_id: int = 31337, **rules: int | bool) -> Genesis:
    """anvil's accounts with anvil's money."""
    funded = {bytes.fromhex(Account.from_key(key).address[2:]) for key in KEYS}
    accounts = {address: GenesisAccount(10_000 * ETHER) for address in funded}
    return Genesis(chain_id=chain_id, accounts=accounts, **rules)


class Embedded:
    """A served chain: `url`, `chain`, `request`."""

    def __init__(self, chain: EmbeddedChain) -> None:
        self.chain = chain
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(serve(chain), self._loop).result(30)
        self.url = self._server.url

    def request(self, method: str, *params: object) -> object:
        """The result of one call; RuntimeError with the error object."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        said = self.post(json.dumps(body).encode())
        if "error" in said:
            raise RuntimeError(said["error"])
        return said["result"]

    def post(self, body: bytes) -> dict[str, object]:
        call = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(call, timeout=60) as answer:
            return json.loads(answer.read())

    def close(self) -> None:
        """End the server; the chain stays open."""
        asyncio.run_coroutine_threadsafe(self._server.close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def run_embedded(
    path: Path | None = None, genesis: Genesis | None = None, options: Options | None = None
) -> Iterator[Embedded]:
    """A served developer's chain for the length of the block."""
    chain = open_chain(path, genesis or make_genesis(), options or Options(is_dev=True))
    node = Embedded(chain)
    try:
        yield node
    finally:
        node.close()
        chain.close()

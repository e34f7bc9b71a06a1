"""The embedded chain as an engine of `engines.py`: signed transactions, one a block, on a file."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from eth_account import Account
from tests.adapters.evm.arena_door import Person
from tests.adapters.evm.engines import CHAIN_ID, GAS_MAX, GENESIS_TIME, Outcome

from kumiai.adapters.evm.chain.chain import EmbeddedChain, Options, open_chain
from kumiai.adapters.evm.chain.doors import Door
from kumiai.adapters.evm.chain.engine import GenesisAccount
from kumiai.adapters.evm.chain.errors import RpcError
from kumiai.adapters.evm.chain.genesis import Genesis


class EmbeddedEngine:
    """A chain without fees. `mark` copies its file, `reset` opens that copy again."""

    name = "embedded"

    def __init__(self, folder: Path, people: Sequence[Person], coins: int) -> None:
        self.now = GENESIS_TIME
        self._marked_at = self.now
        self._file, self._copy = folder / "chain.sqlite", folder / "marked.sqlite"
        self._keys = {person.address: person.key.secret for person in people}
        funded = {bytes.fromhex(person.address[2:]): GenesisAccount(coins) for person in people}
        genesis = Genesis(
            CHAIN_ID, funded, GENESIS_TIME, base_fee=0, base_fee_floor=0, is_free=True
        )
        self._open(genesis)

    def __enter__(self) -> EmbeddedEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._chain.close()

    def _open(self, genesis: Genesis | None = None) -> None:
        options = Options(clock=lambda: self.now, is_dev=True)
        self._chain: EmbeddedChain = open_chain(self._file, genesis, options)
        self._door = Door(self._chain)

    def _transact(self, sender: str, fields: dict[str, Any]) -> Any:
        self.now += 1
        nonce = int(str(self._door.request("eth_getTransactionCount", [sender, "latest"])), 16)
        asked = {"gas": GAS_MAX, "gasPrice": 0, "nonce": nonce, "chainId": CHAIN_ID, **fields}
        signed = Account.sign_transaction(asked, self._keys[sender])
        raw = "0x" + bytes(signed.raw_transaction).hex()
        hashed = self._door.request("eth_sendRawTransaction", [raw])
        return self._door.request("eth_getTransactionReceipt", [hashed])

    def deploy(self, sender: str, code: bytes) -> str:
        receipt = self._transact(sender, {"data": "0x" + code.hex()})
        assert receipt["status"] == "0x1", "the contract was not deployed"
        return str(receipt["contractAddress"]).lower()

    def send(self, sender: str, to: str, data: bytes, value: int = 0) -> Outcome:
        if self.get_coins([sender])[0] < value:
            self.now += 1
            return Outcome(False, b"", 0)
        fields = {"to": bytes.fromhex(to[2:]), "data": "0x" + data.hex(), "value": value}
        receipt = self._transact(sender, fields)
        gas = int(receipt["gasUsed"], 16)
        if receipt["status"] == "0x1":
            return Outcome(True, b"", gas)
        # its block changed nothing but a nonce: the same call, at the same time, says why
        call = {"from": sender, "to": to, "data": "0x" + data.hex(), "value": hex(value)}
        try:
            self._door.request("eth_call", [call, "latest"])
        except RpcError as error:
            return Outcome(False, bytes.fromhex(str(error.data or "0x")[2:]), gas)
        raise AssertionError("a transaction failed that succeeds as a call")

    def call_many(self, calls: Sequence[tuple[str, bytes]]) -> list[bytes]:
        asked = [
            ("eth_call", [{"to": to, "data": "0x" + data.hex()}, "latest"]) for to, data in calls
        ]
        return [bytes.fromhex(str(each)[2:]) for each in self._door.batch(asked)]

    def get_coins(self, accounts: Sequence[str]) -> list[int]:
        asked = [("eth_getBalance", [account, "latest"]) for account in accounts]
        return [int(str(each), 16) for each in self._door.batch(asked)]

    def set_coins(self, account: str, amount: int) -> None:
        """Everybody has the coins since the genesis, and nothing costs a fee."""
        assert self.get_coins([account]) == [amount]

    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    def mark(self) -> None:
        self._chain.close()
        shutil.copy(self._file, self._copy)
        self._marked_at = self.now
        self._open()

    def reset(self) -> None:
        self._chain.close()
        for rest in self._file.parent.glob(self._file.name + "-*"):
            rest.unlink()
        shutil.copy(self._copy, self._file)
        self.now = self._marked_at
        self._open()

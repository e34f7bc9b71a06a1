"""Engines that run the same contract calls, for tests that compare them with rules in Python.

`PyEvmEngine` runs messages on py-evm, which the embedded chain runs on, without blocks in between;
`AnvilEngine` sends real transactions to a real anvil. Both hold the clock still: every call is one
second later than the one before, and `pass_time` adds to that. `reset` goes back to `mark`.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from eth._utils.address import generate_contract_address
from eth.constants import BLANK_ROOT_HASH, CREATE_CONTRACT_ADDRESS
from eth.db.atomic import AtomicDB
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.prague import PragueVM
from eth.vm.message import Message
from tests.adapters.evm.anvil import Anvil

GENESIS_TIME = 1_900_000_000
GAS_MAX = 30_000_000
CHAIN_ID = 31337


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to: its returned bytes, or the revert's. gas: as the engine counts it."""

    is_ok: bool
    data: bytes
    gas: int


class Engine(Protocol):
    """A place where contracts run. Addresses are 0x and 40 hex digits; amounts are in wei."""

    name: str
    now: int

    def deploy(self, sender: str, code: bytes) -> str: ...

    def send(self, sender: str, to: str, data: bytes, value: int = 0) -> Outcome: ...

    def call_many(self, calls: Sequence[tuple[str, bytes]]) -> list[bytes]: ...

    def get_coins(self, accounts: Sequence[str]) -> list[int]: ...

    def set_coins(self, account: str, amount: int) -> None: ...

    def pass_time(self, seconds: int) -> None: ...

    def mark(self) -> None: ...

    def reset(self) -> None: ...


class PyEvmEngine:
    """Messages on py-evm's Prague rules; `gas` is what execution used, without the fixed 21,000."""

    name = "py-evm"

    def __init__(self, chain_id: int = CHAIN_ID) -> None:
        self.now = GENESIS_TIME
        self._chain_id = chain_id
        self._db = AtomicDB()
        self._root = BLANK_ROOT_HASH
        self._marked_at = self.now
        self._open()

    def _open(self) -> None:
        self._state = PragueVM.get_state_class()(self._db, self._context(), self._root)

    def _context(self) -> ExecutionContext:
        return ExecutionContext(
            bytes(20), self.now, 1, 0, bytes(32), 2 * GAS_MAX, [], self._chain_id, 0, 0
        )

    def _run(self, message: Message, sender: bytes, *, is_create: bool = False) -> Outcome:
        state = self._state
        state.execution_context = self._context()
        kind = state.get_transaction_context_class()(gas_price=0, origin=sender)
        apply = state.computation_class.apply_message
        if is_create:
            apply = state.computation_class.apply_create_message
        done = apply(state, message, kind)
        state.clear_transient_storage()
        return Outcome(not done.is_error, bytes(done.output), done.get_gas_used())

    def deploy(self, sender: str, code: bytes) -> str:
        who = _bytes(sender)
        address = generate_contract_address(who, self._state.get_nonce(who))
        self._state.increment_nonce(who)
        message = Message(
            GAS_MAX, CREATE_CONTRACT_ADDRESS, who, 0, b"", code, create_address=address
        )
        outcome = self._run(message, who, is_create=True)
        assert outcome.is_ok, f"the contract was not deployed: {outcome.data.hex()}"
        return "0x" + address.hex()

    def send(self, sender: str, to: str, data: bytes, value: int = 0) -> Outcome:
        self.now += 1
        return self._message(sender, to, data, value)

    def _message(self, sender: str, to: str, data: bytes, value: int) -> Outcome:
        who, where = _bytes(sender), _bytes(to)
        if self._state.get_balance(who) < value:
            return Outcome(False, b"", 0)
        message = Message(GAS_MAX, where, who, value, data, self._state.get_code(where))
        return self._run(message, who)

    def call_many(self, calls: Sequence[tuple[str, bytes]]) -> list[bytes]:
        done = [self._message("0x" + "00" * 20, to, data, 0) for to, data in calls]
        assert all(each.is_ok for each in done), "a view reverted"
        return [each.data for each in done]

    def get_coins(self, accounts: Sequence[str]) -> list[int]:
        return [self._state.get_balance(_bytes(account)) for account in accounts]

    def set_coins(self, account: str, amount: int) -> None:
        self._state.set_balance(_bytes(account), amount)

    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    def mark(self) -> None:
        self._state.persist()
        self._root = self._state.state_root
        self._marked_at = self.now
        self._open()

    def reset(self) -> None:
        self.now = self._marked_at
        self._open()


class AnvilEngine:
    """Transactions on a real anvil, one a block; its accounts need no keys and pay no gas."""

    name = "anvil"

    def __init__(self, node: Anvil) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
        self.now = GENESIS_TIME
        self._mark = ""
        self._marked_at = self.now
        self._ask("anvil_autoImpersonateAccount", True)

    def _ask(self, method: str, *params: Any) -> Any:
        return self._ask_many([(method, params)])[0]

    def _ask_many(self, asked: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        body = [
            {"jsonrpc": "2.0", "id": index, "method": method, "params": list(params)}
            for index, (method, params) in enumerate(asked)
        ]
        self._http.request("POST", "/", json.dumps(body), {"Content-Type": "application/json"})
        answers = json.loads(self._http.getresponse().read())
        for answer in answers:
            if "error" in answer:
                raise RuntimeError(answer["error"])
        return [each["result"] for each in sorted(answers, key=lambda each: each["id"])]

    def _transact(self, fields: dict[str, str]) -> dict[str, Any]:
        asked = {"gas": hex(GAS_MAX), "gasPrice": "0x0", **fields}
        self._ask("evm_setNextBlockTimestamp", self.now)
        hashed = self._ask("eth_sendTransaction", asked)
        receipt: dict[str, Any] | None = None
        while receipt is None:  # sealed at once; its receipt can come a moment later
            receipt = self._ask("eth_getTransactionReceipt", hashed)
        return receipt

    def deploy(self, sender: str, code: bytes) -> str:
        self.now += 1
        receipt = self._transact({"from": sender, "data": "0x" + code.hex()})
        assert receipt["status"] == "0x1", "the contract was not deployed"
        return str(receipt["contractAddress"]).lower()

    def send(self, sender: str, to: str, data: bytes, value: int = 0) -> Outcome:
        self.now += 1
        if self.get_coins([sender])[0] < value:
            return Outcome(False, b"", 0)
        receipt = self._transact(
            {"from": sender, "to": to, "data": "0x" + data.hex(), "value": hex(value)}
        )
        is_ok = receipt["status"] == "0x1"
        gas = int(receipt["gasUsed"], 16)
        return Outcome(is_ok, b"" if is_ok else self._why(receipt["transactionHash"]), gas)

    def _why(self, hashed: str) -> bytes:
        traced = self._ask("debug_traceTransaction", hashed, {"tracer": "callTracer"})
        return bytes.fromhex(traced.get("output", "0x")[2:])

    def call_many(self, calls: Sequence[tuple[str, bytes]]) -> list[bytes]:
        asked = [
            ("eth_call", [{"to": to, "data": "0x" + data.hex()}, "latest"]) for to, data in calls
        ]
        return [bytes.fromhex(each[2:]) for each in self._ask_many(asked)]

    def get_coins(self, accounts: Sequence[str]) -> list[int]:
        asked = [("eth_getBalance", [account, "latest"]) for account in accounts]
        return [int(each, 16) for each in self._ask_many(asked)]

    def set_coins(self, account: str, amount: int) -> None:
        self._ask("anvil_setBalance", account, hex(amount))

    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    def mark(self) -> None:
        self._mark = self._ask("evm_snapshot")
        self._marked_at = self.now

    def reset(self) -> None:
        assert self._ask("evm_revert", self._mark) is True
        self._mark = self._ask("evm_snapshot")
        self.now = self._marked_at


def _bytes(address: str) -> bytes:
    return bytes.fromhex(address[2:])

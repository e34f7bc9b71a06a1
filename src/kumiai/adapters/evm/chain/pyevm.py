"""The engine on py-evm (Prague): executed step by step, with the real tries.

py-evm's own chain is not used: it validates and writes each block twice. What is replaced of its
state machine, and why: `_Executor` (the library builds debug texts of the whole code for each
transaction; the gas of EIP-7623 is taken once, as the standard says) and `_Accounts.get_code` (the
library copies the set of all keys read at each look at a contract's code).
"""

# The library's types are NewTypes of bytes, and abstract classes that our objects stand in for:
# mypy: disable-error-code="arg-type, attr-defined, misc, override, no-any-return"

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from eth._utils.address import generate_contract_address
    from eth.db.account import AccountDB
    from eth.db.atomic import AtomicDBWriteBatch
    from eth.db.backends.base import BaseAtomicDB
    from eth.exceptions import Revert, VMError
    from eth.vm.execution_context import ExecutionContext
    from eth.vm.forks.prague.state import PragueState, PragueTransactionExecutor
    from eth.vm.forks.spurious_dragon._utils import collect_touched_accounts
    from eth.vm.interrupt import EVMMissingData
    from eth.vm.message import Message
    from eth_utils import ValidationError

from kumiai.adapters.evm.chain.blocks import EMPTY_ROOT
from kumiai.adapters.evm.chain.engine import (
    Account,
    BlockContext,
    EngineError,
    GenesisAccount,
    InvalidTransactionError,
    Log,
    Nodes,
    Outcome,
)
from kumiai.adapters.evm.chain.transactions import GAS_INITCODE_WORD, Transaction
from kumiai.base.errors import StoreError
from kumiai.base.keys import keccak256

EMPTY_CODE_HASH = keccak256(b"")
REFUND_QUOTIENT = 5  # EIP-3529
# py-evm's libraries let Python recurse 100,000 deep as they are imported. Then a nested JSON text
# anywhere in this process overruns the C stack and ends it. What 60M gas can nest (some 720 calls)
# needs less than 6,000 frames, and a pairing 4,000.
RECURSION_LIMIT = 12_000


class _Database(BaseAtomicDB):
    """Our nodes as py-evm asks for them."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def __getitem__(self, key: bytes) -> bytes:
        return self._nodes[key]

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._nodes[key] = value

    def __delitem__(self, key: bytes) -> None:
        """Kept: nodes are named by what they hold, and older states need them."""

    def _exists(self, key: bytes) -> bool:
        return key in self._nodes

    @contextmanager
    def atomic_batch(self) -> Iterator[AtomicDBWriteBatch]:
        with AtomicDBWriteBatch._commit_unless_raises(self) as batch:
            yield batch


class _Accounts(AccountDB):
    """Accounts without the bookkeeping of which keys a witness would need."""

    def get_code(self, address: bytes) -> bytes:
        code_hash = self._get_account(address).code_hash
        if code_hash == EMPTY_CODE_HASH:
            return b""
        code: bytes = self._journaldb[code_hash]
        return code

    def _get_meta_witness(self) -> None:
        return None


class _Executor(PragueTransactionExecutor):
    """One transaction: pay for the gas, run, give back what was not used."""

    def build_evm_message(self, transaction: Any) -> Message:
        state = self.vm_state
        price = state.get_gas_price(transaction)
        state.delta_balance(transaction.sender, -transaction.gas * price)
        state.increment_nonce(transaction.sender)
        if transaction.to:
            code, delegation = self.get_code_at_address(transaction.to)
            created, data = None, transaction.data
            words = 0
        else:
            created = generate_contract_address(transaction.sender, transaction.nonce)
            code, delegation, data = transaction.data, None, b""
            words = (len(code) + 31) // 32  # the library charges them as it begins to run
        return Message(
            gas=transaction.gas - transaction.intrinsic_gas + GAS_INITCODE_WORD * words,
            to=transaction.to,
            sender=transaction.sender,
            value=transaction.value,
            data=data,
            code=code,
            create_address=created,
            is_delegation=delegation is not None,
        )

    def finalize_computation(self, transaction: Any, computation: Any) -> Any:
        state = self.vm_state
        spent = transaction.gas - computation.get_gas_remaining()
        refund = min(computation.get_gas_refund(), spent // REFUND_QUOTIENT)
        used = max(spent - refund, transaction.floor_gas)
        computation.gas_used_total, computation.gas_refund_total = used, refund
        price = state.get_gas_price(transaction)
        if back := (transaction.gas - used) * price:
            state.delta_balance(transaction.sender, back)
        # also where the tip is zero: the account counts as touched (EIP-161)
        state.delta_balance(state.coinbase, used * state.get_tip(transaction))
        for address in computation.get_accounts_for_deletion():
            state.delete_account(address)
        for address in collect_touched_accounts(computation):
            if state.account_exists(address) and state.account_is_empty(address):
                state.delete_account(address)
        return computation


class _State(PragueState):
    account_db_class = _Accounts
    transaction_executor_class = _Executor

    def set_system_contracts(self) -> None:
        """None: no beacon chain stands behind this one, and BLOCKHASH reads the headers."""


class _Signed(SimpleNamespace):
    """A transaction under the names that py-evm uses."""

    def validate(self) -> None:
        """The pool has checked what can be checked without a state."""


def _rename(transaction: Transaction) -> _Signed:
    return _Signed(
        type_id=transaction.kind,
        nonce=transaction.nonce,
        max_fee_per_gas=transaction.gas_fee_cap,
        max_priority_fee_per_gas=transaction.gas_tip_cap,
        gas=transaction.gas,
        to=transaction.to,
        value=transaction.value,
        data=transaction.data,
        access_list=transaction.access_list,
        sender=transaction.sender,
        s=transaction.s,
        intrinsic_gas=transaction.intrinsic_gas,
        floor_gas=transaction.floor_gas,
    )


class _Ancestors:
    """prev_hashes as py-evm walks them: the parent's hash first."""

    def __init__(self, context: BlockContext) -> None:
        self._context = context

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self._context.number - 1, -1, -1):
            yield self._context.ancestor_hash(number)


class _Block:
    """A block being executed."""

    def __init__(self, state: _State, gas_limit: int) -> None:
        self._state = state
        self._gas_left = gas_limit

    def apply(self, transaction: Transaction) -> Outcome:
        if transaction.gas > self._gas_left:
            raise InvalidTransactionError("gas limit reached")
        outcome = _run(self._state, transaction)
        self._gas_left -= outcome.gas_used
        return outcome

    def close(self) -> bytes:
        self._state.persist()
        root: bytes = self._state.state_root
        return root


class _View:
    """One state, read."""

    def __init__(self, accounts: _Accounts) -> None:
        self._accounts = accounts

    def get_account(self, address: bytes) -> Account:
        account = self._accounts._get_account(address)
        return Account(account.nonce, account.balance, account.code_hash)

    def get_code(self, address: bytes) -> bytes:
        return self._accounts.get_code(address)

    def get_storage(self, address: bytes, slot: int) -> int:
        value: int = self._accounts.get_storage(address, slot)
        return value


class PyEvm:
    """The engine; without state of its own."""

    name = "py-evm"

    def __init__(self) -> None:
        sys.setrecursionlimit(RECURSION_LIMIT)

    def make_genesis(self, nodes: Nodes, accounts: Mapping[bytes, GenesisAccount]) -> bytes:
        """Write the first state; its root."""
        state = _Accounts(_Database(nodes), EMPTY_ROOT)
        for address, account in accounts.items():
            state.set_balance(address, account.balance)
            state.set_nonce(address, account.nonce)
            if account.code:
                state.set_code(address, account.code)
            for slot, value in account.storage:
                state.set_storage(address, slot, value)
        state.persist()
        root: bytes = state.state_root
        return root

    def execute(self, nodes: Nodes, root: bytes, context: BlockContext) -> _Block:
        """Begin a block on the state of `root`."""
        return _Block(_make_state(nodes, root, context), context.gas_limit)

    def call(
        self, nodes: Nodes, root: bytes, context: BlockContext, transaction: Transaction
    ) -> Outcome:
        """Execute without writing."""
        return _run(_make_state(nodes, root, context), transaction)

    def view(self, nodes: Nodes, root: bytes) -> _View:
        """Read a state."""
        if root != EMPTY_ROOT and root not in nodes:
            raise KeyError(root)
        return _View(_Accounts(_Database(nodes), root))


def _make_state(nodes: Nodes, root: bytes, context: BlockContext) -> _State:
    execution = ExecutionContext(
        coinbase=context.coinbase,
        timestamp=context.timestamp,
        block_number=context.number,
        difficulty=0,
        mix_hash=context.randomness,
        gas_limit=context.gas_limit,
        prev_hashes=_Ancestors(context),
        chain_id=context.chain_id,
        base_fee_per_gas=context.base_fee,
        excess_blob_gas=0,
    )
    return _State(_Database(nodes), execution, root)


def _run(state: _State, transaction: Transaction) -> Outcome:
    state.lock_changes()  # the slots' original values are those before this transaction
    try:
        computation = state.apply_transaction(_rename(transaction))
    except ValidationError as error:
        raise InvalidTransactionError(str(error)) from None
    except EVMMissingData as error:
        raise StoreError(f"the chain's file lacks a part of its state: {error}") from error
    except StoreError:
        raise
    except Exception as error:
        raise EngineError(transaction, f"{type(error).__name__}: {error}") from error
    failure = _name_failure(computation.error) if computation.is_error else None
    logs = tuple(
        Log(address, tuple(topic.to_bytes(32, "big") for topic in topics), bytes(data))
        for address, topics, data in computation.get_log_entries()
    )
    return Outcome(
        gas_used=computation.gas_used_total,
        failure=failure,
        output=bytes(computation.output),
        logs=logs,
        created=None if transaction.to else computation.msg.storage_address,
        refund=computation.gas_refund_total,
    )


def _name_failure(error: VMError) -> str:
    if isinstance(error, Revert):
        return "revert"
    words = {
        "OutOfGas": "out of gas",
        "InvalidInstruction": "invalid opcode",
        "InvalidJumpDestination": "invalid jump destination",
        "InsufficientStack": "stack underflow",
        "FullStack": "stack limit reached 1024",
        "StackDepthLimit": "max call depth exceeded",
        "InsufficientFunds": "insufficient balance for transfer",
        "ContractCreationCollision": "contract address collision",
        "WriteProtection": "write protection",
        "OutOfBoundsRead": "return data out of bounds",
        "ReservedBytesInCode": "invalid code: must not begin with 0xef",
    }
    return words.get(type(error).__name__, str(error) or type(error).__name__)

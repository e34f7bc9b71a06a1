"""What a chain begins with and is bound to for ever: its id, its rules of fees, who owns what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kumiai.adapters.evm.chain.blocks import EMPTY_ROOT, ZERO_HASH, Header
from kumiai.adapters.evm.chain.engine import GenesisAccount
from kumiai.base.errors import InputError

# Beside 31337 of hardhat and anvil: what is signed for one of them is worth nothing on this one.
CHAIN_ID = 31338
GWEI = 10**9
GAS_LIMIT_MIN, GAS_LIMIT_MAX = 1_000_000, 60_000_000


@dataclass(frozen=True)
class Genesis:
    """The same values give the same first block, byte for byte.

    gas_limit: of each block. base_fee: wei per gas of the first block; it then moves as EIP-1559
    says, not below `base_fee_floor`. is_free: the base fee is 0 and stays 0. coinbase: who gets the
    tips. accounts: address (20 bytes) -> what it begins with.
    """

    chain_id: int = CHAIN_ID
    accounts: Mapping[bytes, GenesisAccount] = field(default_factory=dict)
    timestamp: int = 0
    gas_limit: int = 30_000_000
    base_fee: int = GWEI
    base_fee_floor: int = GWEI // 1000
    is_free: bool = False
    coinbase: bytes = b"\0" * 20
    extra: bytes = b"kumiai"

    def __post_init__(self) -> None:
        """InputError where a value cannot stand."""
        if not 0 < self.chain_id < 2**53:
            raise InputError("chain_id", self.chain_id, "give a number from 1 to 2**53 - 1")
        if not GAS_LIMIT_MIN <= self.gas_limit <= GAS_LIMIT_MAX:
            span = f"{GAS_LIMIT_MIN} to {GAS_LIMIT_MAX}"
            raise InputError("gas_limit", self.gas_limit, f"give {span} gas for a block")
        if not 0 <= self.base_fee_floor <= self.base_fee < 2**64:
            fix = "0 <= base_fee_floor <= base_fee, in wei"
            raise InputError("base_fee", self.base_fee, fix)
        if any(len(address) != 20 for address in [self.coinbase, *self.accounts]):
            raise InputError("accounts", "an address", "an address has 20 bytes")
        if len(self.extra) > 32:
            raise InputError("extra", self.extra, "give at most 32 bytes")

    def make_header(self, state_root: bytes) -> Header:
        """The first block's header, over the state that `accounts` are."""
        return Header(
            parent_hash=ZERO_HASH,
            number=0,
            timestamp=self.timestamp,
            gas_limit=self.gas_limit,
            gas_used=0,
            base_fee=0 if self.is_free else self.base_fee,
            coinbase=self.coinbase,
            state_root=state_root,
            transactions_root=EMPTY_ROOT,
            receipts_root=EMPTY_ROOT,
            bloom=0,
            extra=self.extra,
            randomness=ZERO_HASH,
        )

    def to_json(self) -> str:
        """As it is kept in the chain's file."""
        accounts = {
            address.hex(): [it.balance, it.nonce, it.code.hex(), [list(s) for s in it.storage]]
            for address, it in sorted(self.accounts.items())
        }
        plain = {name: getattr(self, name) for name in _PLAIN}
        hexes = {"coinbase": self.coinbase.hex(), "extra": self.extra.hex()}
        return json.dumps({**plain, **hexes, "accounts": accounts}, sort_keys=True)


_PLAIN = ("chain_id", "timestamp", "gas_limit", "base_fee", "base_fee_floor", "is_free")


def read_genesis(text: str) -> Genesis:
    """Read back what `to_json` wrote."""
    said: dict[str, Any] = json.loads(text)
    accounts = {
        bytes.fromhex(address): GenesisAccount(
            balance, nonce, bytes.fromhex(code), tuple((slot, value) for slot, value in storage)
        )
        for address, (balance, nonce, code, storage) in said.pop("accounts").items()
    }
    for name in ("coinbase", "extra"):
        said[name] = bytes.fromhex(said[name])
    return Genesis(**said, accounts=accounts)

"""Blocks: headers as Prague has them, roots, blooms, and the next block's base fee (EIP-1559)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import rlp  # type: ignore[import-untyped]
from trie.hexary import HexaryTrie

from kumiai.adapters.evm.chain.engine import Log
from kumiai.base.keys import keccak256

EMPTY_ROOT = keccak256(rlp.encode(b""))
EMPTY_UNCLES = keccak256(rlp.encode([]))
EMPTY_REQUESTS = hashlib.sha256(b"").digest()  # EIP-7685
ZERO_HASH = b"\0" * 32
ELASTICITY, FEE_CHANGE_DENOMINATOR = 2, 8  # EIP-1559
BLOOM_BYTES = 256


@dataclass(frozen=True)
class Header:
    """A block's header; what Prague has and this chain never uses stands in `encode`."""

    parent_hash: bytes
    number: int
    timestamp: int
    gas_limit: int
    gas_used: int
    base_fee: int
    coinbase: bytes
    state_root: bytes
    transactions_root: bytes
    receipts_root: bytes
    bloom: int
    extra: bytes
    randomness: bytes

    def encode(self) -> bytes:
        """RLP of its 21 fields."""
        beneficiary = [self.parent_hash, EMPTY_UNCLES, self.coinbase]
        roots = [self.state_root, self.transactions_root, self.receipts_root]
        bloom = self.bloom.to_bytes(BLOOM_BYTES, "big")
        numbers = [0, self.number, self.gas_limit, self.gas_used, self.timestamp]
        seal = [self.extra, self.randomness, b"\0" * 8]
        blobs = [0, 0, ZERO_HASH, EMPTY_REQUESTS]
        raw: bytes = rlp.encode(
            [*beneficiary, *roots, bloom, *numbers, *seal, self.base_fee, EMPTY_ROOT, *blobs]
        )
        return raw

    @cached_property
    def hash(self) -> bytes:
        """The block's hash."""
        return keccak256(self.encode())


def decode_header(raw: bytes) -> Header:
    """Read back what `encode` wrote."""
    fields = rlp.decode(raw)
    numbers = [int.from_bytes(fields[i], "big") for i in (6, 8, 9, 10, 11, 15)]
    bloom, number, gas_limit, gas_used, timestamp, base_fee = numbers
    return Header(
        parent_hash=fields[0],
        number=number,
        timestamp=timestamp,
        gas_limit=gas_limit,
        gas_used=gas_used,
        base_fee=base_fee,
        coinbase=fields[2],
        state_root=fields[3],
        transactions_root=fields[4],
        receipts_root=fields[5],
        bloom=bloom,
        extra=fields[12],
        randomness=fields[13],
    )


def compute_root(items: Sequence[bytes]) -> bytes:
    """The root of the trie index -> item."""
    if not items:
        return EMPTY_ROOT
    trie = HexaryTrie({}, EMPTY_ROOT)
    with trie.squash_changes() as memory:
        for index, item in enumerate(items):
            memory[rlp.encode(index)] = item
    root: bytes = trie.root_hash
    return root


def encode_receipt(kind: int, is_ok: bool, cumulative_gas: int, logs: Sequence[Log]) -> bytes:
    """A receipt as the receipts' trie holds it."""
    bloom = compute_bloom(logs).to_bytes(BLOOM_BYTES, "big")
    entries = [[log.address, list(log.topics), log.data] for log in logs]
    body: bytes = rlp.encode([int(is_ok), cumulative_gas, bloom, entries])
    return body if kind == 0 else bytes([kind]) + body


def compute_bloom(logs: Sequence[Log]) -> int:
    """The 2048-bit filter of the logs' addresses and topics."""
    bloom = 0
    for log in logs:
        bloom |= _compute_bits(log.address)
        for topic in log.topics:
            bloom |= _compute_bits(topic)
    return bloom


@lru_cache(maxsize=4096)
def _compute_bits(item: bytes) -> int:
    digest = keccak256(item)
    bits = 0
    for at in (0, 2, 4):
        bits |= 1 << (int.from_bytes(digest[at : at + 2], "big") & 2047)
    return bits


def compute_base_fee(parent: Header, floor: int) -> int:
    """Wei per gas of the block behind `parent`: it moves by an eighth at most, and not below floor.

    A floor of 0 and a first fee of 0 give a chain without fees as long as no block is more than
    half full; `Rules.is_free` keeps it at 0 in any case.
    """
    target = parent.gas_limit // ELASTICITY
    if parent.gas_used == target:
        return parent.base_fee
    delta = parent.base_fee * abs(parent.gas_used - target) // target // FEE_CHANGE_DENOMINATOR
    if parent.gas_used > target:
        return parent.base_fee + max(delta, 1)
    return max(parent.base_fee - delta, floor)

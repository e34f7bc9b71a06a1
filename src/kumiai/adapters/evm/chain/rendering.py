"""Blocks, transactions, receipts and logs as JSON-RPC shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kumiai.adapters.evm.chain.blocks import (
    BLOOM_BYTES,
    EMPTY_REQUESTS,
    EMPTY_ROOT,
    EMPTY_UNCLES,
    ZERO_HASH,
    Header,
    compute_bloom,
)
from kumiai.adapters.evm.chain.engine import Log
from kumiai.adapters.evm.chain.queries import LogRow, TransactionRow
from kumiai.adapters.evm.chain.transactions import Transaction
from kumiai.base.keys import keccak256

Json = dict[str, object]


def to_hex(data: bytes) -> str:
    """0x and the bytes."""
    return "0x" + data.hex()


def to_checksum(address: bytes) -> str:
    """An address with the checksum of EIP-55."""
    text = address.hex()
    digest = keccak256(text.encode()).hex()
    return "0x" + "".join(
        letter.upper() if mark >= "8" else letter
        for letter, mark in zip(text, digest, strict=False)
    )


def render_header(header: Header) -> Json:
    """The header as newHeads shows it."""
    return {
        "number": hex(header.number),
        "hash": to_hex(header.hash),
        "parentHash": to_hex(header.parent_hash),
        "timestamp": hex(header.timestamp),
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "baseFeePerGas": hex(header.base_fee),
        "miner": to_checksum(header.coinbase),
        "stateRoot": to_hex(header.state_root),
        "transactionsRoot": to_hex(header.transactions_root),
        "receiptsRoot": to_hex(header.receipts_root),
        "logsBloom": to_hex(header.bloom.to_bytes(BLOOM_BYTES, "big")),
        "extraData": to_hex(header.extra),
        "mixHash": to_hex(header.randomness),
        "difficulty": "0x0",
        "nonce": "0x" + "00" * 8,
        "sha3Uncles": to_hex(EMPTY_UNCLES),
        "withdrawalsRoot": to_hex(EMPTY_ROOT),
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": to_hex(ZERO_HASH),
        "requestsHash": to_hex(EMPTY_REQUESTS),
    }


def render_block(header: Header, size: int, transactions: Sequence[object]) -> Json:
    """A block; `transactions` are hashes or rendered transactions."""
    rest = {"uncles": [], "withdrawals": [], "size": hex(size), "totalDifficulty": "0x0"}
    return {**render_header(header), **rest, "transactions": list(transactions)}


def render_transaction(it: Transaction, row: TransactionRow | None, base_fee: int) -> Json:
    """A transaction; row: where it stands, None while it waits."""
    shown: Json = {
        "hash": to_hex(it.hash),
        "type": hex(it.kind),
        "chainId": hex(it.chain_id),
        "nonce": hex(it.nonce),
        "from": to_checksum(it.sender),
        "to": to_checksum(it.to) if it.to else None,
        "value": hex(it.value),
        "gas": hex(it.gas),
        "gasPrice": hex(it.gas_fee_cap if row is None else it.get_gas_price(base_fee)),
        "input": to_hex(it.data),
        "blockHash": None if row is None else to_hex(row.block_hash),
        "blockNumber": None if row is None else hex(row.number),
        "transactionIndex": None if row is None else hex(row.position),
        "r": hex(it.r),
        "s": hex(it.s),
        "v": hex(it.y_parity if it.kind else 35 + 2 * it.chain_id + it.y_parity),
    }
    if it.kind:
        shown["yParity"] = hex(it.y_parity)
        shown["accessList"] = [
            {
                "address": to_checksum(address),
                "storageKeys": [to_hex(key.to_bytes(32, "big")) for key in keys],
            }
            for address, keys in it.access_list
        ]
    if it.kind == 2:
        shown["maxFeePerGas"] = hex(it.gas_fee_cap)
        shown["maxPriorityFeePerGas"] = hex(it.gas_tip_cap)
    return shown


def render_receipt(
    it: Transaction, row: TransactionRow, logs: Sequence[LogRow], header: Header
) -> Json:
    """What a transaction did."""
    place = {row.position: it.hash}
    bloom = compute_bloom([log.log for log in logs])
    return {
        "transactionHash": to_hex(it.hash),
        "transactionIndex": hex(row.position),
        "blockHash": to_hex(row.block_hash),
        "blockNumber": hex(row.number),
        "from": to_checksum(it.sender),
        "to": to_checksum(it.to) if it.to else None,
        "cumulativeGasUsed": hex(row.gas_cumulative),
        "gasUsed": hex(row.gas_used),
        "effectiveGasPrice": hex(it.get_gas_price(header.base_fee)),
        "contractAddress": None if row.created is None else to_checksum(row.created),
        "logs": [render_log(log, header, place) for log in logs],
        "logsBloom": to_hex(bloom.to_bytes(BLOOM_BYTES, "big")),
        "status": hex(row.is_ok),
        "type": hex(it.kind),
    }


def render_log(row: LogRow, header: Header, hashes: Mapping[int, bytes]) -> Json:
    """One log; hashes: of the block's transactions by their position."""
    shown = render_topics(row.log)
    shown.update(
        blockNumber=hex(header.number),
        blockHash=to_hex(header.hash),
        blockTimestamp=hex(header.timestamp),
        transactionHash=to_hex(hashes[row.position]),
        transactionIndex=hex(row.position),
        logIndex=hex(row.index),
        removed=False,
    )
    return shown


def render_topics(log: Log) -> Json:
    """What the contract said."""
    return {
        "address": to_checksum(log.address),
        "topics": [to_hex(topic) for topic in log.topics],
        "data": to_hex(log.data),
    }

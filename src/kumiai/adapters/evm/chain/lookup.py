"""Which block a caller means: a number, a hash, or a tag."""

from __future__ import annotations

from collections.abc import Mapping

from kumiai.adapters.evm.chain import queries
from kumiai.adapters.evm.chain.blocks import Header
from kumiai.adapters.evm.chain.chain import EmbeddedChain
from kumiai.adapters.evm.chain.engine import View
from kumiai.adapters.evm.chain.errors import refuse
from kumiai.adapters.evm.chain.params import read_data, read_quantity

HEAD_TAGS = ("latest", "pending", "safe", "finalized")  # nothing is ever taken back


class Lookup:
    """What the groups of methods share: the chain, and its blocks by what callers call them."""

    def __init__(self, chain: EmbeddedChain) -> None:
        self.chain = chain

    def view(self, block: object) -> View:
        """The state behind a block."""
        root = self.get_header(block).state_root
        return self.chain.engine.view(self.chain.store.nodes, root)

    def get_header(self, block: object) -> Header:
        """A block's header; RpcError where there is none."""
        header = self.find_header(block)
        if header is None:
            raise refuse("header not found")
        return header

    def get_number(self, number: int) -> Header:
        """The header of a number; RpcError where there is none."""
        head = self.chain.head
        header = head if head.number == number else self.chain.store.find_header(number)
        if header is None:
            raise refuse("header not found")
        return header

    def find_header(self, block: object) -> Header | None:
        """A block's header; None where there is none."""
        if isinstance(block, Mapping):  # EIP-1898
            if "blockHash" in block:
                return self.find_by_hash(block["blockHash"])
            block = block.get("blockNumber")
        if isinstance(block, str) and len(block) == 66:
            return self.find_by_hash(block)
        if block in HEAD_TAGS or block is None:
            return self.chain.head
        return self.chain.store.find_header(min(self.read_number(block), 2**62))

    def find_by_hash(self, block_hash: object) -> Header | None:
        """The header with this hash; None where there is none."""
        number = queries.find_number(self.chain.store, read_data(block_hash, "blockHash", 32))
        return None if number is None else self.chain.store.find_header(number)

    def read_number(self, block: object) -> int:
        """The number that a tag or a quantity means."""
        if block in HEAD_TAGS:
            return self.chain.head.number
        return 0 if block == "earliest" else read_quantity(block, "block number", 64)

"""A developer's chain: time is moved, empty blocks are sealed."""

from __future__ import annotations

from collections.abc import Mapping

from kumiai.adapters.evm.chain.clock import OFFSET_SECONDS_MAX
from kumiai.adapters.evm.chain.errors import reject_params
from kumiai.adapters.evm.chain.lookup import Lookup
from kumiai.adapters.evm.chain.params import read_quantity

MINED_BLOCKS_MAX = 1_000


class DevMethods(Lookup):
    """Only there where the chain was opened for developers."""

    def do_evm_mine(self, timestamp: object = None) -> str:
        if isinstance(timestamp, Mapping):
            blocks = read_quantity(timestamp.get("blocks", 1), "blocks")
            self.chain.mine(min(blocks, MINED_BLOCKS_MAX))
            return "0x0"
        if timestamp is not None:
            self.do_evm_setNextBlockTimestamp(timestamp)
        self.chain.mine()
        return "0x0"

    def do_evm_increaseTime(self, seconds: object) -> str:
        self.chain.clock.offset += read_quantity(seconds, "seconds", 32)
        self.chain.clock.offset = min(self.chain.clock.offset, OFFSET_SECONDS_MAX)
        self.chain.save_clock()
        return hex(self.chain.clock.offset)

    def do_evm_setNextBlockTimestamp(self, timestamp: object) -> str:
        wanted = read_quantity(timestamp, "timestamp", 40)
        if wanted < self.chain.head.timestamp:
            said = f"Timestamp error: {wanted} is lower than previous block's timestamp"
            raise reject_params(said)
        self.chain.clock.next_timestamp = wanted
        return hex(wanted)

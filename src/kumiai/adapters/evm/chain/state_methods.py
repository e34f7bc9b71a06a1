"""Methods about the chain, its fees and its states."""

from __future__ import annotations

from collections.abc import Sequence

from kumiai.adapters.evm.chain import calls, queries
from kumiai.adapters.evm.chain.blocks import Header
from kumiai.adapters.evm.chain.errors import reject_params
from kumiai.adapters.evm.chain.lookup import Lookup
from kumiai.adapters.evm.chain.params import read_address, read_call, read_data, read_quantity
from kumiai.adapters.evm.chain.rendering import Json, to_hex
from kumiai.adapters.evm.chain.transactions import decode_transaction
from kumiai.base.keys import keccak256

FEE_HISTORY_MAX = 1_024
TIP = 10**6  # wei: what callers are told to offer; blocks take any tip
CLIENT = "kumiai-chain"


class StateMethods(Lookup):
    """web3_, net_, fees, balances, code, storage, calls."""

    def do_web3_clientVersion(self) -> str:
        return f"{CLIENT}/{self.chain.engine.name}/prague"

    def do_web3_sha3(self, data: object) -> str:
        return to_hex(keccak256(read_data(data)))

    def do_net_version(self) -> str:
        return str(self.chain.genesis.chain_id)

    def do_net_listening(self) -> bool:
        return True

    def do_net_peerCount(self) -> str:
        return "0x0"

    def do_eth_chainId(self) -> str:
        return hex(self.chain.genesis.chain_id)

    def do_eth_syncing(self) -> bool:
        return False

    def do_eth_accounts(self) -> list[str]:
        return []  # no key lies in this process

    def do_eth_blockNumber(self) -> str:
        return hex(self.chain.head.number)

    def do_eth_gasPrice(self) -> str:
        return hex(self.chain.compute_next_base_fee() + TIP)

    def do_eth_maxPriorityFeePerGas(self) -> str:
        return hex(TIP)

    def do_eth_feeHistory(
        self, count: object, newest: object = "latest", percentiles: object = None
    ) -> Json:
        shares = percentiles if isinstance(percentiles, list) else []
        is_sound = all(isinstance(p, int | float) and 0 <= p <= 100 for p in shares)
        if not is_sound or len(shares) > 100 or sorted(shares) != shares:
            raise reject_params("rewardPercentiles: at most 100 numbers from 0 to 100, ascending")
        last = self.get_header(newest)
        size = min(read_quantity(count, "blockCount"), FEE_HISTORY_MAX, last.number + 1)
        headers = [self.get_number(n) for n in range(last.number - size + 1, last.number + 1)]
        after = self.chain.builder.compute_next_base_fee(last)
        history: Json = {
            "oldestBlock": hex(last.number - size + 1),
            "baseFeePerGas": [hex(h.base_fee) for h in headers] + [hex(after)],
            "gasUsedRatio": [h.gas_used / h.gas_limit for h in headers],
            "baseFeePerBlobGas": ["0x1"] * (size + 1),
            "blobGasUsedRatio": [0.0] * size,
        }
        if shares:
            history["reward"] = [self._list_tips(h, shares) for h in headers]
        return history

    def _list_tips(self, header: Header, shares: Sequence[float]) -> list[str]:
        tips = []
        for row in queries.list_transactions(self.chain.store, header.number):
            it = decode_transaction(row.raw, self.chain.genesis.chain_id, row.sender)
            tips.append((it.get_gas_price(header.base_fee) - header.base_fee, row.gas_used))
        if not tips:
            return ["0x0"] * len(shares)
        tips.sort()
        return [hex(_pick_tip(tips, header.gas_used * share / 100)) for share in shares]

    def do_eth_getBalance(self, address: object, block: object = "latest") -> str:
        return hex(self.view(block).get_account(read_address(address)).balance)

    def do_eth_getTransactionCount(self, address: object, block: object = "latest") -> str:
        sender = read_address(address)
        if block == "pending":
            return hex(self.chain.count_nonce(sender))
        return hex(self.view(block).get_account(sender).nonce)

    def do_eth_getCode(self, address: object, block: object = "latest") -> str:
        return to_hex(self.view(block).get_code(read_address(address)))

    def do_eth_getStorageAt(self, address: object, slot: object, block: object = "latest") -> str:
        at = read_quantity(slot, "slot")
        value = self.view(block).get_storage(read_address(address), at)
        return to_hex(value.to_bytes(32, "big"))

    def do_eth_call(
        self, request: object, block: object = "latest", overrides: object = None
    ) -> str:
        if overrides:
            raise reject_params("state overrides are not supported")
        return to_hex(calls.call(self.chain, read_call(request), self.get_header(block)))

    def do_eth_estimateGas(
        self, request: object, block: object = "latest", overrides: object = None
    ) -> str:
        if overrides:
            raise reject_params("state overrides are not supported")
        header = self.get_header(block)
        now = self.chain.clock.compute_timestamp(header.timestamp)
        return hex(calls.estimate_gas(self.chain, read_call(request), header, now))


def _pick_tip(tips: Sequence[tuple[int, int]], gas: float) -> int:
    """The tip of the transaction with which that much of the block's gas is reached."""
    passed = 0
    for tip, used in tips:
        passed += used
        if passed >= gas:
            return tip
    return tips[-1][0]

"""Methods about transactions and the blocks they stand in."""

from __future__ import annotations

from kumiai.adapters.evm.chain import queries
from kumiai.adapters.evm.chain.blocks import Header
from kumiai.adapters.evm.chain.errors import refuse
from kumiai.adapters.evm.chain.lookup import Lookup
from kumiai.adapters.evm.chain.params import read_data, read_flag, read_quantity
from kumiai.adapters.evm.chain.rendering import (
    Json,
    render_block,
    render_receipt,
    render_transaction,
    to_hex,
)
from kumiai.adapters.evm.chain.transactions import decode_transaction


class BlockMethods(Lookup):
    """Sending, finding and showing."""

    def do_eth_sendRawTransaction(self, raw: object) -> str:
        return to_hex(self.chain.submit(read_data(raw, "transaction")))

    def do_eth_sendRawTransactionSync(self, raw: object, _timeout_ms: object = None) -> Json:
        """EIP-7966: the receipt at once."""
        receipt = self.do_eth_getTransactionReceipt(self.do_eth_sendRawTransaction(raw))
        if receipt is None:
            raise refuse("the transaction was added but waits for an earlier one")
        return receipt

    def do_eth_getTransactionByHash(self, name: object) -> Json | None:
        wanted = read_data(name, "hash", 32)
        chain_id = self.chain.genesis.chain_id
        waiting = self.chain.pool.find(wanted)
        row = queries.find_transaction(self.chain.store, wanted)
        if row is not None:
            it = decode_transaction(row.raw, chain_id, row.sender)
            return render_transaction(it, row, self.get_number(row.number).base_fee)
        return None if waiting is None else render_transaction(waiting, None, 0)

    def do_eth_getRawTransactionByHash(self, name: object) -> str | None:
        wanted = read_data(name, "hash", 32)
        waiting = self.chain.pool.find(wanted)
        row = queries.find_transaction(self.chain.store, wanted)
        if row is not None:
            return to_hex(row.raw)
        return None if waiting is None else to_hex(waiting.raw)

    def do_eth_getTransactionReceipt(self, name: object) -> Json | None:
        row = queries.find_transaction(self.chain.store, read_data(name, "hash", 32))
        if row is None:
            return None
        logs = queries.list_block_logs(self.chain.store, row.number, row.position)
        it = decode_transaction(row.raw, self.chain.genesis.chain_id, row.sender)
        return render_receipt(it, row, logs, self.get_number(row.number))

    def do_eth_getTransactionByBlockNumberAndIndex(
        self, block: object, index: object
    ) -> Json | None:
        header = self.find_header(block)
        return None if header is None else self._find_at(header, index)

    def do_eth_getTransactionByBlockHashAndIndex(
        self, block_hash: object, index: object
    ) -> Json | None:
        header = self.find_by_hash(block_hash)
        return None if header is None else self._find_at(header, index)

    def _find_at(self, header: Header, index: object) -> Json | None:
        rows = queries.list_transactions(self.chain.store, header.number)
        at = read_quantity(index, "index")
        if at >= len(rows):
            return None
        it = decode_transaction(rows[at].raw, self.chain.genesis.chain_id, rows[at].sender)
        return render_transaction(it, rows[at], header.base_fee)

    def do_eth_getBlockByNumber(self, block: object, is_full: object = False) -> Json | None:
        header = self.find_header(block)
        return None if header is None else self._render_block(header, is_full)

    def do_eth_getBlockByHash(self, block_hash: object, is_full: object = False) -> Json | None:
        header = self.find_by_hash(block_hash)
        return None if header is None else self._render_block(header, is_full)

    def do_eth_getBlockTransactionCountByNumber(self, block: object) -> str | None:
        header = self.find_header(block)
        if header is None:
            return None
        return hex(len(queries.list_transactions(self.chain.store, header.number)))

    def do_eth_getBlockReceipts(self, block: object) -> list[Json] | None:
        header = self.find_header(block)
        if header is None:
            return None
        by_position: dict[int, list[queries.LogRow]] = {}
        for log in queries.list_block_logs(self.chain.store, header.number):
            by_position.setdefault(log.position, []).append(log)
        chain_id = self.chain.genesis.chain_id
        return [
            render_receipt(
                decode_transaction(row.raw, chain_id, row.sender),
                row,
                by_position.get(row.position, []),
                header,
            )
            for row in queries.list_transactions(self.chain.store, header.number)
        ]

    def _render_block(self, header: Header, is_full: object) -> Json:
        rows = queries.list_transactions(self.chain.store, header.number)
        shown: list[object] = [to_hex(row.hash) for row in rows]
        if read_flag(is_full, "full transactions"):
            chain_id, fee = self.chain.genesis.chain_id, header.base_fee
            shown = [
                render_transaction(decode_transaction(row.raw, chain_id, row.sender), row, fee)
                for row in rows
            ]
        return render_block(header, queries.find_size(self.chain.store, header.number), shown)

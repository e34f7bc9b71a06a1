"""Methods about logs, and the filters that callers poll."""

from __future__ import annotations

from kumiai.adapters.evm.chain import queries
from kumiai.adapters.evm.chain.chain import EmbeddedChain
from kumiai.adapters.evm.chain.errors import refuse, reject_params
from kumiai.adapters.evm.chain.filters import Filters
from kumiai.adapters.evm.chain.lookup import HEAD_TAGS, Lookup
from kumiai.adapters.evm.chain.params import LogFilter, read_filter
from kumiai.adapters.evm.chain.rendering import Json, render_log, to_hex

BLOCKS_ANSWERED_MAX = 1_024


class LogMethods(Lookup):
    """eth_getLogs and the filters."""

    def __init__(self, chain: EmbeddedChain) -> None:
        super().__init__(chain)
        self._filters = Filters()

    def do_eth_getLogs(self, criteria: object) -> list[Json]:
        return self.list_logs(read_filter(criteria))

    def list_logs(self, wanted: LogFilter) -> list[Json]:
        """The logs of a filter's own blocks."""
        if wanted.block_hash is not None:
            header = self.find_by_hash(to_hex(wanted.block_hash))
            if header is None:
                raise refuse("unknown block")
            return self.list_logs_of(wanted, header.number, header.number)
        first = self.read_number("latest" if wanted.from_block is None else wanted.from_block)
        last = self.read_number("latest" if wanted.to_block is None else wanted.to_block)
        if first > last:
            raise reject_params("invalid block range params: fromBlock is behind toBlock")
        return self.list_logs_of(wanted, first, min(last, self.chain.head.number))

    def list_logs_of(self, wanted: LogFilter, first: int, last: int) -> list[Json]:
        """The logs of these blocks that the filter lets through."""
        if first > last:
            return []
        store = self.chain.store
        rows = queries.list_logs(store, first, last, wanted.addresses, wanted.topics)
        hashes = queries.map_hashes(store, rows)
        headers = {number: self.get_number(number) for number in hashes}
        return [render_log(row, headers[row.number], hashes[row.number]) for row in rows]

    def do_eth_newFilter(self, criteria: object) -> str:
        wanted = read_filter(criteria)
        head = self.chain.head.number
        first = head + 1
        if wanted.from_block not in (None, *HEAD_TAGS):
            first = self.read_number(wanted.from_block)
        return self._filters.add(wanted, first)

    def do_eth_newBlockFilter(self) -> str:
        return self._filters.add(None, self.chain.head.number + 1)

    def do_eth_getFilterChanges(self, name: object) -> list[Json] | list[str]:
        found = self._filters.get(name)
        head = self.chain.head.number
        first = found.next_block
        if found.criteria is None:
            first = max(first, head - BLOCKS_ANSWERED_MAX + 1)
            found.next_block = head + 1
            return [to_hex(self.chain.find_hash(n)) for n in range(first, head + 1)]
        last = head
        if found.criteria.to_block not in (None, *HEAD_TAGS):
            last = min(head, self.read_number(found.criteria.to_block))
        logs = self.list_logs_of(found.criteria, first, last)
        found.next_block = head + 1
        return logs

    def do_eth_getFilterLogs(self, name: object) -> list[Json]:
        found = self._filters.get(name)
        if found.criteria is None:
            raise refuse("filter not found")
        return self.list_logs(found.criteria)

    def do_eth_uninstallFilter(self, name: object) -> bool:
        return self._filters.remove(name)

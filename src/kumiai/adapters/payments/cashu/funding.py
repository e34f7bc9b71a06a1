"""Lightning into ecash (NUT-04, NUT-23): an invoice of the mint, and the ecash once it is paid.

The quote's id is as good as the money: it is on file before its invoice is told to anybody, and the
outputs are before the mint is asked to sign them.
"""

from __future__ import annotations

from dataclasses import replace

from kumiai.adapters.payments.cashu.api import (
    KEYSET_INACTIVE,
    MintApi,
    MintRefusedError,
    Quote,
)
from kumiai.adapters.payments.cashu.store import Operation, WalletStore
from kumiai.adapters.payments.cashu.swaps import Swaps, blind_all
from kumiai.nodes.market.errors import WalletError


class Funding:
    """The invoices of one wallet; amounts are in the mint's unit."""

    def __init__(self, api: MintApi, store: WalletStore, swaps: Swaps, unit: str) -> None:
        self._api = api
        self._store = store
        self._swaps = swaps
        self._unit = unit

    async def request(self, key: str, amount: int) -> Quote:
        """Return the mint's invoice over `amount`; the same key, the same invoice."""
        await self._swaps.require(4)
        operation = self._store.get(key)
        if operation is None:
            quote = await self._api.request_quote(amount, self._unit)
            operation = Operation(key, "mint", str(amount), "quoted", result=quote.id)
            self._store.plan(operation)
        if (operation.kind, operation.request) != ("mint", str(amount)):
            raise WalletError("OTHER", f"key {key!r} was used for another movement of money")
        return await self._api.fetch_quote(operation.result)

    async def claim(self, key: str) -> int:
        """Return the units received; WalletError, retriable, until the invoice is paid."""
        try:
            return await self._claim(key)
        except MintRefusedError as refusal:
            if refusal.mint_code != KEYSET_INACTIVE:
                raise
        # What was planned is of keys that the mint has retired: it signed nothing of it and never
        # will. The money is there all the same, for outputs of the keys of now.
        operation = self._store.get(key)
        assert operation is not None
        self._store.plan(replace(operation, state="quoted", outputs=()))
        await self._swaps.refresh()
        return await self._claim(key)

    async def _claim(self, key: str) -> int:
        operation = self._store.get(key)
        if operation is None or operation.kind != "mint":
            raise WalletError("NOT_FOUND", f"no funds were asked for with key {key!r}")
        amount, quote = int(operation.request), operation.result
        if operation.state == "done":
            return amount
        is_fresh = operation.state == "quoted"
        if is_fresh:
            if (await self._api.fetch_quote(quote)).state == "UNPAID":
                raise WalletError("OTHER", "the invoice is not paid yet", is_retriable=True)
            outputs = await self._swaps.make_outputs(amount)
            operation = Operation(key, "mint", str(amount), "planned", (), outputs, quote)
            self._store.plan(operation)
        messages = blind_all(operation.outputs)
        await self._swaps.settle(operation, lambda: self._api.mint(quote, messages), is_fresh)
        return amount

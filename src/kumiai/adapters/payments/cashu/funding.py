"""Lightning into ecash (NUT-04, NUT-23): an invoice of the mint, and the ecash once it is paid.

The quote's id is as good as the money: it is on file before its invoice is told to anybody, and the
outputs are before the mint is asked to sign them. The invoice is read before it is told: it asks
for what the ecash will be worth, or nobody hears of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.cashu.answers import Quote
from kumiai.adapters.payments.cashu.api import (
    KEYSET_INACTIVE,
    QUOTE_EXPIRED,
    MintApi,
    MintRefusedError,
)
from kumiai.adapters.payments.cashu.facts import Facts
from kumiai.adapters.payments.cashu.store import Operation, WalletStore
from kumiai.adapters.payments.cashu.swaps import Swaps, blind_all
from kumiai.base.errors import InputError
from kumiai.nodes.market.errors import WalletError

KEPT_S = 7 * 86_400  # unpaid invoices are asked about so long after their time


class Funding:
    """The invoices of one wallet; amounts are in the mint's unit."""

    def __init__(
        self,
        api: MintApi,
        store: WalletStore,
        swaps: Swaps,
        unit: tuple[str, int],
        clock: Callable[[], float],
    ) -> None:
        """unit: its name, and what it is worth in msat."""
        self._api = api
        self._store = store
        self._swaps = swaps
        self._unit, self._unit_msat = unit
        self._clock = clock

    async def request(self, key: str, amount: int) -> Quote:
        """Return the mint's invoice over `amount`; the same key, the same invoice."""
        await self._swaps.require(4)
        operation = self._store.get(key)
        if operation is None:
            quote = await self._api.request_quote(amount, self._unit)
            expires_at_s = self._check(quote, amount)
            operation = Operation(key, "mint", str(amount), "quoted", result=quote.id)
            facts = Facts(quote.bolt11, amount, expires_at_s=expires_at_s)
            self._store.begin(operation, facts)
        if (operation.kind, operation.request) != ("mint", str(amount)):
            raise WalletError("OTHER", f"key {key!r} was used for another movement of money")
        quote = await self._api.fetch_quote(operation.result)
        facts = self._store.get_facts(key)
        if quote.id != operation.result or (facts.bolt11 and quote.bolt11 != facts.bolt11):
            raise WalletError("INTERNAL", "the mint changed its invoice", is_retriable=True)
        return replace(quote, expires_at_s=self._check(quote, amount))

    async def claim(self, key: str) -> int:
        """Return the units received; WalletError, retriable, until the invoice is paid.

        EXPIRED: it is not paid, and its time is over. TOO_LATE: it was paid, and the mint gives
        nothing any more; it is asked again all the same.
        """
        try:
            return await self._claim(key)
        except MintRefusedError as refusal:
            if refusal.mint_code == QUOTE_EXPIRED:
                raise self._say_too_late(key) from refusal
            if refusal.mint_code != KEYSET_INACTIVE:
                raise
        # What was planned is of keys that the mint has retired: it signed nothing of it and never
        # will. The money is there all the same, for outputs of the keys of now.
        operation = self._store.get(key)
        assert operation is not None
        self._store.plan(replace(operation, state="quoted", outputs=()))
        await self._swaps.refresh()
        return await self._claim(key)

    async def take_up(self, operation: Operation) -> bool:
        """After a crash: fetch what was paid for meanwhile. True: it has ended now."""
        try:
            await self.claim(operation.key)
        except WalletError as error:
            expires_at_s = self._store.get_facts(operation.key).expires_at_s
            is_old = expires_at_s and self._clock() > expires_at_s + KEPT_S
            known = self._store.get(operation.key)
            is_unpaid = known is not None and known.state == "quoted"
            if error.code == "EXPIRED" and is_old and is_unpaid:
                self._store.lapse(operation)
                return True
            if error.code == "EXPIRED" or (error.is_retriable and error.code == "OTHER"):
                return False  # nobody has paid it
            raise
        return True

    async def _claim(self, key: str) -> int:
        operation = self._store.get(key)
        if operation is None or operation.kind != "mint":
            raise WalletError("NOT_FOUND", f"no funds were asked for with key {key!r}")
        amount, quote = int(operation.request), operation.result
        if operation.state == "done":
            return amount
        is_fresh = operation.state in ("quoted", "lapsed")
        if is_fresh:
            if (await self._api.fetch_quote(quote)).state == "UNPAID":
                raise self._say_unpaid(key)
            outputs = await self._swaps.make_outputs(amount)
            operation = Operation(key, "mint", str(amount), "planned", (), outputs, quote)
            self._store.plan(operation)
        messages = blind_all(operation.outputs)
        await self._swaps.settle(operation, lambda: self._api.mint(quote, messages), is_fresh)
        return amount

    def _say_too_late(self, key: str) -> WalletError:
        operation = self._store.get(key)
        quote = operation.result if operation is not None else ""
        return WalletError(
            "TOO_LATE",
            "the invoice was paid, but its ecash was not fetched in time, and the mint gives it no"
            f" more: ask who runs the mint; its number there is {quote}",
        )

    def _say_unpaid(self, key: str) -> WalletError:
        expires_at_s = self._store.get_facts(key).expires_at_s
        if expires_at_s and self._clock() >= expires_at_s:
            return WalletError("EXPIRED", "the invoice was not paid in time")
        return WalletError("OTHER", "the invoice is not paid yet", is_retriable=True)

    def _check(self, quote: Quote, amount: int) -> int:
        """Return until when to pay; WalletError for an invoice that is not what was asked for."""
        try:
            invoice = bolt11.decode(quote.bolt11)
        except InputError as error:
            raise WalletError("INTERNAL", f"the mint made no invoice: {error.fix}") from error
        asked, wanted = invoice.amount_msat, amount * self._unit_msat
        if asked != wanted or quote.amount not in (0, amount):
            raise WalletError(
                "AMOUNT_DIFFERS",
                f"the mint's invoice asks for {asked} msat, for ecash of {quote.amount}"
                f" {self._unit}; {wanted} msat were asked for",
            )
        return min(quote.expires_at_s or invoice.expires_at_s, invoice.expires_at_s)

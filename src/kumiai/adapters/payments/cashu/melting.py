"""Ecash into Lightning (NUT-05, NUT-08, NUT-23): the mint pays an invoice; the change comes back.

Inputs and blank outputs are on file before the mint hears of them. From then on its quote tells
what became of the payment, whoever was killed meanwhile: paid, under way, or not. The same request
may be made again: a quote is paid once. The inputs are free again only when the mint has said no,
or the invoice can be paid no more, and it calls the quote unpaid and the inputs unspent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from kumiai.adapters.payments.cashu.answers import BlindSignature, MeltQuote
from kumiai.adapters.payments.cashu.api import MintApi, MintRefusedError
from kumiai.adapters.payments.cashu.facts import Facts
from kumiai.adapters.payments.cashu.keysets import KEY_COUNT_MAX
from kumiai.adapters.payments.cashu.store import Operation, WalletStore
from kumiai.adapters.payments.cashu.swaps import Swaps, blind_all, unblind
from kumiai.adapters.payments.cashu.tokens import Proof
from kumiai.adapters.payments.checks import is_preimage
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Invoice

NUTS_NEEDED = (5, 8)  # paying invoices, change
GRACE_S = 600  # a payment that began in time may end a little after its invoice's time


class Melting:
    """The payments of one wallet; amounts are in the mint's unit."""

    def __init__(
        self,
        api: MintApi,
        store: WalletStore,
        swaps: Swaps,
        unit: tuple[str, int],
        sending: asyncio.Lock,
        clock: Callable[[], float],
    ) -> None:
        """unit: its name, and what it is worth in msat. sending: held while inputs are chosen."""
        self._api = api
        self._store = store
        self._swaps = swaps
        self._unit, self._unit_msat = unit
        self._sending = sending
        self._clock = clock

    async def pay(self, key: str, invoice: Invoice, fee_max: int) -> bool:
        """Pay once, however often it is called; False where the payment is still under way.

        fee_max: of the route and the mint's own fee together. WalletError: what was refused, and
        nothing moved; retriable where that is not known yet.
        """
        operation = self._store.get(key)
        if operation is not None and operation.kind != "melt":
            raise WalletError("OTHER", f"key {key!r} was used for another movement of money")
        is_fresh = operation is None
        if operation is None:
            operation = await self._plan(key, invoice, fee_max)
        if operation.state == "done":
            return True
        if not is_fresh and (state := await self.look(operation)) != "UNPAID":
            return state == "PAID"
        return await self._ask(operation) == "PAID"

    async def look(self, operation: Operation) -> str:
        """Ask the mint what became of a payment, and write its end down; its state."""
        quote = await self._api.fetch_melt_quote(operation.result)
        if quote.state == "PAID":
            await self._finish(operation, quote)
        return quote.state

    async def take_up(self, operation: Operation, invoice: Invoice) -> bool:
        """After a crash: learn what became of it; nothing is paid. True: it has ended now."""
        state = await self.look(operation)
        facts = self._store.get_facts(operation.key)
        last_s = max(facts.expires_at_s, invoice.expires_at_s) + GRACE_S
        if state != "UNPAID" or self._clock() < last_s:
            return state == "PAID"
        await self._free(operation)
        return True

    async def _plan(self, key: str, invoice: Invoice, fee_max: int) -> Operation:
        await self._swaps.require(*NUTS_NEEDED)
        quote = await self._api.request_melt_quote(invoice.bolt11, self._unit)
        amount = -(-invoice.amount_msat // self._unit_msat)
        if quote.state != "UNPAID":
            raise WalletError("ALREADY_PAID", "the mint says that this invoice was paid before")
        if quote.amount != amount:
            raise WalletError(
                "AMOUNT_DIFFERS",
                f"the mint wants {quote.amount} {self._unit} for an invoice over {amount}",
            )
        async with self._sending:
            wanted = quote.amount + quote.fee_reserve
            blanks = await self._swaps.make_blanks(KEY_COUNT_MAX)  # no change needs more
            inputs, excess = await self._swaps.choose(wanted)
            fee = sum(proof.amount for proof in inputs) - excess - quote.amount
            if fee > fee_max:
                raise WalletError(
                    "FEE_TOO_HIGH", f"it may cost {fee} {self._unit} beside, allowed are {fee_max}"
                )
            count = max(1, (quote.fee_reserve + excess).bit_length())
            operation = Operation(
                key,
                "melt",
                invoice.payment_hash,
                "planned",
                tuple(inputs),
                blanks[:count],
                quote.id,
            )
            facts = Facts(invoice.bolt11, amount, fee, expires_at_s=quote.expires_at_s)
            self._store.begin(operation, facts)
        return operation

    async def _ask(self, operation: Operation) -> str:
        """Let the mint pay; on a refusal look once more: an earlier request may have won."""
        inputs = [proof.to_dict() for proof in operation.inputs]
        refusal = WalletError("PAYMENT_FAILED", "the mint could not pay the invoice")
        try:
            quote = await self._api.melt(operation.result, inputs, blind_all(operation.outputs))
            state = quote.state
            if state == "PAID":
                await self._finish(operation, quote)
        except MintRefusedError as error:
            refusal, state = error, await self.look(operation)
            if error.is_retriable and state == "UNPAID":
                raise
        if state == "UNPAID":
            await self._free(operation, is_spent=refusal.code == "SPENT")
            raise refusal
        return state

    async def _free(self, operation: Operation, *, is_spent: bool = False) -> None:
        """Free the inputs of what was not paid; is_spent: some of them were, for something else."""
        states = await self._api.fetch_states([proof.y for proof in operation.inputs])
        if not is_spent and any(state.state == "SPENT" for state in states):
            message = "the mint says not paid, but has taken the ecash"
            raise WalletError("INTERNAL", message, is_retriable=True)
        await self._swaps.drop(operation)

    async def _finish(self, operation: Operation, quote: MeltQuote) -> None:
        """It is paid: check that the mint took the ecash, and the change that it gave."""
        if quote.id != operation.result:
            raise WalletError("INTERNAL", "the mint speaks of another payment", is_retriable=True)
        states = await self._api.fetch_states([proof.y for proof in operation.inputs])
        if any(state.state != "SPENT" for state in states):
            message = "the mint says paid, but has not taken the ecash"
            raise WalletError("INTERNAL", message, is_retriable=True)
        signatures = list(quote.change) or await self._restore(operation)
        change = await self._read_change(operation, signatures)
        amount = self._store.get_facts(operation.key).amount
        total = sum(proof.amount for proof in operation.inputs)
        fee = total - amount - sum(proof.amount for proof in change)
        preimage = quote.preimage if is_preimage(quote.preimage, operation.request) else ""
        self._store.finish(operation, change, operation.result, max(0, fee), preimage)

    async def _restore(self, operation: Operation) -> list[BlindSignature]:
        """Change that the quote does not tell: what the mint signed of our blank outputs."""
        messages = blind_all(operation.outputs)
        known = await self._api.restore_some(messages)
        return [known[message["B_"]] for message in messages if message["B_"] in known]

    async def _read_change(
        self, operation: Operation, signatures: list[BlindSignature]
    ) -> list[Proof]:
        if len(signatures) > len(operation.outputs):
            raise WalletError("INTERNAL", "the mint gave more change than it was asked for")
        change = []
        for output, signature in zip(operation.outputs, signatures, strict=False):
            keyset = await self._swaps.get_keyset(output.keyset)
            if signature.amount not in keyset.keys:
                raise WalletError("INTERNAL", f"the mint has no key for {signature.amount}")
            change.append(unblind(replace(output, amount=signature.amount), signature, keyset))
        return change

"""Random faults: lost requests and answers, stuck payments, crashes, time; a debt is paid once."""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.adapters.payments.money import DEBT, Town, open_town
from tests.adapters.payments.wallet_contract import make_preimage

from kumiai.adapters.payments.accounts import reconcile
from kumiai.adapters.payments.embedded import EmbeddedWallet, Fate
from kumiai.adapters.payments.faulty import Fault, FaultyWallet
from kumiai.adapters.payments.intents import MemoryIntents
from kumiai.nodes.market.cashier import Cashier
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.intents import Action, Record
from kumiai.nodes.market.ports import PaymentState

AMOUNT, DEBTS = 5_000, 3
MEMORY = Path("/dev/shm")
FAULTS = (
    Fault.NONE, Fault.NONE, Fault.NONE, Fault.LOST_REQUEST, Fault.LOST_ANSWER, Fault.LATE_REQUEST
)  # fmt: skip
FATES = (Fate.DELIVER, Fate.DELIVER, Fate.STICK, Fate.FAIL)
REFUSALS = ("ALREADY_PAID", "EXPIRED", "OTHER", "NOT_FOUND")
SETTLED = PaymentState.SETTLED


class Story:
    """A customer that owes a few amounts, badly connected to its wallet, and forgetful."""

    def __init__(self, town: Town, choose: Callable[[int], int]) -> None:
        self.town, self.choose, self.is_bad = town, choose, True
        self.stores = {"customer": MemoryIntents(), "provider": MemoryIntents()}
        self.preimages = [make_preimage() for _ in range(DEBTS)]
        self.attempts = 0
        self.wires: list[FaultyWallet] = []
        self.restart()

    def restart(self) -> None:
        """A crash: what was in memory is gone, intents and bank are as they were."""
        fate = EmbeddedWallet(
            self.town.bank,
            "customer",
            choose_fate=lambda _: FATES[self.choose(4)] if self.is_bad else Fate.DELIVER,
        )
        self.customer = self.make_cashier(fate, "customer")
        self.provider = self.make_cashier(self.town.provider, "provider")

    def make_cashier(self, wallet: EmbeddedWallet, name: str) -> Cashier:
        faulty = FaultyWallet(
            wallet, lambda _: FAULTS[self.choose(len(FAULTS))] if self.is_bad else Fault.NONE
        )
        self.wires.append(faulty)  # what is late arrives even after a crash
        return self.town.make_cashier(faulty, self.stores[name])

    async def act(self) -> None:
        kind, at = self.choose(9), self.choose(DEBTS)
        debt, key = replace(DEBT, round=at), f"h{at}"
        try:
            if kind == 0:
                self.restart()
            elif kind == 1:
                await self.town.clock.pass_time(self.choose(900))
            elif kind == 2:
                self.resolve_one()
            elif kind == 8:
                await self.deliver()
            elif kind <= 5:  # the first debt by hold invoice, the others by ever new invoices
                await self.pay(at)
            elif kind == 6 and at == 0:
                await self.provider.settle(key, self.preimages[0][0])
            elif kind == 7 and at == 0 and not self.choose(3):
                await self.provider.cancel(key)
            else:
                for record in self.stores["customer"].list_open():
                    await self.customer.check(record.intent.key)
        except WalletError as error:
            if not error.is_retriable and error.code not in REFUSALS:
                raise
        self.check(debt.round)

    async def pay(self, at: int) -> None:
        debt = replace(DEBT, round=at)
        if at == 0:
            invoice = await self.provider.ask_hold("h0", debt, AMOUNT, self.preimages[0][1])
            await self.customer.pay("h0", debt, invoice.bolt11, AMOUNT)
            return
        self.attempts += self.choose(2)  # sometimes the same key again, sometimes a new invoice
        key = f"p{at}/{self.attempts}"
        invoice = await self.town.provider.make_invoice(key, AMOUNT, "", 300)
        await self.customer.pay(key, debt, invoice.bolt11, AMOUNT, payee=invoice.payee)

    async def deliver(self) -> None:
        for wire in self.wires:
            await wire.deliver()

    def resolve_one(self) -> None:
        for record in self.stores["customer"].list_open():
            found = self.town.bank.lookup("customer", record.intent.payment_hash, is_incoming=False)
            if found is not None and found.state is PaymentState.PENDING:
                self.town.bank.resolve(
                    "customer", found.payment_hash, is_delivered=bool(self.choose(2))
                )

    def check(self, at: int) -> None:
        """By the bank's own books no debt was paid, or is locked, twice."""
        mine = [it for it in self.stores["customer"].list_all() if it.intent.debt.round == at]
        live = [it for it in mine if self.look(it) in ("settled", "accepted", "pending")]
        assert len(live) <= 1, live

    def look(self, record: Record) -> str | None:
        found = self.town.bank.lookup("customer", record.intent.payment_hash, is_incoming=False)
        return None if found is None else found.state.value

    async def end(self) -> None:
        """All faults end; what the member believes is then what the bank knows."""
        self.is_bad = False
        await self.deliver()
        for at in range(DEBTS):
            self.check(at)
        self.restart()
        self.resolve_one()
        await self.town.clock.pass_time(100_000)
        assert await self.customer.resolve_open() == []
        assert await self.provider.resolve_open() == []
        records = self.stores["customer"].list_all()
        believed = sum(it.intent.amount_msat for it in records if it.outcome.state is SETTLED)
        assert believed == self.town.get_spent()
        for name, wallet in (("customer", self.town.customer), ("provider", self.town.provider)):
            books = reconcile(
                self.stores[name].list_all(),
                await wallet.list_payments(),
                await wallet.get_balance(),
            )
            assert books.difference_msat == 0 and books.faults == ()
        ends = [it.intent.action for it in self.stores["provider"].list_all()]
        assert not {Action.SETTLE, Action.CANCEL} <= set(ends)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_lost_a_debt_is_paid_once(data: st.DataObject) -> None:
    async def play(town: Town) -> None:
        story = Story(town, lambda count: data.draw(st.integers(0, count - 1)))
        for _ in range(14):
            await story.act()
        await story.end()

    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as folder, open_town(Path(folder)) as town:
        asyncio.run(play(town))

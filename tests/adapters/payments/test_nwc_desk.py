"""A connection's budget, however its requests and the wallet's answers fall together."""

from __future__ import annotations

import asyncio
from pathlib import Path

from kumiai.adapters.payments.embedded import EmbeddedBank, EmbeddedWallet
from kumiai.adapters.payments.nwc_budget import NwcBudgets
from kumiai.adapters.payments.nwc_desk import Grant, NwcDesk
from kumiai.market.nips import nip47
from kumiai.nodes.market.ports import Payment

WAIT_S = 60.0
NAME = "shop"
PRICE_MSAT = 10_000


class SlowWallet(EmbeddedWallet):
    """Waits at the door before each payment, as one behind a network does."""

    def __init__(self, bank: EmbeddedBank, name: str) -> None:
        super().__init__(bank, name)
        self.entered, self.gate = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def pay(
        self, key: str, bolt11: str, amount_msat: int, payee: str = "", fee_msat_max: int = 0
    ) -> Payment:
        self.entered.release()
        await self.gate.acquire()
        return await super().pay(key, bolt11, amount_msat, payee, fee_msat_max)


async def make_requests(bank: EmbeddedBank, count: int) -> list[nip47.PayInvoice]:
    seller = EmbeddedWallet(bank, "seller")
    made = [await seller.make_invoice(f"i{n}", PRICE_MSAT) for n in range(count)]
    return [nip47.PayInvoice(it.bolt11) for it in made]


def test_a_payment_on_its_way_to_the_wallet_keeps_its_part_of_the_budget(tmp_path: Path) -> None:
    """The wallet does not know yet of what is being handed to it."""

    async def play() -> None:
        with EmbeddedBank(tmp_path / "bank.db") as bank, NwcBudgets(tmp_path / "nwc.db") as budgets:
            bank.fund("payer", 100_000)
            wallet = SlowWallet(bank, "payer")
            desk = NwcDesk(Grant(NAME, PRICE_MSAT), wallet, budgets, lambda _: None)
            one, two = await make_requests(bank, 2)
            first = asyncio.create_task(desk.do(one, "1", WAIT_S))
            await wallet.entered.acquire()
            second = asyncio.create_task(desk.do(two, "2", WAIT_S))
            wallet.gate.release()
            wallet.gate.release()
            said = await asyncio.gather(first, second)
            assert [type(it) for it in said] == [nip47.Paid, nip47.Fault]
            assert bank.get_balance("payer").spendable_msat == 100_000 - PRICE_MSAT
            assert budgets.get_spent(NAME) == PRICE_MSAT

    asyncio.run(play())


def test_asked_twice_while_the_first_fails_it_still_counts(tmp_path: Path) -> None:
    """The first finds too little money; before the second is done there is enough."""

    async def play() -> None:
        with EmbeddedBank(tmp_path / "bank.db") as bank, NwcBudgets(tmp_path / "nwc.db") as budgets:
            wallet = SlowWallet(bank, "payer")
            desk = NwcDesk(Grant(NAME, PRICE_MSAT), wallet, budgets, lambda _: None)
            (one,) = await make_requests(bank, 1)
            tasks = [asyncio.create_task(desk.do(one, f"{n}", WAIT_S)) for n in range(2)]
            await wallet.entered.acquire()
            wallet.gate.release()
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            assert isinstance(done.pop().result(), nip47.Fault)
            bank.fund("payer", 100_000)
            wallet.gate.release()
            said = [type(it) for it in await asyncio.gather(*tasks)]
            assert sorted(it.__name__ for it in said) == ["Fault", "Paid"]
            assert budgets.get_spent(NAME) == PRICE_MSAT

    asyncio.run(play())

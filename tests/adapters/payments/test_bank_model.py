"""The embedded bank against its naive twin: thousands of random acts, every msat in its place."""

import asyncio
import hashlib
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.adapters.payments.naive_bank import NaiveBank, RefusedError

from kumiai.adapters.payments.embedded import EmbeddedBank, EmbeddedWallet, Fate
from kumiai.base.errors import StoreError
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Invoice

NAMES = ("aoba", "beni", "chidori", "daichi")
LOCK_S = 50
MEMORY = Path("/dev/shm")  # the laws do not depend on the disk's speed


def make_preimage(number: int) -> tuple[str, str]:
    preimage = hashlib.sha256(f"preimage {number}".encode()).hexdigest()
    return preimage, hashlib.sha256(bytes.fromhex(preimage)).hexdigest()


class World:
    """Both banks, driven by one source of choices."""

    def __init__(self, folder: Path, choose: Callable[[int], int]) -> None:
        self.choose, self.now_s = choose, 1_800_000_000
        self.bank = EmbeddedBank(folder / "bank.db", clock=lambda: self.now_s, lock_s=LOCK_S)
        self.naive = NaiveBank(LOCK_S)
        self.fate = Fate.DELIVER
        self.wallets = {
            name: EmbeddedWallet(self.bank, name, choose_fate=lambda _: self.fate) for name in NAMES
        }
        self.invoices: list[tuple[str, Invoice, int]] = []  # owner, invoice, its preimage's number
        self.keys = 0
        for name in NAMES:
            self.fund(name, 20_000)

    def fund(self, name: str, amount: int) -> None:
        self.bank.fund(name, amount)
        self.naive.fund(name, amount)

    async def act(self) -> None:
        acts = (self.ask, self.ask, self.pay, self.pay, self.pay, self.pay, self.settle,
                self.settle, self.cancel, self.resolve, self.wait)  # fmt: skip
        self.naive.tick(self.now_s)
        await acts[self.choose(len(acts))]()

    async def ask(self) -> None:
        owner = NAMES[self.choose(len(NAMES))]
        amount, expiry_s = 1 + self.choose(15_000), 1 + self.choose(60)
        number = self.keys if self.choose(5) or not self.keys else self.choose(self.keys)
        self.keys += 1
        preimage, payment_hash = make_preimage(number)
        if (owner, payment_hash) in self.naive.invoices:
            with pytest.raises(WalletError):
                await self.wallets[owner].make_hold_invoice(f"i{self.keys}", 1, payment_hash)
            return
        is_hold = bool(self.choose(2))
        wallet, key = self.wallets[owner], f"i{self.keys}"
        if is_hold:
            made = await wallet.make_hold_invoice(key, amount, payment_hash, "", expiry_s)
        else:
            made = await wallet.make_invoice(key, amount, "", expiry_s, preimage)
        self.naive.invoice(owner, payment_hash, amount, is_hold, self.now_s + expiry_s)
        self.invoices.append((owner, made, number))

    def pick(self) -> tuple[str, Invoice, int] | None:
        recent = self.invoices[-12:]
        return recent[self.choose(len(recent))] if recent else None

    async def pay(self) -> None:
        if (picked := self.pick()) is None:
            return
        owner, invoice, _ = picked
        payer = NAMES[self.choose(len(NAMES))]
        self.keys += 1
        key = f"p{self.keys if self.choose(4) else self.choose(self.keys)}"
        self.fate = (Fate.DELIVER, Fate.DELIVER, Fate.DELIVER, Fate.STICK, Fate.FAIL)[
            self.choose(5)
        ]
        await self.compare(
            lambda: self.naive.pay(
                payer, key, owner, invoice.payment_hash, self.fate.value, self.now_s
            ),
            self.wallets[payer].pay(key, invoice.bolt11, invoice.amount_msat, invoice.payee),
        )

    async def settle(self) -> None:
        if (picked := self.pick()) is not None:
            owner = picked[0] if self.choose(6) else NAMES[self.choose(len(NAMES))]
            preimage, payment_hash = make_preimage(picked[2])
            settle = self.wallets[owner].settle(preimage)
            await self.compare(lambda: self.naive.settle(owner, payment_hash), settle)

    async def cancel(self) -> None:
        if (picked := self.pick()) is not None and not self.choose(3):
            owner, invoice, _ = picked
            cancel = self.wallets[owner].cancel(invoice.payment_hash)
            await self.compare(lambda: self.naive.cancel(owner, invoice.payment_hash), cancel)

    async def resolve(self) -> None:
        if (picked := self.pick()) is None:
            return
        payer, payment_hash = NAMES[self.choose(len(NAMES))], picked[1].payment_hash
        is_delivered = bool(self.choose(2))

        async def resolve() -> object:
            return self.bank.resolve(payer, payment_hash, is_delivered=is_delivered)

        await self.compare(
            lambda: self.naive.resolve(payer, payment_hash, self.now_s, is_delivered=is_delivered),
            resolve(),
        )

    async def wait(self) -> None:
        self.now_s += self.choose(20)

    async def compare(self, naive: Callable[[], str], real: object) -> None:
        try:
            expected = naive()
        except RefusedError:
            with pytest.raises(WalletError) as caught:
                await real  # type: ignore[misc]
            assert not caught.value.is_retriable
            return
        told = await real  # type: ignore[misc]
        assert told.state.value == expected

    def check(self) -> None:
        self.naive.tick(self.now_s)
        total = 0
        for name in NAMES:
            balance = self.bank.get_balance(name)
            told = (balance.spendable_msat, balance.held_msat)
            assert told == (self.naive.spendable[name], self.naive.held[name]), name
            total += sum(told)
        assert total == self.naive.funded
        for owner, invoice, _ in self.invoices:
            found = self.bank.lookup(owner, invoice.payment_hash, is_incoming=True)
            assert found is not None
            assert found.state.value == self.naive.invoices[owner, invoice.payment_hash].state
            for payer in NAMES:
                paid = self.bank.lookup(payer, invoice.payment_hash, is_incoming=False)
                state = None if paid is None else paid.state.value
                assert state == self.naive.lookup(payer, invoice.payment_hash)
        self.bank.check_books()


def play(choose: Callable[[int], int], acts: int, pause: int) -> None:
    async def inside(folder: Path) -> None:
        world = World(folder, choose)
        for number in range(acts):
            await world.act()
            if number % pause == pause - 1:
                world.invoices = world.invoices[-40:]
                world.check()
        world.check()
        world.bank.close()

    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        asyncio.run(inside(Path(folder)))


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_bank_does_what_its_naive_twin_does(data: st.DataObject) -> None:
    play(lambda count: data.draw(st.integers(0, count - 1)), acts=25, pause=5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [6, 7])
def test_ten_thousand_acts_keep_every_msat(seed: int) -> None:
    source = random.Random(seed)
    play(source.randrange, acts=5_000, pause=1_000)


@pytest.mark.parametrize(
    "change",
    [
        "spendable_msat = 6",  # more than was funded
        "spendable_msat = CASE name WHEN 'aoba' THEN 4 ELSE 6 END",  # the sum is right
        "spendable_msat = 4, held_msat = 1",
    ],
)
def test_altered_balance_is_found(tmp_path: Path, change: str) -> None:
    import sqlite3

    with EmbeddedBank(tmp_path / "bank.db") as bank:
        bank.fund("aoba", 5)
        bank.fund("beni", 5)
        bank.check_books()
    with sqlite3.connect(tmp_path / "bank.db") as connection:
        connection.execute(f"UPDATE bank_members SET {change}")
    with EmbeddedBank(tmp_path / "bank.db") as bank, pytest.raises(StoreError, match="damaged"):
        bank.check_books()


def test_database_itself_refuses_what_must_not_be(tmp_path: Path) -> None:
    import sqlite3

    with EmbeddedBank(tmp_path / "bank.db") as bank:
        bank.fund("aoba", 5)
        asyncio.run(EmbeddedWallet(bank, "beni").make_invoice("a", 5))
    wrong = (
        "UPDATE bank_members SET spendable_msat = -1",
        "UPDATE bank_members SET held_msat = -1",
        "UPDATE bank_invoices SET state = 'settled', preimage = NULL",
        "UPDATE bank_invoices SET amount_msat = 0",
        "INSERT INTO bank_fundings VALUES (9, 'aoba', 'funding 1', 5, 0)",
        "INSERT INTO bank VALUES (2, x'00')",
    )
    with sqlite3.connect(tmp_path / "bank.db") as connection:
        for statement in wrong:
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(statement)

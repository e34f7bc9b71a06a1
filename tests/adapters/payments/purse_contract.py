"""What every ecash wallet must do for its owner: `PurseContract` runs it over one kind.

A subclass gives `open_purse`, which opens the wallet of a name, as often as wanted: what was opened
is closed by the contract. Invoices that a purse makes count as paid, soon; those that it pays are
paid to nobody. No test asserts on time.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.adapters.payments.ecash_contract import refuse

from kumiai.adapters.payments import bolt11
from kumiai.base.errors import InputError
from kumiai.market.fees import compute_fee_max
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import PaymentState
from kumiai.nodes.market.purse import MoveKind, Movement, PursePort

FILLED_MSAT = 1_024_000
AMOUNT_MSAT = 300_000
POLL_S = 0.1

Open = Callable[[str], PursePort]


def make_invoice(amount_msat: int = AMOUNT_MSAT, age_s: int = 0, payment_hash: str = "") -> str:
    """An invoice of somebody else."""
    payment_hash = payment_hash or secrets.token_hex(32)
    made_at_s = int(time.time()) - age_s
    secret = secrets.token_hex(32)
    return bolt11.sign(b"\x11" * 32, payment_hash, secret, amount_msat, made_at_s, 3_600)


async def claim(purse: PursePort, key: str) -> Movement:
    """Ask until the invoice counts as paid."""
    while True:
        try:
            return await purse.claim(key)
        except WalletError as error:
            if not error.is_retriable:
                raise
        await asyncio.sleep(POLL_S)


async def fill(purse: PursePort, amount_msat: int = FILLED_MSAT, key: str = "f") -> None:
    await purse.fill(key, amount_msat)
    await claim(purse, key)


async def pay(purse: PursePort, text: str) -> Movement:
    return await purse.pay(text, compute_fee_max(bolt11.decode(text).amount_msat) + 2_000)


async def get_msat(purse: PursePort) -> int:
    balance = await purse.get_balance()
    assert balance.held_msat == 0
    return balance.spendable_msat


async def count_moved(purse: PursePort) -> int:
    """What must be there by the history."""
    total = 0
    for it in await purse.list_movements():
        if it.state is PaymentState.SETTLED:
            total += it.amount_msat if it.is_incoming else -it.amount_msat - it.fee_msat
    return total


class PurseContract:
    """Subclass it as Test...; every method is one promise of `PursePort`."""

    def open_purse(self, folder: Path, name: str) -> PursePort:
        raise NotImplementedError

    def run(self, folder: Path, check: Callable[[Open], Awaitable[None]]) -> None:
        async def inside() -> None:
            opened: list[PursePort] = []

            def open_one(name: str) -> PursePort:
                opened.append(self.open_purse(folder, name))
                return opened[-1]

            try:
                await check(open_one)
            finally:
                for purse in opened:
                    await purse.close()

        asyncio.run(inside())

    # -- filling --

    def test_an_invoice_is_money_once(self, tmp_path: Path) -> None:
        async def check(open_one: Open) -> None:
            purse = open_one("me")
            asked = await purse.fill("f", FILLED_MSAT)
            assert bolt11.decode(asked.bolt11).amount_msat == FILLED_MSAT
            assert (asked.kind, asked.state) == (MoveKind.FILLED, PaymentState.PENDING)
            assert (await purse.fill("f", FILLED_MSAT)).bolt11 == asked.bolt11
            await refuse(purse.fill("f", AMOUNT_MSAT), "OTHER")
            assert await get_msat(purse) == 0
            claimed = await claim(purse, "f")
            assert (claimed.amount_msat, claimed.state) == (FILLED_MSAT, PaymentState.SETTLED)
            assert claimed.ended_at_s >= claimed.created_at_s > 0
            await asyncio.gather(*(purse.claim("f") for _ in range(3)))
            again = open_one("me")
            assert (await again.claim("f")).state is PaymentState.SETTLED
            assert await get_msat(again) == FILLED_MSAT == await count_moved(again)
            await refuse(purse.claim("another"), "NOT_FOUND")

        self.run(tmp_path, check)

    def test_what_nobody_can_ask_for_is_refused(self, tmp_path: Path) -> None:
        async def check(open_one: Open) -> None:
            purse = open_one("me")
            for amount_msat in (0, -1_000):
                with pytest.raises(InputError):
                    await purse.fill("f", amount_msat)
                with pytest.raises(InputError):
                    await purse.send("s", amount_msat)
            assert await purse.list_movements() == []

        self.run(tmp_path, check)

    def test_what_was_asked_for_and_left_is_taken_up(self, tmp_path: Path) -> None:
        async def check(open_one: Open) -> None:
            await open_one("me").fill("f", FILLED_MSAT)
            purse = open_one("me")
            while not (taken := await purse.take_up()).ended:
                assert taken.fault is None
                await asyncio.sleep(POLL_S)
            [ended] = taken.ended
            assert (ended.kind, ended.state) == (MoveKind.FILLED, PaymentState.SETTLED)
            assert (await purse.take_up()).ended == ()
            assert await get_msat(purse) == FILLED_MSAT

        self.run(tmp_path, check)

    # -- paying --

    def test_an_invoice_is_paid_once(self, tmp_path: Path) -> None:
        async def check(open_one: Open) -> None:
            purse, text = open_one("me"), make_invoice()
            await fill(purse)
            paid = await pay(purse, text)
            assert (paid.kind, paid.state) == (MoveKind.PAID, PaymentState.SETTLED)
            assert paid.amount_msat == AMOUNT_MSAT and paid.fee_msat <= paid.fee_msat_max
            left = await get_msat(purse)
            assert left == FILLED_MSAT - AMOUNT_MSAT - paid.fee_msat == await count_moved(purse)
            assert await pay(purse, text) == paid == await pay(open_one("me"), text.upper())
            assert await get_msat(purse) == left
            await pay(purse, make_invoice())  # the change is money
            assert await get_msat(purse) == await count_moved(purse) < left - AMOUNT_MSAT + 1

        self.run(tmp_path, check)

    def test_many_ask_at_once_and_it_is_paid_once(self, tmp_path: Path) -> None:
        async def check(open_one: Open) -> None:
            purses, text = [open_one("me") for _ in range(2)], make_invoice()
            for key in ("one", "two"):  # a coin for each, if each paid
                await fill(purses[0], key=key)
            calls = (pay(purse, text) for purse in purses * 2)
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(it, Movement | WalletError) for it in answers), answers
            while (paid := await pay(purses[0], text)).state is PaymentState.PENDING:
                await asyncio.sleep(POLL_S)
            assert await get_msat(purses[1]) == 2 * FILLED_MSAT - AMOUNT_MSAT - paid.fee_msat

        self.run(tmp_path, check)

    def test_nobody_pays_more_than_it_has(self, tmp_path: Path) -> None:
        async def check(open_one: Open) -> None:
            purse, dear = open_one("me"), make_invoice(2 * FILLED_MSAT)
            await fill(purse)
            await refuse(pay(purse, dear), "INSUFFICIENT_BALANCE")
            assert await get_msat(purse) == FILLED_MSAT
            await fill(purse, 2 * FILLED_MSAT, "more")
            assert (await pay(purse, dear)).state is PaymentState.SETTLED  # not used up

        self.run(tmp_path, check)

    def test_what_is_no_invoice_or_too_old_is_refused(self, tmp_path: Path) -> None:
        async def check(open_one: Open) -> None:
            purse = open_one("me")
            await fill(purse)
            await refuse(pay(purse, make_invoice(age_s=3_700)), "EXPIRED")
            good = make_invoice()
            for text in ("", "lnbc", good[:-1], good + "x", "x" * 10**6, "\ud800"):
                with pytest.raises(InputError):
                    await purse.pay(text, 10_000)
            assert await get_msat(purse) == FILLED_MSAT

        self.run(tmp_path, check)

    # -- tokens --

    def test_a_token_is_sent_and_received_once(self, tmp_path: Path) -> None:
        async def check(open_one: Open) -> None:
            purse, other = open_one("me"), open_one("you")
            await fill(purse)
            token = await purse.send("s", AMOUNT_MSAT)
            assert await purse.send("s", AMOUNT_MSAT) == token
            [sent] = [it for it in await purse.list_movements() if it.kind is MoveKind.SENT]
            assert sent.token == token and sent.amount_msat >= AMOUNT_MSAT
            assert (await purse.get_state(token)).state == "unspent"
            received = await other.redeem("r", token)
            assert await other.redeem("r", token) == received >= AMOUNT_MSAT
            await refuse(purse.redeem("back", token), "SPENT")
            assert await get_msat(other) == received == await count_moved(other)
            assert await get_msat(purse) == await count_moved(purse)
            back = await purse.send("mine", AMOUNT_MSAT)
            await purse.redeem("mine back", back)  # nobody took it
            assert await get_msat(purse) == await count_moved(purse)

        self.run(tmp_path, check)

"""What every Lightning wallet must do: a subclass of `WalletContract` runs it over one kind.

A subclass gives `open_wallets` and says what its wallets can do::

    class TestEmbeddedWallet(WalletContract):
        kind = "embedded"
        def open_wallets(self, folder): ...   # async context manager that yields `Wallets`

The payer has at least FUNDED_MSAT. Where a wallet takes a while to tell the other side, `wait_for`
waits; no test asserts on time.
"""

import asyncio
import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from kumiai.adapters.payments import bolt11
from kumiai.base.errors import InputError, KumiaiError
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Invoice, Payment, PaymentState, WalletPort

FUNDED_MSAT = 10_000_000
AMOUNT_MSAT = 210_000
POLLS_MAX = 2_400
POLL_S = 0.05
EXPIRY_S = 60


@dataclass
class Wallets:
    """Two wallets that can pay each other.

    pass_time: moves the clock of both forward by seconds; None where nobody can. lock_s: seconds
    after which locked money goes back by itself; None where that cannot be shown.
    """

    payer: WalletPort
    payee: WalletPort
    pass_time: Callable[[int], Awaitable[None]] | None = None
    lock_s: int | None = None


def make_preimage() -> tuple[str, str]:
    preimage = secrets.token_hex(32)
    return preimage, hashlib.sha256(bytes.fromhex(preimage)).hexdigest()


async def wait_for(
    wallet: WalletPort, payment_hash: str, state: PaymentState, *, is_incoming: bool
) -> Payment:
    """Look until the wallet tells this state."""
    found = None
    for _ in range(POLLS_MAX):
        found = await wallet.lookup(payment_hash, is_incoming=is_incoming)
        if found is not None and found.state is state:
            return found
        await asyncio.sleep(POLL_S)
    raise AssertionError(f"{payment_hash} is not {state}: {found}")


async def pay(
    wallet: WalletPort, key: str, invoice: Invoice, fee_msat_max: int, *, is_hold: bool = False
) -> Payment:
    """Pay what was asked and wait until the payer's wallet knows the end of it, or the lock."""
    paid = await wallet.pay(key, invoice.bolt11, invoice.amount_msat, invoice.payee, fee_msat_max)
    wanted = PaymentState.ACCEPTED if is_hold else PaymentState.SETTLED
    if paid.state is not wanted:
        assert paid.state is PaymentState.PENDING
        paid = await wait_for(wallet, invoice.payment_hash, wanted, is_incoming=False)
    assert paid.amount_msat == invoice.amount_msat and not paid.is_incoming
    assert paid.payment_hash == invoice.payment_hash
    return paid


async def refuse(call: Awaitable[object], *codes: str) -> WalletError:
    """The call must be refused for good, with one of these codes if any is given."""
    with pytest.raises(WalletError) as caught:
        await call
    assert not caught.value.is_retriable
    if codes:
        assert caught.value.code in codes
    return caught.value


class WalletContract:
    """Subclass it as Test...; every method is one promise of `WalletPort`."""

    kind = ""
    has_hold = True
    unit_msat = 1
    has_chosen_preimage = True
    fee_msat_max = 0

    def open_wallets(self, folder: Path) -> AbstractAsyncContextManager[Wallets]:
        raise NotImplementedError

    def run(self, folder: Path, check: Callable[[Wallets], Awaitable[None]]) -> None:
        async def inside() -> None:
            async with self.open_wallets(folder) as wallets:
                await check(wallets)

        asyncio.run(inside())

    def need_hold(self) -> None:
        if not self.has_hold:
            pytest.skip("these wallets have no hold invoices")

    # -- asking --

    def test_info_says_what_the_wallet_can(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            info = await w.payee.get_info()
            assert (info.kind, info.has_hold) == (self.kind, self.has_hold)
            assert info.unit_msat == self.unit_msat
            invoice = await w.payee.make_invoice("a", AMOUNT_MSAT)
            assert info.payee in ("", invoice.payee)

        self.run(tmp_path, check)

    def test_invoice_reads_back_as_asked(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            made = await w.payee.make_invoice("a", AMOUNT_MSAT, "job 7, round 3", EXPIRY_S)
            read = bolt11.read(made.bolt11)
            assert read.amount_msat == made.amount_msat == AMOUNT_MSAT
            assert (read.payment_hash, read.payee) == (made.payment_hash, made.payee)
            assert read.description == "job 7, round 3"
            assert read.expires_at_s - read.created_at_s == EXPIRY_S

        self.run(tmp_path, check)

    def test_same_key_gives_the_same_invoice(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            first = await w.payee.make_invoice("a", AMOUNT_MSAT, "x")
            assert await w.payee.make_invoice("a", AMOUNT_MSAT, "x") == first
            other = await w.payee.make_invoice("b", AMOUNT_MSAT, "x")
            assert other.payment_hash != first.payment_hash
            await refuse(w.payee.make_invoice("a", 2 * AMOUNT_MSAT, "x"))

        self.run(tmp_path, check)

    def test_amounts_that_no_invoice_has_are_refused(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            for amount in (0, -1000):
                with pytest.raises(InputError):
                    await w.payee.make_invoice("a", amount)
            if self.unit_msat > 1:
                with pytest.raises(InputError):
                    await w.payee.make_invoice("a", AMOUNT_MSAT + 1)

        self.run(tmp_path, check)

    def test_chosen_preimage_is_what_the_payer_learns(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            preimage, payment_hash = make_preimage()
            asked = w.payee.make_invoice("a", AMOUNT_MSAT, preimage=preimage)
            if not self.has_chosen_preimage:
                await refuse(asked, "NOT_IMPLEMENTED")
                return
            invoice = await asked
            assert invoice.payment_hash == payment_hash
            paid = await pay(w.payer, "p", invoice, self.fee_msat_max)
            assert paid.preimage == preimage

        self.run(tmp_path, check)

    # -- paying --

    def test_payment_moves_its_amount_once(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            before = await w.payer.get_balance(), await w.payee.get_balance()
            amount = AMOUNT_MSAT + (1 if self.unit_msat == 1 else 0)
            invoice = await w.payee.make_invoice("a", amount)
            paid = await pay(w.payer, "p", invoice, self.fee_msat_max)
            assert paid.preimage is not None
            seen = hashlib.sha256(bytes.fromhex(paid.preimage)).hexdigest()
            assert seen == invoice.payment_hash and paid.fee_msat <= self.fee_msat_max
            again = await w.payer.pay("p", invoice.bolt11, amount, invoice.payee, self.fee_msat_max)
            assert (again.state, again.preimage) == (PaymentState.SETTLED, paid.preimage)
            await refuse(
                w.payer.pay("other", invoice.bolt11, amount, invoice.payee, self.fee_msat_max),
                "ALREADY_PAID",
            )
            received = await wait_for(
                w.payee, invoice.payment_hash, PaymentState.SETTLED, is_incoming=True
            )
            assert received.is_incoming and received.amount_msat == amount
            after = await w.payer.get_balance(), await w.payee.get_balance()
            assert before[0].spendable_msat - after[0].spendable_msat == amount + paid.fee_msat
            assert after[1].spendable_msat - before[1].spendable_msat == amount

        self.run(tmp_path, check)

    def test_what_differs_from_the_agreement_is_refused(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            before = await w.payer.get_balance()
            invoice = await w.payee.make_invoice("a", AMOUNT_MSAT)
            stranger = "02" + "11" * 32
            for amount in (AMOUNT_MSAT - 1000, AMOUNT_MSAT + 1000):
                asked = w.payer.pay("p", invoice.bolt11, amount, invoice.payee)
                await refuse(asked, "AMOUNT_DIFFERS")
            asked = w.payer.pay("p", invoice.bolt11, AMOUNT_MSAT, stranger)
            await refuse(asked, "PAYEE_DIFFERS")
            with pytest.raises((InputError, WalletError)):
                await w.payer.pay("p", invoice.bolt11[:-3], AMOUNT_MSAT)
            assert await w.payer.get_balance() == before
            await pay(w.payer, "p", invoice, self.fee_msat_max)  # a refusal used up nothing

        self.run(tmp_path, check)

    def test_altered_invoice_is_another_payees(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            before = await w.payer.get_balance()
            invoice = await w.payee.make_invoice("a", AMOUNT_MSAT)
            altered = alter_amount(invoice.bolt11)
            read = bolt11.decode(altered)
            assert read.amount_msat != AMOUNT_MSAT and read.payee != invoice.payee
            asked = w.payer.pay("p", altered, read.amount_msat, invoice.payee)
            await refuse(asked, "PAYEE_DIFFERS")
            assert await w.payer.get_balance() == before

        self.run(tmp_path, check)

    def test_same_key_pays_no_other_invoice(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            first = await w.payee.make_invoice("a", AMOUNT_MSAT)
            second = await w.payee.make_invoice("b", AMOUNT_MSAT)
            await pay(w.payer, "p", first, self.fee_msat_max)
            between = await w.payer.get_balance()
            await refuse(
                w.payer.pay("p", second.bolt11, AMOUNT_MSAT, second.payee, self.fee_msat_max)
            )
            assert await w.payer.get_balance() == between

        self.run(tmp_path, check)

    def test_own_invoice_is_refused(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            before = await w.payer.get_balance()
            invoice = await w.payer.make_invoice("a", AMOUNT_MSAT)
            await refuse(w.payer.pay("p", invoice.bolt11, AMOUNT_MSAT, invoice.payee))
            assert await w.payer.get_balance() == before

        self.run(tmp_path, check)

    def test_nobody_pays_more_than_it_has(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            before = await w.payee.get_balance()
            amount = before.spendable_msat + AMOUNT_MSAT
            invoice = await w.payer.make_invoice("a", amount)
            asked = w.payee.pay("p", invoice.bolt11, amount, invoice.payee)
            await refuse(asked, "INSUFFICIENT_BALANCE", "PAYMENT_FAILED")
            assert await w.payee.get_balance() == before

        self.run(tmp_path, check)

    def test_expired_invoice_is_refused(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            if w.pass_time is None:
                pytest.skip("these wallets' clocks cannot be moved")
            before = await w.payer.get_balance()
            invoice = await w.payee.make_invoice("a", AMOUNT_MSAT, "", 2)
            await w.pass_time(3)
            await refuse(w.payer.pay("p", invoice.bolt11, AMOUNT_MSAT, invoice.payee), "EXPIRED")
            assert await w.payer.get_balance() == before
            await wait_for(w.payee, invoice.payment_hash, PaymentState.EXPIRED, is_incoming=True)

        self.run(tmp_path, check)

    # -- looking --

    def test_lookup_tells_each_side_its_own(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            invoice = await w.payee.make_invoice("a", AMOUNT_MSAT)
            found = await w.payee.lookup(invoice.payment_hash, is_incoming=True)
            assert found is not None and found.state is PaymentState.PENDING
            assert found.preimage is None
            for wallet, is_incoming in ((w.payer, True), (w.payer, False), (w.payee, False)):
                assert await wallet.lookup(invoice.payment_hash, is_incoming=is_incoming) is None
            await pay(w.payer, "p", invoice, self.fee_msat_max)
            assert await w.payer.lookup(invoice.payment_hash, is_incoming=True) is None
            assert await w.payee.lookup(invoice.payment_hash, is_incoming=False) is None
            assert await w.payee.lookup("00" * 32, is_incoming=True) is None

        self.run(tmp_path, check)

    def test_movements_explain_the_balance(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            hashes = []
            before = (await w.payer.get_balance()).spendable_msat
            known = {it.payment_hash for it in await w.payer.list_payments()}
            for at in range(3):
                invoice = await w.payee.make_invoice(f"a{at}", AMOUNT_MSAT + 1000 * at)
                await pay(w.payer, f"p{at}", invoice, self.fee_msat_max)
                hashes.append(invoice.payment_hash)
            listed = await w.payer.list_payments()
            assert [it.created_at_s for it in listed] == sorted(it.created_at_s for it in listed)
            fresh = [it for it in listed if it.payment_hash not in known]
            assert sorted(it.payment_hash for it in fresh) == sorted(hashes)
            assert all(it.state is PaymentState.SETTLED and not it.is_incoming for it in fresh)
            spent = sum(it.amount_msat + it.fee_msat for it in fresh)
            assert before - (await w.payer.get_balance()).spendable_msat == spent
            for payment_hash in hashes:
                await wait_for(w.payee, payment_hash, PaymentState.SETTLED, is_incoming=True)
            received = {it.payment_hash for it in await w.payee.list_payments()
                        if it.is_incoming and it.state is PaymentState.SETTLED}  # fmt: skip
            assert set(hashes) <= received
            assert await w.payer.list_payments(since_s=2**34) == []

        self.run(tmp_path, check)

    # -- many at once --

    def test_one_key_at_once_pays_once(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            before = (await w.payer.get_balance()).spendable_msat
            invoice = await w.payee.make_invoice("a", AMOUNT_MSAT)
            asked = [
                w.payer.pay(key, invoice.bolt11, AMOUNT_MSAT, invoice.payee, self.fee_msat_max)
                for key in ("p", "p", "p", "q", "q")
            ]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(it, Payment | KumiaiError) for it in answers)
            paid = await wait_for(
                w.payer, invoice.payment_hash, PaymentState.SETTLED, is_incoming=False
            )
            spent = before - (await w.payer.get_balance()).spendable_msat
            assert spent == AMOUNT_MSAT + paid.fee_msat

        self.run(tmp_path, check)

    def test_many_at_once_add_up(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            before = [(await it.get_balance()).spendable_msat for it in (w.payer, w.payee)]
            invoices = [await w.payee.make_invoice(f"a{at}", AMOUNT_MSAT) for at in range(6)]
            paid = await asyncio.gather(
                *(pay(w.payer, f"p{at}", it, self.fee_msat_max) for at, it in enumerate(invoices))
            )
            for invoice in invoices:
                settled = PaymentState.SETTLED
                await wait_for(w.payee, invoice.payment_hash, settled, is_incoming=True)
            after = [(await it.get_balance()).spendable_msat for it in (w.payer, w.payee)]
            assert before[0] - after[0] == 6 * AMOUNT_MSAT + sum(it.fee_msat for it in paid)
            assert after[1] - before[1] == 6 * AMOUNT_MSAT

        self.run(tmp_path, check)

    # -- hold invoices --

    def test_wallets_without_hold_say_so(self, tmp_path: Path) -> None:
        async def check(w: Wallets) -> None:
            asked = w.payee.make_hold_invoice("a", AMOUNT_MSAT, make_preimage()[1])
            await refuse(asked, "NOT_IMPLEMENTED")

        if self.has_hold:
            pytest.skip("these wallets have hold invoices")
        self.run(tmp_path, check)

    def test_held_money_settles_with_its_preimage(self, tmp_path: Path) -> None:
        self.need_hold()

        async def check(w: Wallets) -> None:
            before = await w.payer.get_balance(), await w.payee.get_balance()
            preimage, invoice = await self.lock(w)
            locked = await w.payer.get_balance()
            assert locked.spendable_msat <= before[0].spendable_msat - AMOUNT_MSAT
            assert locked.held_msat >= before[0].held_msat + AMOUNT_MSAT
            assert (await w.payee.get_balance()).spendable_msat == before[1].spendable_msat
            await refuse(w.payee.settle(make_preimage()[0]))
            await wait_for(w.payee, invoice.payment_hash, PaymentState.ACCEPTED, is_incoming=True)
            settled = await w.payee.settle(preimage)
            assert settled.state is PaymentState.SETTLED and settled.preimage == preimage
            assert (await w.payee.settle(preimage)).state is PaymentState.SETTLED
            paid = await wait_for(
                w.payer, invoice.payment_hash, PaymentState.SETTLED, is_incoming=False
            )
            assert paid.preimage == preimage
            await refuse(w.payee.cancel(invoice.payment_hash))
            after = await w.payer.get_balance(), await w.payee.get_balance()
            spent = before[0].spendable_msat - after[0].spendable_msat
            assert spent == AMOUNT_MSAT + paid.fee_msat
            assert after[0].held_msat == before[0].held_msat
            assert after[1].spendable_msat - before[1].spendable_msat == AMOUNT_MSAT

        self.run(tmp_path, check)

    def test_held_money_goes_back_when_canceled(self, tmp_path: Path) -> None:
        self.need_hold()

        async def check(w: Wallets) -> None:
            before = await w.payer.get_balance(), await w.payee.get_balance()
            preimage, invoice = await self.lock(w)
            canceled = await w.payee.cancel(invoice.payment_hash)
            assert canceled.state is PaymentState.CANCELED
            assert (await w.payee.cancel(invoice.payment_hash)).state is PaymentState.CANCELED
            await refuse(w.payee.settle(preimage))
            await self.wait_until_back(w, invoice.payment_hash)
            assert (await w.payer.get_balance(), await w.payee.get_balance()) == before
            await refuse(w.payer.pay("q", invoice.bolt11, AMOUNT_MSAT, invoice.payee))

        self.run(tmp_path, check)

    def test_held_money_goes_back_in_time(self, tmp_path: Path) -> None:
        self.need_hold()

        async def check(w: Wallets) -> None:
            if w.pass_time is None or w.lock_s is None:
                pytest.skip("these wallets' clocks cannot be moved")
            before = await w.payer.get_balance(), await w.payee.get_balance()
            preimage, invoice = await self.lock(w)
            await w.pass_time(w.lock_s + 1)
            await self.wait_until_back(w, invoice.payment_hash)
            await refuse(w.payee.settle(preimage), "EXPIRED")
            assert (await w.payer.get_balance(), await w.payee.get_balance()) == before

        self.run(tmp_path, check)

    def test_hold_invoice_is_made_once_and_paid_once(self, tmp_path: Path) -> None:
        self.need_hold()

        async def check(w: Wallets) -> None:
            preimage, payment_hash = make_preimage()
            invoice = await w.payee.make_hold_invoice("a", AMOUNT_MSAT, payment_hash, "x")
            again = await w.payee.make_hold_invoice("a", AMOUNT_MSAT, payment_hash, "x")
            assert again == invoice and invoice.payment_hash == payment_hash
            await refuse(w.payee.settle(preimage))  # nobody has locked anything yet
            before = (await w.payer.get_balance()).spendable_msat
            await pay(w.payer, "p", invoice, self.fee_msat_max, is_hold=True)
            await pay(w.payer, "p", invoice, self.fee_msat_max, is_hold=True)
            await refuse(
                w.payer.pay("q", invoice.bolt11, AMOUNT_MSAT, invoice.payee, self.fee_msat_max),
                "ALREADY_PAID",
            )
            spent = before - (await w.payer.get_balance()).spendable_msat
            assert AMOUNT_MSAT <= spent <= AMOUNT_MSAT + self.fee_msat_max
            await w.payee.cancel(payment_hash)

        self.run(tmp_path, check)

    def test_withdrawn_invoice_cannot_be_paid(self, tmp_path: Path) -> None:
        self.need_hold()

        async def check(w: Wallets) -> None:
            before = await w.payer.get_balance()
            invoice = await w.payee.make_hold_invoice("a", AMOUNT_MSAT, make_preimage()[1])
            canceled = await w.payee.cancel(invoice.payment_hash)
            assert canceled.state is PaymentState.CANCELED
            [paid] = await asyncio.gather(
                w.payer.pay("p", invoice.bolt11, AMOUNT_MSAT, invoice.payee),
                return_exceptions=True,
            )
            if isinstance(paid, Payment):
                assert paid.state in (PaymentState.FAILED, PaymentState.PENDING)
                failed = PaymentState.FAILED
                await wait_for(w.payer, invoice.payment_hash, failed, is_incoming=False)
            else:
                assert isinstance(paid, WalletError) and not paid.is_retriable
            assert await w.payer.get_balance() == before

        self.run(tmp_path, check)

    async def lock(self, w: Wallets) -> tuple[str, Invoice]:
        """A hold invoice that both sides know to be locked, and its preimage."""
        preimage, payment_hash = make_preimage()
        invoice = await w.payee.make_hold_invoice("a", AMOUNT_MSAT, payment_hash, "x")
        assert invoice.payment_hash == payment_hash
        paid = await pay(w.payer, "p", invoice, self.fee_msat_max, is_hold=True)
        assert paid.preimage is None
        await wait_for(w.payee, payment_hash, PaymentState.ACCEPTED, is_incoming=True)
        return preimage, invoice

    async def wait_until_back(self, w: Wallets, payment_hash: str) -> None:
        """Wait until the payer knows that its money will not move (NIP-47 says: failed)."""
        ended = (PaymentState.CANCELED, PaymentState.EXPIRED, PaymentState.FAILED)
        for _ in range(POLLS_MAX):
            found = await w.payer.lookup(payment_hash, is_incoming=False)
            if found is not None and found.state in ended:
                return
            await asyncio.sleep(POLL_S)
        raise AssertionError(f"{payment_hash} is not given back: {found}")


def alter_amount(text: str) -> str:
    """Double an invoice's amount and compute the checksum anew, as any forger can."""
    from bech32 import bech32_decode, bech32_encode

    head, data = bech32_decode(text)
    network, digits, unit = re.fullmatch(r"(lnbcrt|lnbc|lntbs|lntb)(\d+)(\D?)", head).groups()
    return str(bech32_encode(f"{network}{int(digits) * 2}{unit}", data))

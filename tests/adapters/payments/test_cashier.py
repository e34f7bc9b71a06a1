"""The cashier's rules: what it refuses, what it believes, and that a debt is paid once."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.adapters.payments.money import DEBT, LOCK_S, Town, run
from tests.adapters.payments.wallet_contract import make_preimage, refuse

from kumiai.adapters.payments.embedded import EmbeddedWallet, Fate
from kumiai.adapters.payments.faulty import Fault, FaultyWallet
from kumiai.adapters.payments.intents import MemoryIntents, SqliteIntents
from kumiai.base.errors import InputError
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.evidence import GRACE_S
from kumiai.nodes.market.intents import Action
from kumiai.nodes.market.ports import Payment, PaymentState

S = PaymentState
AMOUNT = 5_000


class Scripted(EmbeddedWallet):
    """Answers `pay` and `lookup` with what the test puts there, if anything."""

    told: Payment | None = None
    is_told = False
    paid = 0

    async def pay(self, *asked: object, **more: object) -> Payment:
        self.paid += 1
        if self.is_told:
            assert self.told is not None
            return self.told
        return await super().pay(*asked, **more)

    async def lookup(self, payment_hash: str, *, is_incoming: bool) -> Payment | None:
        if self.is_told:
            return self.told
        return await super().lookup(payment_hash, is_incoming=is_incoming)


def test_what_was_not_agreed_is_refused_and_nothing_written(tmp_path: Path) -> None:
    async def check(town: Town) -> None:
        store = MemoryIntents()
        cashier = town.make_cashier(store=store)
        invoice = await town.provider.make_invoice("a", AMOUNT, expiry_s=60)
        pay = cashier.pay
        await refuse(pay("p", DEBT, invoice.bolt11, AMOUNT + 1), "AMOUNT_DIFFERS")
        await refuse(
            pay("p", DEBT, invoice.bolt11, AMOUNT, payee="02" + "11" * 32), "PAYEE_DIFFERS"
        )
        asked = pay("p", DEBT, invoice.bolt11, AMOUNT, payment_hash="11" * 32)
        await refuse(asked, "LOCK_DIFFERS")
        await refuse(pay("p", DEBT, "lnbcrt1garbage", AMOUNT), "OTHER")
        await town.clock.pass_time(60)
        await refuse(pay("p", DEBT, invoice.bolt11, AMOUNT), "EXPIRED")
        assert store.list_all() == [] and town.get_spent() == 0

    run(tmp_path, check)


def test_debt_is_paid_once_whatever_is_asked(tmp_path: Path) -> None:
    async def check(town: Town) -> None:
        cashier = town.make_cashier()
        first = await town.provider.make_invoice("a", AMOUNT)
        second = await town.provider.make_invoice("b", AMOUNT)
        done = await cashier.pay("p", DEBT, first.bolt11, AMOUNT, payee=first.payee)
        assert done.outcome.state is S.SETTLED and done.outcome.preimage
        assert await cashier.pay("p", DEBT, first.bolt11, AMOUNT) == done
        await refuse(cashier.pay("p", DEBT, second.bolt11, AMOUNT), "ALREADY_PAID")
        await refuse(cashier.pay("p2", DEBT, second.bolt11, AMOUNT), "ALREADY_PAID")
        other = replace(DEBT, round=2)
        await refuse(cashier.pay("p3", other, first.bolt11, AMOUNT), "ALREADY_PAID")
        await refuse(cashier.pay("p", other, first.bolt11, AMOUNT), "ALREADY_PAID")
        assert town.get_spent() == AMOUNT
        await cashier.pay("p2", other, second.bolt11, AMOUNT)
        assert town.get_spent() == 2 * AMOUNT

    run(tmp_path, check)


def test_two_at_once_pay_once(tmp_path: Path) -> None:
    async def check(town: Town) -> None:
        cashier = town.make_cashier()
        invoices = [await town.provider.make_invoice(f"a{at}", AMOUNT) for at in range(4)]
        asked = [cashier.pay(f"p{at}", DEBT, it.bolt11, AMOUNT) for at, it in enumerate(invoices)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(not isinstance(it, WalletError) for it in answers) == 1
        assert town.get_spent() == AMOUNT

    run(tmp_path, check)


def test_other_invoice_is_paid_only_when_the_first_is_dead(tmp_path: Path) -> None:
    async def check(town: Town) -> None:
        fates = iter([Fate.STICK, Fate.DELIVER, Fate.DELIVER])
        wallet = EmbeddedWallet(town.bank, "customer", choose_fate=lambda _: next(fates))
        cashier = town.make_cashier(wallet)
        first = await town.provider.make_invoice("a", AMOUNT)
        second = await town.provider.make_invoice("b", AMOUNT)
        stuck = await cashier.pay("p", DEBT, first.bolt11, AMOUNT)
        assert stuck.outcome.state is S.PENDING
        with pytest.raises(WalletError) as caught:
            await cashier.pay("p/2", DEBT, second.bolt11, AMOUNT)
        assert caught.value.code == "ALREADY_PAID" and caught.value.is_retriable
        town.bank.resolve("customer", first.payment_hash, is_delivered=False)
        done = await cashier.pay("p/2", DEBT, second.bolt11, AMOUNT)
        assert done.outcome.state is S.SETTLED and town.get_spent() == AMOUNT
        assert (await cashier.check("p")).outcome.state is S.FAILED

    run(tmp_path, check)


def test_refusal_ends_the_intent_with_its_reason(tmp_path: Path) -> None:
    async def check(town: Town) -> None:
        cashier = town.make_cashier()
        amount = 10**9
        invoice = await town.provider.make_invoice("a", amount)
        refused = await cashier.pay("p", DEBT, invoice.bolt11, amount)
        assert refused.outcome.state is S.FAILED
        assert "INSUFFICIENT_BALANCE" in refused.outcome.note
        town.bank.fund("customer", amount)
        done = await cashier.pay("p/2", DEBT, invoice.bolt11, amount)
        assert done.outcome.state is S.SETTLED

    run(tmp_path, check)


def test_refusal_after_a_lost_answer_ends_nothing(tmp_path: Path) -> None:
    """The first request may still be on its way: only the invoice's end is the debt's."""

    async def check(town: Town) -> None:
        faults = iter([Fault.LOST_REQUEST])
        inner = EmbeddedWallet(town.bank, "customer")
        wallet = FaultyWallet(
            inner, lambda method: next(faults, Fault.NONE) if method == "pay" else Fault.NONE
        )
        cashier = town.make_cashier(wallet)
        amount = 10**9
        invoice = await town.provider.make_invoice("a", amount, expiry_s=60)
        other = await town.provider.make_invoice("b", amount)
        assert (await cashier.pay("p", DEBT, invoice.bolt11, amount)).is_open
        again = await cashier.pay("p", DEBT, invoice.bolt11, amount)
        assert again.outcome.state is S.PENDING and "INSUFFICIENT" in again.outcome.note
        town.bank.fund("customer", 2 * amount)
        with pytest.raises(WalletError):
            await cashier.pay("p/2", DEBT, other.bolt11, amount)
        await town.clock.pass_time(60 + GRACE_S)
        assert (await cashier.pay("p/2", DEBT, other.bolt11, amount)).outcome.state is S.SETTLED
        assert (await cashier.check("p")).outcome.state is S.EXPIRED

    run(tmp_path, check)


@pytest.mark.parametrize("wrong", ["preimage", "none", "amount", "hash", "direction"])
def test_wallet_that_contradicts_itself_is_not_believed(tmp_path: Path, wrong: str) -> None:
    async def check(town: Town) -> None:
        wallet = Scripted(town.bank, "customer")
        cashier = town.make_cashier(wallet)
        preimage = make_preimage()[0]
        invoice = await town.provider.make_invoice("a", AMOUNT, preimage=preimage)
        true = Payment(invoice.payment_hash, False, AMOUNT, S.SETTLED, preimage=preimage)
        wallet.told = {
            "preimage": replace(true, preimage="22" * 32),
            "none": replace(true, preimage=None),
            "amount": replace(true, amount_msat=AMOUNT - 1),
            "hash": replace(true, payment_hash="33" * 32),
            "direction": replace(true, is_incoming=True),
        }[wrong]
        wallet.is_told = True
        done = await cashier.pay("p", DEBT, invoice.bolt11, AMOUNT)
        assert done.outcome.state is S.PENDING and done.outcome.note
        assert (await cashier.check("p")).outcome.state is S.PENDING
        wallet.is_told = False
        assert (await cashier.pay("p", DEBT, invoice.bolt11, AMOUNT)).outcome.state is S.SETTLED
        assert town.get_spent() == AMOUNT

    run(tmp_path, check)


def test_nothing_is_paid_before_open_intents_were_looked_up(tmp_path: Path) -> None:
    async def check(town: Town) -> None:
        path = tmp_path / "intents.db"
        lost = FaultyWallet(
            town.customer, lambda m: Fault.LOST_ANSWER if m in ("pay", "lookup") else Fault.NONE
        )
        first = await town.provider.make_invoice("a", AMOUNT)
        second = await town.provider.make_invoice("b", AMOUNT)
        with SqliteIntents(path) as store:
            open_one = await town.make_cashier(lost, store).pay("p", DEBT, first.bolt11, AMOUNT)
            assert open_one.is_open and town.get_spent() == AMOUNT
        with SqliteIntents(path) as store:
            with pytest.raises(WalletError):  # the wallet is still silent
                await town.make_cashier(lost, store).pay(
                    "q", replace(DEBT, round=2), second.bolt11, AMOUNT
                )
            assert len(store.list_all()) == 1
            assert await town.make_cashier(store=store).resolve_open() == []
            known = store.get("p")
            assert known is not None and known.outcome.state is S.SETTLED
        assert town.get_spent() == AMOUNT

    run(tmp_path, check)


def test_hold_pays_when_settled_and_never_when_canceled(tmp_path: Path) -> None:
    async def check(town: Town) -> None:
        customer = town.make_cashier()
        provider = town.make_cashier(town.provider)
        for at, is_settled in enumerate((True, False)):
            preimage, payment_hash = make_preimage()
            debt, key = replace(DEBT, round=at), f"h{at}"
            invoice = await provider.ask_hold(key, debt, AMOUNT, payment_hash)
            assert await provider.ask_hold(key, debt, AMOUNT, payment_hash) == invoice
            with pytest.raises(WalletError) as caught:
                await provider.settle(key, preimage)
            assert caught.value.is_retriable
            paid = await customer.pay(key, debt, invoice.bolt11, AMOUNT, payment_hash=payment_hash)
            assert paid.outcome.state is S.ACCEPTED and paid.is_open
            await refuse(provider.settle(key, make_preimage()[0]), "LOCK_DIFFERS")
            if is_settled:
                assert (await provider.settle(key, preimage)).outcome.state is S.SETTLED
                assert (await provider.settle(key, preimage)).outcome.state is S.SETTLED
                await refuse(provider.cancel(key), "ALREADY_PAID")
            else:
                assert (await provider.cancel(key)).outcome.state is S.CANCELED
                assert (await provider.cancel(key)).outcome.state is S.CANCELED
                await refuse(provider.settle(key, preimage), "ALREADY_PAID")
            ended = await customer.check(key)
            assert ended.outcome.state is (S.SETTLED if is_settled else S.CANCELED)
            assert ended.outcome.preimage == (preimage if is_settled else "")
            assert (await provider.check(key)).outcome.state is ended.outcome.state
        assert town.get_spent() == AMOUNT

    run(tmp_path, check)


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_ANSWER])
def test_what_was_decided_is_carried_out_after_a_crash(tmp_path: Path, fault: Fault) -> None:
    async def check(town: Town) -> None:
        store = MemoryIntents()
        customer = town.make_cashier()
        lost = FaultyWallet(
            town.provider, lambda m: fault if m in ("settle", "cancel") else Fault.NONE
        )
        provider = town.make_cashier(lost, store)
        for at, method in enumerate(("settle", "cancel")):
            preimage, payment_hash = make_preimage()
            debt, key = replace(DEBT, round=at), f"h{at}"
            invoice = await provider.ask_hold(key, debt, AMOUNT, payment_hash)
            await customer.pay(key, debt, invoice.bolt11, AMOUNT)
            told = provider.settle(key, preimage) if method == "settle" else provider.cancel(key)
            assert (await told).is_open is (fault is Fault.LOST_REQUEST)
        assert await town.make_cashier(town.provider, store).resolve_open() == []
        states = {it.intent.key: it.outcome.state for it in store.list_all()}
        assert states["h0/settle"] is states["h0"] is S.SETTLED
        assert states["h1/cancel"] is S.CANCELED
        assert town.get_spent() == AMOUNT

    run(tmp_path, check)


def test_request_that_arrives_late_pays_no_second_time(tmp_path: Path) -> None:
    async def check(town: Town) -> None:
        late = FaultyWallet(
            town.customer, lambda m: Fault.LATE_REQUEST if m == "pay" else Fault.NONE
        )
        store = MemoryIntents()
        first = await town.provider.make_invoice("a", AMOUNT)
        other = await town.provider.make_invoice("b", AMOUNT)
        sent = await town.make_cashier(late, store).pay("p", DEBT, first.bolt11, AMOUNT)
        assert sent.is_open
        cashier = town.make_cashier(store=store)
        with pytest.raises(WalletError):
            await cashier.pay("p/2", DEBT, other.bolt11, AMOUNT)
        await late.deliver()
        assert (await cashier.check("p")).outcome.state is S.SETTLED
        await refuse(cashier.pay("p/2", DEBT, other.bolt11, AMOUNT), "ALREADY_PAID")
        assert town.get_spent() == AMOUNT

    run(tmp_path, check)


def test_answer_that_comes_late_changes_nothing_final(tmp_path: Path) -> None:
    class Slow(EmbeddedWallet):
        gate: asyncio.Event | None = None

        async def lookup(self, payment_hash: str, *, is_incoming: bool) -> Payment | None:
            told = await super().lookup(payment_hash, is_incoming=is_incoming)
            if self.gate is not None:
                gate, self.gate = self.gate, None
                await gate.wait()
            return told

    async def check(town: Town) -> None:
        wallet = Slow(town.bank, "customer")
        customer, provider = town.make_cashier(wallet), town.make_cashier(town.provider)
        preimage, payment_hash = make_preimage()
        invoice = await provider.ask_hold("h", DEBT, AMOUNT, payment_hash)
        await customer.pay("h", DEBT, invoice.bolt11, AMOUNT)
        gate = wallet.gate = asyncio.Event()
        early = asyncio.create_task(customer.check("h"))
        await asyncio.sleep(0)
        await provider.settle("h", preimage)
        assert (await customer.check("h")).outcome.state is S.SETTLED
        gate.set()
        assert (await early).outcome.state is S.SETTLED

    run(tmp_path, check)


def test_lock_that_ran_out_is_told_to_both(tmp_path: Path) -> None:
    async def check(town: Town) -> None:
        customer, provider = town.make_cashier(), town.make_cashier(town.provider)
        preimage, payment_hash = make_preimage()
        invoice = await provider.ask_hold("h", DEBT, AMOUNT, payment_hash)
        await customer.pay("h", DEBT, invoice.bolt11, AMOUNT)
        await town.clock.pass_time(LOCK_S)
        assert (await provider.settle("h", preimage)).outcome.state is S.EXPIRED
        assert (await customer.check("h")).outcome.state is S.EXPIRED
        assert town.get_spent() == 0

    run(tmp_path, check)


def test_asked_twice_is_asked_once(tmp_path: Path) -> None:
    async def check(town: Town) -> None:
        store = MemoryIntents()
        provider = town.make_cashier(town.provider, store)
        preimage, payment_hash = make_preimage()
        invoice = await provider.ask("k", DEBT, AMOUNT, preimage=preimage, expiry_s=60)
        assert invoice.payment_hash == payment_hash
        assert await provider.ask("k", DEBT, AMOUNT, preimage=preimage, expiry_s=60) == invoice
        await refuse(provider.ask("k", DEBT, AMOUNT + 1, preimage=preimage))
        await refuse(provider.ask("k", DEBT, AMOUNT, preimage=make_preimage()[0]), "LOCK_DIFFERS")
        await town.customer.pay("x", invoice.bolt11, AMOUNT)
        received = await provider.check("k")
        assert received.outcome.state is S.SETTLED
        assert received.intent.is_incoming and received.intent.action is Action.ASK
        await provider.ask("l", replace(DEBT, round=2), AMOUNT, expiry_s=60)
        await town.clock.pass_time(60 + GRACE_S)
        assert await provider.resolve_open() == []

    run(tmp_path, check)


def test_silent_wallet_does_not_stop_its_member(tmp_path: Path) -> None:
    class Silent(EmbeddedWallet):
        async def pay(self, *asked: object, **more: object) -> Payment:
            await super().pay(*asked, **more)
            await asyncio.sleep(3_600)
            raise AssertionError

    async def check(town: Town) -> None:
        cashier = town.make_cashier(Silent(town.bank, "customer"))
        cashier._answer_s = 0.05
        invoice = await town.provider.make_invoice("a", AMOUNT)
        done = await cashier.pay("p", DEBT, invoice.bolt11, AMOUNT)
        assert done.outcome.state is S.SETTLED

    run(tmp_path, check)


def test_unknown_key_is_an_input_error(tmp_path: Path) -> None:
    async def check(town: Town) -> None:
        with pytest.raises(InputError):
            await town.make_cashier().check("nothing")
        await refuse(town.make_cashier().settle("nothing", "11" * 32), "NOT_FOUND")

    run(tmp_path, check)


def test_a_payment_is_not_begun_after_its_time(tmp_path: Path) -> None:
    async def check(town: Town) -> None:
        store = MemoryIntents()
        cashier = town.make_cashier(store=store)
        invoice = await town.provider.make_invoice("a", AMOUNT)
        last_s = town.clock.now_s
        await town.clock.pass_time(1)
        asked = cashier.pay("p", DEBT, invoice.bolt11, AMOUNT, begin_by_s=last_s)
        await refuse(asked, "TOO_LATE")
        assert store.list_all() == [] and town.get_spent() == 0
        done = await cashier.pay("p", DEBT, invoice.bolt11, AMOUNT, begin_by_s=town.clock.now_s)
        assert done.outcome.state is S.SETTLED, "its last second is in time"

    run(tmp_path, check)


class Silent(EmbeddedWallet):
    """Loses every request to pay, or only what it answers."""

    asked = 0
    hears = False

    async def pay(self, *asked: object, **more: object) -> Payment:
        self.asked += 1
        if self.hears:
            await super().pay(*asked, **more)
        raise WalletError("INTERNAL", "no answer", is_retriable=True)


def test_a_wallet_that_slept_is_not_asked_again_after_the_time(tmp_path: Path) -> None:
    """It would pay, hours later, for a key that nobody can use any more."""

    async def check(town: Town) -> None:
        wallet = Silent(town.bank, "customer")
        cashier = town.make_cashier(wallet)
        invoice = await town.provider.make_invoice("a", AMOUNT, expiry_s=600)
        last_s = town.clock.now_s + 10

        async def ask() -> PaymentState:
            paid = await cashier.pay("p", DEBT, invoice.bolt11, AMOUNT, begin_by_s=last_s)
            return paid.outcome.state

        assert await ask() is S.PENDING and await ask() is S.PENDING
        assert wallet.asked == 2
        await town.clock.pass_time(11)
        wallet.hears = True
        assert await ask() is S.PENDING, "an earlier request may still be on its way"
        assert wallet.asked == 2 and town.get_spent() == 0
        await town.clock.pass_time(600 + GRACE_S)
        assert await ask() is S.EXPIRED
        assert wallet.asked == 2 and town.get_spent() == 0

    run(tmp_path, check)


def test_what_a_wallet_has_begun_is_followed_after_the_time(tmp_path: Path) -> None:
    async def check(town: Town) -> None:
        held = await town.provider.make_hold_invoice("a", AMOUNT, "11" * 32, expiry_s=600)
        cashier = town.make_cashier()
        last_s = town.clock.now_s

        async def ask() -> PaymentState:
            paid = await cashier.pay("p", DEBT, held.bolt11, AMOUNT, begin_by_s=last_s)
            return paid.outcome.state

        assert await ask() is S.ACCEPTED
        await town.clock.pass_time(60)
        assert await ask() is S.ACCEPTED
        await town.provider.cancel("11" * 32)
        assert await ask() is S.CANCELED

    run(tmp_path, check)

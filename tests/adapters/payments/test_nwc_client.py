"""The NIP-47 client at a wallet and relays that lose, forge, lie and fall silent."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

import pytest
from tests.adapters.payments.nwc_faults import (
    CLIENT,
    THIEF,
    WALLET,
    MemoryRelays,
    ScriptedWallet,
    make_invoice,
    open_client,
    outgoing,
)

from kumiai.adapters.payments import nwc_link
from kumiai.adapters.payments.nwc import NwcWallet
from kumiai.base.events import Event
from kumiai.market.nips import nip44, nip47
from kumiai.market.nips.drafts import Draft
from kumiai.market.nips.nip47 import Direction, ErrorCode, Fault, State, Transaction
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import PaymentState

PENDING, SETTLED = PaymentState.PENDING, PaymentState.SETTLED
Scene = Callable[[ScriptedWallet, NwcWallet, MemoryRelays], Awaitable[None]]


def play(scene: Scene) -> None:
    async def inside() -> None:
        relays = MemoryRelays()
        wallet, client = ScriptedWallet(relays), open_client(relays)
        await asyncio.sleep(0)
        try:
            await scene(wallet, client, relays)
        finally:
            await client.close()
            await wallet.stop()

    asyncio.run(inside())


@pytest.mark.parametrize("is_careless", [False, True], ids=["relays sort", "relays do not sort"])
def test_forged_answers_are_dropped(*, is_careless: bool) -> None:
    async def scene(wallet: ScriptedWallet, client: NwcWallet, relays: MemoryRelays) -> None:
        relays.is_careless = is_careless
        text, payment_hash, preimage = make_invoice()

        async def forge() -> None:
            """A thief that saw the request answers first, again and again."""
            for _ in range(20):
                await asyncio.sleep(0.02)
                for event, request in list(wallet.requests):
                    await wallet.answer(event, request, nip47.Paid(preimage), THIEF)
                    told = outgoing(payment_hash, State.SETTLED, preimage)
                    await wallet.answer(event, nip47.LookupInvoice(payment_hash), told, THIEF)

        wallet.on["pay_invoice"] = None
        forger = asyncio.create_task(forge())
        paid = await client.pay("p", text, 5_000)
        await forger
        assert paid.state is PENDING and paid.preimage is None
        assert await client.lookup(payment_hash, is_incoming=False) is None

    play(scene)


def test_replayed_answers_of_other_requests_are_dropped() -> None:
    async def scene(wallet: ScriptedWallet, client: NwcWallet, relays: MemoryRelays) -> None:
        first, _, preimage = make_invoice()
        wallet.on["pay_invoice"] = nip47.Paid(preimage)
        assert (await client.pay("p1", first, 5_000)).state is SETTLED
        old = [event for event in relays.published if event.kind == nip47.RESPONSE_KIND]
        second, _, _ = make_invoice()
        wallet.on["pay_invoice"] = None
        paying = asyncio.create_task(client.pay("p2", second, 5_000))
        for _ in range(5):
            await asyncio.sleep(0.05)
            for event in old:
                await relays.publish(event)
        assert (await paying).state is PENDING

    play(scene)


def test_paid_with_a_preimage_of_something_else_is_not_settled() -> None:
    async def scene(wallet: ScriptedWallet, client: NwcWallet, relays: MemoryRelays) -> None:
        text, payment_hash, _ = make_invoice()
        wallet.on["pay_invoice"] = nip47.Paid("ab" * 32)
        assert (await client.pay("p", text, 5_000)).state is PENDING
        for state in (State.SETTLED, None):
            wallet.on["lookup_invoice"] = outgoing(payment_hash, state, "ab" * 32)
            found = await client.lookup(payment_hash, is_incoming=False)
            assert found is not None and found.state is PENDING and found.preimage is None

    play(scene)


def test_lost_answer_is_looked_up_and_nothing_is_sent_twice_also_after_a_restart() -> None:
    async def scene(wallet: ScriptedWallet, client: NwcWallet, relays: MemoryRelays) -> None:
        text, payment_hash, preimage = make_invoice()

        def move(request: nip47.Request) -> None:
            wallet.on["lookup_invoice"] = outgoing(payment_hash, State.SETTLED, preimage)

        wallet.on["pay_invoice"] = move  # the money moves, no answer comes
        paid = await client.pay("p", text, 5_000)
        assert paid.state is SETTLED and paid.preimage == preimage
        again = open_client(relays)
        assert (await again.pay("p", text, 5_000)).state is SETTLED
        await again.close()
        assert (await client.pay("p", text, 5_000)).state is SETTLED
        assert wallet.count("pay_invoice") == 1

    play(scene)


def test_silence_is_pending_and_the_same_key_tries_again() -> None:
    async def scene(wallet: ScriptedWallet, client: NwcWallet, relays: MemoryRelays) -> None:
        text, payment_hash, preimage = make_invoice()
        wallet.on["pay_invoice"] = None
        assert (await client.pay("p", text, 5_000)).state is PENDING
        other, _, _ = make_invoice()
        with pytest.raises(WalletError, match="ALREADY_PAID"):
            await client.pay("p", other, 5_000)
        wallet.on["lookup_invoice"] = None  # now it is not even known whether it is known
        patience_s, client._link.answer_s = client._link.answer_s, 0.1
        with pytest.raises(WalletError) as caught:
            await client.pay("p", text, 5_000)
        client._link.answer_s = patience_s
        assert caught.value.is_retriable and wallet.count("pay_invoice") == 1
        wallet.on["lookup_invoice"] = outgoing(payment_hash, State.PENDING)
        assert (await client.pay("p", text, 5_000)).state is PENDING
        assert wallet.count("pay_invoice") == 1, "it is under way: not sent again"
        wallet.on["lookup_invoice"] = Fault(ErrorCode.NOT_FOUND)
        wallet.on["pay_invoice"] = nip47.Paid(preimage)
        assert (await client.pay("p", text, 5_000)).state is SETTLED

    play(scene)


def test_a_request_that_a_relay_lost_is_sent_again_as_the_same_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nwc_link, "RESEND_S", 0.05)

    async def scene(wallet: ScriptedWallet, client: NwcWallet, relays: MemoryRelays) -> None:
        relays.lost = 1
        assert (await client.get_balance()).spendable_msat == 1_000_000
        asked = [event for event in relays.published if event.kind == nip47.REQUEST_KIND]
        assert asked[0].id == asked[1].id, "the wallet can tell that it is one request"
        text, _, preimage = make_invoice()
        wallet.on["pay_invoice"] = nip47.Paid(preimage)
        relays.lost = 0
        assert (await client.pay("p", text, 5_000)).state is SETTLED

    play(scene)


def test_refusals_are_sorted_by_what_may_have_moved() -> None:
    async def scene(wallet: ScriptedWallet, client: NwcWallet, relays: MemoryRelays) -> None:
        text, payment_hash, _ = make_invoice()
        for code, is_retriable in (
            (ErrorCode.INSUFFICIENT_BALANCE, False),
            (ErrorCode.QUOTA_EXCEEDED, False),
            (ErrorCode.RATE_LIMITED, True),
            (ErrorCode.UNAUTHORIZED, False),
            (ErrorCode.PAYMENT_FAILED, False),  # and the wallet knows of no payment
            (ErrorCode.OTHER, False),
        ):
            wallet.on["pay_invoice"] = Fault(code, "no")
            with pytest.raises(WalletError) as caught:
                await client.pay("p", text, 5_000)
            assert (caught.value.code, caught.value.is_retriable) == (code.value, is_retriable)

        def begin(request: nip47.Request) -> Fault:
            wallet.on["lookup_invoice"] = outgoing(payment_hash, State.PENDING)
            return Fault(ErrorCode.OTHER, "took too long")

        wallet.on["pay_invoice"] = begin
        assert (await client.pay("p", text, 5_000)).state is PENDING

        def begin_and_fall_silent(request: nip47.Request) -> Fault:
            wallet.on["lookup_invoice"], client._link.answer_s = None, 0.1
            return Fault(ErrorCode.PAYMENT_FAILED, "no route")

        wallet.on["lookup_invoice"] = Fault(ErrorCode.NOT_FOUND)
        wallet.on["pay_invoice"] = begin_and_fall_silent
        assert (await client.pay("p", text, 5_000)).state is PENDING

    play(scene)


def test_a_failed_payment_is_not_tried_again_under_another_key() -> None:
    async def scene(wallet: ScriptedWallet, client: NwcWallet, relays: MemoryRelays) -> None:
        text, payment_hash, _ = make_invoice()

        def fail(request: nip47.Request) -> Fault:
            wallet.on["lookup_invoice"] = outgoing(payment_hash, State.FAILED)
            return Fault(ErrorCode.PAYMENT_FAILED, "no route")

        wallet.on["pay_invoice"] = fail
        for _ in range(2):
            assert (await client.pay("p", text, 5_000)).state is PaymentState.FAILED
        with pytest.raises(WalletError, match="PAYMENT_FAILED"):
            await client.pay("q", text, 5_000)
        assert wallet.count("pay_invoice") == 1

    play(scene)


def test_lies_about_invoices_and_payments_are_errors() -> None:
    async def scene(wallet: ScriptedWallet, client: NwcWallet, relays: MemoryRelays) -> None:
        text, payment_hash, preimage = make_invoice(6_000)
        for told, code in (
            (Transaction(payment_hash, 5_000, invoice=text), "AMOUNT_DIFFERS"),
            (Transaction("77" * 32, 6_000, invoice=text), "INTERNAL"),
            (Transaction(payment_hash, 6_000, invoice=text[:-2]), "INTERNAL"),
            (Transaction(payment_hash, 6_000), "INTERNAL"),
            (nip47.Paid(preimage), None),  # of another method: not even read
        ):
            wallet.on["make_invoice"] = told
            with pytest.raises(WalletError) as caught:
                await client.make_invoice("k", 5_000)
            assert code in (None, caught.value.code)
        wallet.on["make_hold_invoice"] = Transaction(payment_hash, 6_000, invoice=text)
        with pytest.raises(WalletError):
            await client.make_hold_invoice("h", 6_000, "88" * 32)
        good = outgoing(payment_hash, State.SETTLED, preimage)
        for told in (
            dataclasses.replace(good, payment_hash="99" * 32),
            dataclasses.replace(good, direction=None),
        ):
            wallet.on["lookup_invoice"] = told
            with pytest.raises(WalletError, match="INTERNAL"):
                await client.lookup(payment_hash, is_incoming=False)
        wallet.on["lookup_invoice"] = dataclasses.replace(good, direction=Direction.INCOMING)
        assert await client.lookup(payment_hash, is_incoming=False) is None
        with pytest.raises(WalletError, match="own invoice"):
            await client.pay("p", text, 6_000)

    play(scene)


def test_answers_that_are_no_answers_end_the_waiting_with_an_error() -> None:
    async def scene(wallet: ScriptedWallet, client: NwcWallet, relays: MemoryRelays) -> None:
        contents = (
            "", "hello", "a?iv=b", "AAAA" * 100, "[]", "{}", '{"result_type":"pay_invoice"}',
            '{"result_type":"get_balance","result":{"balance":-1}}',
            '{"result_type":"get_balance","result":{"balance":1e400}}',
            '{"result_type":"get_balance","error":[]}', "[" * 3_000, "1" * 6_000,
        )  # fmt: skip
        for is_encrypted in (False, True):
            for content in contents:
                if is_encrypted and not content:
                    continue

                def reply(event: Event, content: str = content, wrap: bool = is_encrypted) -> Draft:
                    nonce = b"\x05" * 32
                    text = nip44.encrypt(WALLET, CLIENT.pubkey, content, nonce) if wrap else content
                    tags = (("p", CLIENT.pubkey), ("e", event.id))
                    return Draft(nip47.RESPONSE_KIND, tags, text)

                wallet.raw = reply
                with pytest.raises(WalletError, match="INTERNAL") as caught:
                    await client.get_balance()
                assert caught.value.is_retriable
        wallet.raw = None
        assert (await client.get_balance()).spendable_msat == 1_000_000

    play(scene)


def test_wallet_of_the_old_encryption_is_refused_by_name() -> None:
    async def scene(wallet: ScriptedWallet, client: NwcWallet, relays: MemoryRelays) -> None:
        await wallet.announce(nip47.Info(("pay_invoice",), (), ("nip04",)))
        with pytest.raises(WalletError, match="NIP-04"):
            await client.get_info()
        hold = ("make_hold_invoice", "settle_hold_invoice", "cancel_hold_invoice")
        for methods, has_hold in ((hold, True), (hold[:2], False)):
            wallet.on["get_info"] = nip47.NodeInfo(methods)
            relays.published.clear()
            assert (await client.get_info()).has_hold is has_hold

    play(scene)


def test_notifications_are_hints_of_the_wallet_alone() -> None:
    async def scene(wallet: ScriptedWallet, client: NwcWallet, relays: MemoryRelays) -> None:
        relays.is_careless = True
        _, payment_hash, preimage = make_invoice()
        _, other_hash, _ = make_invoice()
        waiting = asyncio.create_task(client.wait_change())
        await asyncio.sleep(0.05)
        told = Transaction(
            payment_hash, 5_000, Direction.INCOMING, State.SETTLED, preimage=preimage
        )
        stolen = dataclasses.replace(told, payment_hash=other_hash)
        await wallet.tell("payment_received", stolen, THIEF)
        await wallet.tell("payment_received", told)
        assert await asyncio.wait_for(waiting, 120) == payment_hash
        assert await client.lookup(payment_hash, is_incoming=True) is None, "a hint, no evidence"

    play(scene)


def test_relays_that_are_down_are_retriable_before_anything_is_sent() -> None:
    async def scene(wallet: ScriptedWallet, client: NwcWallet, relays: MemoryRelays) -> None:
        text, _, preimage = make_invoice()
        wallet.on["pay_invoice"] = nip47.Paid(preimage)
        relays.is_down = True
        for call in (client.pay("p", text, 5_000), client.get_balance(), client.get_info()):
            with pytest.raises(WalletError) as caught:
                await call
            assert caught.value.is_retriable
        relays.is_down = False
        assert (await client.pay("p", text, 5_000)).state is SETTLED
        assert CLIENT.secret.hex() not in repr(client)

    play(scene)

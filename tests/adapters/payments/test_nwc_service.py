"""The NIP-47 service over a real relay: who may ask what, how much may leave, and once each."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.adapters.payments.nwc_world import SEED, Clock, NwcWorld, open_nwc_world

from kumiai.adapters.nostr.relays import Relays
from kumiai.adapters.payments.checks import compute_payment_hash
from kumiai.adapters.payments.nwc_budget import NwcBudgets
from kumiai.adapters.payments.nwc_desk import METHODS, Grant
from kumiai.adapters.payments.nwc_service import AGE_S, NwcService
from kumiai.adapters.payments.open import open_wallet
from kumiai.base.errors import InputError
from kumiai.base.events import Event
from kumiai.base.keys import SigningKey, derive_key
from kumiai.market.nips import nip47
from kumiai.market.nips.drafts import sign_draft
from kumiai.market.nips.nip01 import Filter
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import PaymentState

SETTLED = PaymentState.SETTLED
FUNDED_MSAT = 10_000_000


def play(folder: Path, scene: Callable[[NwcWorld], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with open_nwc_world(folder, FUNDED_MSAT) as world:
            await scene(world)

    asyncio.run(inside())


class RawClient:
    """Sends request events as they are, and keeps every answer."""

    def __init__(self, line: nip47.Connection, relays: Relays, clock: Clock) -> None:
        self.line, self.relays, self.clock = line, relays, clock
        self.answers: list[Event] = []
        self._stream = relays.subscribe(
            [Filter(kinds=(nip47.RESPONSE_KIND,), authors=(line.wallet,))]
        )
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self._stream:
            self.answers.append(event)

    def sign(
        self,
        request: nip47.Request,
        *,
        key: SigningKey | None = None,
        age_s: int = 0,
        expires_in_s: int | None = 60,
    ) -> Event:
        key, now_s = key or self.line.key, self.clock()
        expires_at_s = None if expires_in_s is None else now_s + expires_in_s
        nonce = secrets.token_bytes(32)
        draft = nip47.encode_request(key, self.line.wallet, request, nonce, expires_at_s)
        return sign_draft(key, draft, now_s - age_s)

    async def send(self, event: Event) -> None:
        await self._stream.wait_ready()
        await self.relays.publish(event)

    async def wait_answer(self, event: Event, count: int = 1) -> list[nip47.Result | nip47.Fault]:
        for _ in range(6_000):
            mine = [it for it in self.answers if ("e", event.id) in it.tags]
            if len(mine) >= count:
                return [
                    nip47.decode_response(self.line.key, self.line.wallet, event, it) for it in mine
                ]
            await asyncio.sleep(0.02)
        raise AssertionError("no answer")

    async def close(self) -> None:
        await self._stream.aclose()
        await self._task


async def open_raw(world: NwcWorld, line: nip47.Connection) -> RawClient:
    client = RawClient(line, await world.open_relays(), world.clock)
    world.stack.push_async_callback(client.close)
    return client


def test_budget_holds_with_many_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async def scene(world: NwcWorld) -> None:
        grant = Grant("shop", budget_msat=30_000)
        (line,) = await world.serve("payer", grant)
        shop = await world.open_wallet(line)
        asked = [await world.payee.make_invoice(f"i{n}", 10_000) for n in range(6)]
        paid = await asyncio.gather(
            *(shop.pay(f"p{n}", it.bolt11, 10_000) for n, it in enumerate(asked)),
            return_exceptions=True,
        )
        settled = [it for it in paid if not isinstance(it, BaseException)]
        refused = [it for it in paid if isinstance(it, WalletError)]
        assert len(settled) == len(refused) == 3
        assert {it.state for it in settled} == {SETTLED}
        assert {it.code for it in refused} == {"QUOTA_EXCEEDED"}
        await world.services["payer"].close()
        (again,) = await world.serve("payer", grant)
        assert again.key.secret == line.key.secret, "the same connection after a restart"
        one_more = await world.payee.make_invoice("more", 1)
        with pytest.raises(WalletError, match="QUOTA_EXCEEDED"):
            await shop.pay("more", one_more.bolt11, 1)
        assert (await world.payee.get_balance()).spendable_msat == 30_000
        assert world.budgets.get_spent("shop") == 30_000
        assert world.budgets.get_spent("main payer") == 0, "each connection has its own"

    play(tmp_path, scene)


def test_what_did_not_move_gives_its_budget_back(tmp_path: Path) -> None:
    async def scene(world: NwcWorld) -> None:
        (line,) = await world.serve("payer", Grant("shop", budget_msat=20_000_000))
        shop = await world.open_wallet(line)
        dear = await world.payee.make_invoice("dear", FUNDED_MSAT + 1)
        with pytest.raises(WalletError, match="INSUFFICIENT_BALANCE"):
            await shop.pay("dear", dear.bolt11, FUNDED_MSAT + 1)
        assert world.budgets.get_spent("shop") == 0
        hold = await world.payee.make_hold_invoice("h", 5_000, "ab" * 32)
        locked = await shop.pay("h", hold.bolt11, 5_000)
        assert locked.state is PaymentState.ACCEPTED
        assert world.budgets.get_spent("shop") == 5_000
        await world.payee.cancel(hold.payment_hash)
        for _ in range(2_400):
            if world.budgets.get_spent("shop") == 0:
                break
            await asyncio.sleep(0.05)
        assert world.budgets.get_spent("shop") == 0
        invoice = await world.payee.make_invoice("a", 7_000)
        await world.payer.pay("a", invoice.bolt11, 7_000)  # over the other connection
        with pytest.raises(WalletError):
            await shop_that_forgot(await world.open_wallet(line), invoice.bolt11)
        assert world.budgets.get_spent("shop") == 0

    async def shop_that_forgot(shop: object, text: str) -> None:
        """The client finds it paid and says so; the request itself is refused as well."""
        found = await shop.pay("x", text, 7_000)  # type: ignore[attr-defined]
        assert found.state is SETTLED
        raise WalletError("ALREADY_PAID", "as the wallet's history tells")

    play(tmp_path, scene)


def test_requests_of_others_old_and_expired_ones_are_not_done(tmp_path: Path) -> None:
    async def scene(world: NwcWorld) -> None:
        raw = await open_raw(world, world.lines["payer"])
        invoice = await world.payee.make_invoice("a", 5_000)
        pay = nip47.PayInvoice(invoice.bolt11)
        thief = derive_key(SEED, "thief")
        other_line = world.lines["payee"].key
        for event in (
            raw.sign(pay, key=thief),
            raw.sign(pay, key=other_line),
            raw.sign(pay, age_s=AGE_S + 60, expires_in_s=None),
            raw.sign(pay, age_s=-AGE_S - 60, expires_in_s=None),
        ):
            await raw.send(event)
        for service in world.services.values():  # a relay that does not know expiration
            await service._take(raw.sign(pay, age_s=30, expires_in_s=-1))
            await service._take(raw.sign(pay, key=thief))  # nor one that hands out anybody's
        good = raw.sign(nip47.GetBalance())
        await raw.send(good)
        (told,) = await raw.wait_answer(good)
        assert told == nip47.WalletBalance(FUNDED_MSAT)
        await asyncio.sleep(0.3)
        assert len(raw.answers) == 1, "the others got no answer"
        assert (await world.payee.get_balance()).spendable_msat == 0

    play(tmp_path, scene)


def test_a_request_that_comes_again_is_answered_from_memory(tmp_path: Path) -> None:
    async def scene(world: NwcWorld) -> None:
        service = world.services["payee"]
        raw = await open_raw(world, world.lines["payee"])
        event = raw.sign(nip47.MakeInvoice(5_000, "once"))
        for count in (1, 2, 3):
            await (raw.send(event) if count == 1 else service._take(event))
            await asyncio.sleep(0.05)
        answers = await raw.wait_answer(event)
        assert len({it.id for it in raw.answers}) == len(answers) == 1, "the same signed answer"
        assert isinstance(answers[0], nip47.Transaction)
        kept = world.bank.get_invoice("payee", key=f"nwc/main payee/{event.id}")
        assert kept.payment_hash == answers[0].payment_hash

        payer = await open_raw(world, world.lines["payer"])
        invoice = await world.payee.make_invoice("a", 5_000)
        pay = payer.sign(nip47.PayInvoice(invoice.bolt11))
        await payer.send(pay)
        (paid,) = await payer.wait_answer(pay)
        assert isinstance(paid, nip47.Paid)
        await world.services["payer"].close()
        await world.serve("payer", Grant("main payer"))  # it remembers no answers
        await world.services["payer"]._take(pay)
        twice = await payer.wait_answer(pay, count=2)
        assert twice == [paid, paid], "done again, moved once"
        assert (await world.payer.get_balance()).spendable_msat == FUNDED_MSAT - 5_000

    play(tmp_path, scene)


def test_a_connection_may_do_what_was_granted_and_no_more(tmp_path: Path) -> None:
    async def scene(world: NwcWorld) -> None:
        only = ("make_invoice", "lookup_invoice", "get_info")
        (line,) = await world.serve("payee", Grant("till", methods=only))
        till = await world.open_wallet(line)
        assert not (await till.get_info()).has_hold
        invoice = await till.make_invoice("a", 5_000)
        assert await till.lookup(invoice.payment_hash, is_incoming=True) is not None
        for call in (
            till.get_balance(),
            till.list_payments(),
            till.make_hold_invoice("h", 5_000, "ab" * 32),
            till.settle("cd" * 32),
        ):
            with pytest.raises(WalletError, match="RESTRICTED"):
                await call
        raw = await open_raw(world, line)
        for request in (nip47.PayKeysend(1, "02" + "11" * 32), nip47.GetBalance()):
            event = raw.sign(request)
            await raw.send(event)
            (told,) = await raw.wait_answer(event)
            assert isinstance(told, nip47.Fault)
            assert told.code in {nip47.ErrorCode.NOT_IMPLEMENTED, nip47.ErrorCode.RESTRICTED}
        assert set(METHODS) > set(only)

    play(tmp_path, scene)


def test_each_connection_has_keys_of_its_own(tmp_path: Path) -> None:
    relays, budgets = object(), NwcBudgets(tmp_path / "nwc.db")
    service = NwcService(object(), relays, ["wss://r.example"], SEED, budgets)  # type: ignore[arg-type]
    one, two = service.add_connection(Grant("one")), service.add_connection(Grant("two"))
    keys = {one.wallet, two.wallet, one.key.pubkey, two.key.pubkey}
    assert len(keys) == 4
    assert nip47.parse_uri(nip47.encode_uri(one)) == one
    other = NwcService(object(), relays, ["wss://r.example"], SEED, budgets)  # type: ignore[arg-type]
    assert other.add_connection(Grant("one")) == one
    budgets.close()


def test_the_service_tells_of_money_that_came_and_that_is_locked(tmp_path: Path) -> None:
    async def scene(world: NwcWorld) -> None:
        invoice = await world.payee.make_invoice("a", 5_000)
        hold = await world.payee.make_hold_invoice("h", 6_000, "ab" * 32)
        waiting = asyncio.create_task(world.payee.wait_change())
        await asyncio.sleep(0.05)
        await world.payer.pay("p", invoice.bolt11, 5_000)
        assert await asyncio.wait_for(waiting, 120) == invoice.payment_hash
        waiting = asyncio.create_task(world.payee.wait_change())
        locked = await world.payer.pay("h", hold.bolt11, 6_000)
        assert locked.state is PaymentState.ACCEPTED
        assert await asyncio.wait_for(waiting, 120) == hold.payment_hash
        seen = await world.payee.lookup(hold.payment_hash, is_incoming=True)
        assert seen is not None and seen.state is PaymentState.ACCEPTED
        await world.payee.cancel(hold.payment_hash)

    play(tmp_path, scene)


def test_history_longer_than_a_page_is_told_whole(tmp_path: Path) -> None:
    async def scene(world: NwcWorld) -> None:
        text = "x" * 600
        made = [await world.payee.make_invoice(f"i{n}", 1_000 + n, text) for n in range(45)]
        await world.payee.make_invoice("unpaid", 1_000)
        paying = (world.payer.pay(f"p{n}", it.bolt11, 1_000 + n) for n, it in enumerate(made))
        await asyncio.gather(*paying)
        for wallet, others in ((world.payer, 1), (world.payee, 0)):  # 1: the funding
            told = await wallet.list_payments()
            assert {it.payment_hash for it in told} >= {it.payment_hash for it in made}
            assert len(told) == len(made) + others

    play(tmp_path, scene)


def test_open_by_name(tmp_path: Path) -> None:
    async def scene(world: NwcWorld) -> None:
        text = nip47.encode_uri(world.lines["payer"])
        file = tmp_path / "nwc.txt"
        file.write_text(text + "\n")
        for name in (text, f"nwc:{file}"):
            wallet = await open_wallet(name)
            assert (await wallet.get_info()).kind == "nwc"
            assert (await wallet.get_balance()).spendable_msat == FUNDED_MSAT
            await wallet.close()
        secret = world.lines["payer"].key.secret.hex()
        with pytest.raises(InputError) as caught:
            await open_wallet(text.replace("relay=", "r="))
        assert secret not in str(caught.value)

    play(tmp_path, scene)


def test_locked_payments_do_not_keep_others_from_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hold payment is answered when it ends, which takes as long as its job."""
    monkeypatch.setattr("kumiai.adapters.payments.nwc_service.UNDER_WAY_MAX", 4)

    async def scene(world: NwcWorld) -> None:
        preimages = [f"{number:064x}" for number in range(12)]
        for number, preimage in enumerate(preimages):
            payment_hash = compute_payment_hash(preimage)
            hold = await world.payee.make_hold_invoice(f"h{number}", 1_000, payment_hash)
            locked = await world.payer.pay(f"p{number}", hold.bolt11, 1_000)
            assert locked.state is PaymentState.ACCEPTED
        assert (await world.payer.get_balance()).held_msat == 12_000
        for preimage in preimages:
            await world.payee.settle(preimage)
        assert (await world.payee.get_balance()).spendable_msat == 12_000

    play(tmp_path, scene)

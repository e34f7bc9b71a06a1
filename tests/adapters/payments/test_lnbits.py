"""The LNbits wallet against a real LNbits server (FakeWallet)."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.adapters.payments.nwc_faults import MemoryRelays
from tests.adapters.payments.wallet_contract import FUNDED_MSAT, WalletContract, Wallets
from tests.services.lnbits import Keys, Lnbits

from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.lnbits import LnbitsWallet
from kumiai.adapters.payments.nwc import NwcWallet
from kumiai.adapters.payments.nwc_budget import NwcBudgets
from kumiai.adapters.payments.nwc_desk import Grant
from kumiai.adapters.payments.nwc_service import NwcService
from kumiai.adapters.payments.open import open_wallet
from kumiai.base.errors import InputError
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import PaymentState

pytestmark = pytest.mark.xdist_group("lnbits")

NUMBERS = itertools.count()


@pytest.fixture
def server(lnbits_server: Lnbits) -> Lnbits:
    return lnbits_server


@dataclass
class World:
    """Alice has 100,000 sat, Bob nothing; both with fresh wallets of one server."""

    server: Lnbits
    alice_keys: Keys
    alice: LnbitsWallet
    bob: LnbitsWallet
    bob_keys: Keys


@asynccontextmanager
async def open_world(server: Lnbits, amount_sat: int = 100_000) -> AsyncIterator[World]:
    number = next(NUMBERS)
    alice = server.create_wallet(f"alice {number}", amount_sat)
    bob = server.create_wallet(f"bob {number}")
    world = World(
        server,
        alice,
        LnbitsWallet(server.url, alice.invoice, alice.admin),
        LnbitsWallet(server.url, bob.invoice, bob.admin),
        bob,
    )
    try:
        yield world
    finally:
        await world.alice.close()
        await world.bob.close()


class TestLnbitsWallet(WalletContract):
    kind = "lnbits"
    has_hold = False
    unit_msat = 1_000
    has_chosen_preimage = False

    @pytest.fixture(autouse=True)
    def _take_server(self, server: Lnbits) -> None:
        self.server = server

    @asynccontextmanager
    async def open_wallets(self, folder: Path) -> AsyncIterator[Wallets]:
        async with open_world(self.server, FUNDED_MSAT // 1_000) as world:
            yield Wallets(world.alice, world.bob, asyncio.sleep)


def test_paid_invoice_is_settled_on_both_sides_with_its_preimage(server: Lnbits) -> None:
    async def play() -> None:
        async with open_world(server) as world:
            invoice = await world.bob.make_invoice("k", 21_000, "round 1", 600)
            assert invoice.amount_msat == 21_000 and invoice.description == "round 1"
            asked = await world.bob.lookup(invoice.payment_hash, is_incoming=True)
            assert asked is not None and asked.state is PaymentState.PENDING
            assert asked.preimage is None, "LNbits shows it, but it is nobody's yet"
            paid = await world.alice.pay("p", invoice.bolt11, 21_000, invoice.payee)
            assert paid.state is PaymentState.SETTLED and not paid.is_incoming
            assert paid.preimage is not None
            preimage = bytes.fromhex(paid.preimage)
            assert hashlib.sha256(preimage).hexdigest() == invoice.payment_hash
            got = await world.bob.lookup(invoice.payment_hash, is_incoming=True)
            assert got is not None and got.state is PaymentState.SETTLED
            assert got.preimage == paid.preimage and got.amount_msat == 21_000
            assert (await world.alice.get_balance()).spendable_msat == 99_979_000
            assert (await world.bob.get_balance()).spendable_msat == 21_000
            assert [p.payment_hash for p in await world.bob.list_payments()] == [
                invoice.payment_hash
            ]

    asyncio.run(play())


def test_same_key_gives_one_invoice_and_one_payment_also_after_a_restart(server: Lnbits) -> None:
    async def play() -> None:
        async with open_world(server) as world:
            made = await asyncio.gather(*(world.bob.make_invoice("k", 5_000) for _ in range(4)))
            again = LnbitsWallet(server.url, world.bob_keys.invoice)  # a process that knows nothing
            assert {i.bolt11 for i in made} == {(await again.make_invoice("k", 5_000)).bolt11}
            await again.close()
            paid = await asyncio.gather(
                *(world.alice.pay("p", made[0].bolt11, 5_000) for _ in range(4))
            )
            again = LnbitsWallet(server.url, admin_key=world.alice_keys.admin)
            paid.append(await again.pay("p", made[0].bolt11, 5_000))
            await again.close()
            assert {p.state for p in paid} == {PaymentState.SETTLED}
            assert (await world.alice.get_balance()).spendable_msat == 99_995_000
            with pytest.raises(WalletError, match="ALREADY_PAID"):
                await world.alice.pay("another key", made[0].bolt11, 5_000)
            other = await world.bob.make_invoice("k2", 5_000)
            with pytest.raises(WalletError, match="ALREADY_PAID"):
                await world.alice.pay("p", other.bolt11, 5_000)
            with pytest.raises(WalletError, match="AMOUNT_DIFFERS"):
                await world.bob.make_invoice("k", 6_000)

    asyncio.run(play())


def test_two_processes_that_pay_at_once_pay_once(server: Lnbits) -> None:
    async def play() -> None:
        async with open_world(server) as world:
            invoice = await world.bob.make_invoice("k", 5_000)
            keys = world.alice_keys
            others = [LnbitsWallet(server.url, keys.invoice, keys.admin) for _ in range(3)]
            paid = await asyncio.gather(*(w.pay("p", invoice.bolt11, 5_000) for w in others))
            for wallet in others:
                await wallet.close()
            assert {p.state for p in paid} <= {PaymentState.SETTLED, PaymentState.PENDING}
            assert (await world.alice.get_balance()).spendable_msat == 99_995_000
            found = await world.alice.lookup(invoice.payment_hash, is_incoming=False)
            assert found is not None and found.state is PaymentState.SETTLED

    asyncio.run(play())


def test_refused_before_anything_moves(server: Lnbits) -> None:
    async def play() -> None:
        async with open_world(server) as world:
            invoice = await world.bob.make_invoice("k", 5_000, expiry_s=1)
            stranger = "02" + "ab" * 32
            own = await world.alice.make_invoice("own", 5_000)
            dear = await world.bob.make_invoice("dear", 200_000_000)
            preimage = hashlib.sha256(b"of another node").hexdigest()
            foreign = bolt11.sign(
                b"\x07" * 32, preimage, preimage, 5_000, int(time.time()), 600, "", "bc"
            )
            refused = [
                (invoice.bolt11, 6_000, "", "AMOUNT_DIFFERS"),
                (invoice.bolt11, 5_000, stranger, "PAYEE_DIFFERS"),
                (own.bolt11, 5_000, "", "own invoice"),
                (dear.bolt11, 200_000_000, "", "INSUFFICIENT_BALANCE"),
                (foreign, 5_000, "", "fee"),
            ]
            for number, (text, amount_msat, payee, code) in enumerate(refused):
                with pytest.raises(WalletError, match=code) as caught:
                    await world.alice.pay(f"p{number}", text, amount_msat, payee)
                assert not caught.value.is_retriable
            while time.time() <= invoice.expires_at_s:
                await asyncio.sleep(0.1)
            with pytest.raises(WalletError, match="EXPIRED"):
                await world.alice.pay("late", invoice.bolt11, 5_000)
            late = await world.bob.lookup(invoice.payment_hash, is_incoming=True)
            assert late is not None and late.state is PaymentState.EXPIRED
            assert (await world.alice.get_balance()).spendable_msat == 100_000_000

    asyncio.run(play())


def test_an_invoice_that_no_node_can_reach_fails_and_the_money_stays(server: Lnbits) -> None:
    async def play() -> None:
        async with open_world(server) as world:
            payment_hash = hashlib.sha256(b"unreachable").hexdigest()
            foreign = bolt11.sign(
                b"\x07" * 32, payment_hash, "11" * 32, 5_000, int(time.time()), 600, "", "bc"
            )
            for _ in range(2):  # the second time it is found
                paid = await world.alice.pay("p", foreign, 5_000, fee_msat_max=10_000)
                assert paid.state is PaymentState.FAILED and paid.preimage is None
            assert (await world.alice.get_balance()).spendable_msat == 100_000_000
            assert (await world.alice.get_balance()).held_msat == 0

    asyncio.run(play())


def test_what_this_server_cannot_do_is_said(server: Lnbits) -> None:
    async def play() -> None:
        async with open_world(server) as world:
            info = await world.bob.get_info()
            assert info.kind == "lnbits" and info.unit_msat == 1_000 and not info.has_hold
            assert world.bob_keys.admin not in repr(info) + repr(world.bob)
            with pytest.raises(WalletError, match="NOT_IMPLEMENTED"):
                await world.bob.make_invoice("k", 5_000, preimage="11" * 32)
            with pytest.raises(WalletError, match="NOT_IMPLEMENTED"):
                await world.bob.make_hold_invoice("k", 5_000, "22" * 32)
            with pytest.raises(InputError, match="whole satoshi"):
                await world.bob.make_invoice("k", 5_001)
            invoice = await world.bob.make_invoice("k", 5_000)
            with pytest.raises(WalletError, match="NOT_IMPLEMENTED"):
                await world.bob.cancel(invoice.payment_hash)
            with pytest.raises(WalletError, match="NOT_FOUND"):
                await world.bob.settle("33" * 32)
            assert await world.bob.lookup("44" * 32, is_incoming=True) is None

    asyncio.run(play())


def test_keys_that_may_not_are_refused_and_not_shown(server: Lnbits) -> None:
    async def play() -> None:
        async with open_world(server) as world:
            invoice = await world.bob.make_invoice("k", 5_000)
            only_look = LnbitsWallet(server.url, world.alice_keys.invoice)
            swapped = LnbitsWallet(
                server.url, world.alice_keys.invoice, world.alice_keys.invoice
            )  # no admin key at all
            wrong = LnbitsWallet(server.url, "0" * 32, "f" * 32)
            for wallet in (only_look, swapped, wrong):
                with pytest.raises(WalletError, match="UNAUTHORIZED") as caught:
                    await wallet.pay("p", invoice.bolt11, 5_000)
                assert not caught.value.is_retriable
                for key in ("0" * 32, "f" * 32, world.alice_keys.invoice):
                    assert key not in str(caught.value)
                await wallet.close()

    asyncio.run(play())


def test_history_has_every_movement_and_adds_up_to_the_balance(server: Lnbits) -> None:
    async def play() -> None:
        async with open_world(server) as world:
            for number in range(3):
                invoice = await world.bob.make_invoice(f"k{number}", 1_000 * (number + 1))
                await world.alice.pay(f"p{number}", invoice.bolt11, 1_000 * (number + 1))
            await world.bob.make_invoice("never paid", 9_000)
            told = await world.alice.list_payments()
            [credit] = [p for p in told if p.is_incoming]
            assert len(told) == 4 and [p.created_at_s for p in told] == sorted(
                p.created_at_s for p in told
            )
            assert credit.created_at_s == told[0].created_at_s, "the operator's credit comes first"
            sums = sum(
                (1 if p.is_incoming else -1) * p.amount_msat - p.fee_msat
                for p in told
                if p.state is PaymentState.SETTLED
            )
            assert sums == (await world.alice.get_balance()).spendable_msat == 99_994_000
            assert len(await world.bob.list_payments()) == 3, "an unpaid invoice is no movement"
            assert await world.bob.list_payments(int(time.time()) + 60) == []

    asyncio.run(play())


def test_a_server_that_is_down_is_retriable_and_a_restart_forgets_nothing(
    server: Lnbits,
) -> None:
    async def play() -> None:
        async with open_world(server) as world:
            invoice = await world.bob.make_invoice("k", 5_000)
            first = await world.alice.pay("p", invoice.bolt11, 5_000)
            server.stop()
            for call in (
                world.alice.pay("p", invoice.bolt11, 5_000),
                world.bob.lookup(invoice.payment_hash, is_incoming=True),
                world.bob.make_invoice("k", 5_000),
            ):
                with pytest.raises(WalletError) as caught:
                    await call
                assert caught.value.is_retriable
            server.start()
            assert await world.alice.pay("p", invoice.bolt11, 5_000) == first
            assert (await world.bob.make_invoice("k", 5_000)).bolt11 == invoice.bolt11
            assert (await world.bob.get_balance()).spendable_msat == 5_000

    asyncio.run(play())


def test_open_by_name_with_the_key_from_outside(server: Lnbits, tmp_path: Path) -> None:
    async def play() -> None:
        keys = server.create_wallet("by name", 7)
        file = tmp_path / "key.txt"
        file.write_text(keys.admin + "\n")
        name = f"lnbits:{server.url}"
        for wallet in (
            await open_wallet(name, secret_file=file),
            await open_wallet(name, settings={"LNBITS_KEY": keys.admin}),
        ):
            assert (await wallet.get_balance()).spendable_msat == 7_000
            await wallet.close()
        with pytest.raises(InputError, match="LNBITS_KEY"):
            await open_wallet(name)

    asyncio.run(play())


def test_an_lnbits_wallet_behind_nwc(server: Lnbits, tmp_path: Path) -> None:
    """The NIP-47 service serves any wallet of the market, and lends a budget of this one."""

    async def play() -> None:
        async with open_world(server) as world:
            relays = MemoryRelays()
            with NwcBudgets(tmp_path / "nwc.db") as budgets:
                service = NwcService(
                    world.alice, relays, ["wss://r.example"], b"\x07" * 32, budgets
                )
                line = service.add_connection(Grant("lent", budget_msat=8_000))
                await service.start()
                lent = NwcWallet(line, relays)
                info = await lent.get_info()
                assert not info.has_hold and "alice" in info.name
                invoice = await world.bob.make_invoice("k", 8_000)
                for _ in range(2):
                    paid = await lent.pay("p", invoice.bolt11, 8_000)
                    assert paid.state is PaymentState.SETTLED
                more = await world.bob.make_invoice("k2", 1_000)
                with pytest.raises(WalletError, match="QUOTA_EXCEEDED"):
                    await lent.pay("p2", more.bolt11, 1_000)
                back = await lent.make_invoice("b", 3_000, "back")
                await world.bob.pay("b", back.bolt11, 3_000)
                got = await lent.lookup(back.payment_hash, is_incoming=True)
                assert got is not None and got.state is PaymentState.SETTLED
                assert (await lent.get_balance()).spendable_msat == 99_995_000
                await lent.close()
                await service.close()

    asyncio.run(play())

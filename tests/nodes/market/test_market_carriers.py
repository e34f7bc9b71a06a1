"""Carriers over real sealed files, a real bank, a wallet that fails: tried again, or failed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bolt11", reason="needs the extra `market`")

from kumiai.adapters.blobs import sealed
from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.bank import EmbeddedBank
from kumiai.adapters.payments.cashu.embedded import EmbeddedEcash
from kumiai.adapters.payments.embedded import EmbeddedWallet
from kumiai.adapters.payments.intents import MemoryIntents
from kumiai.adapters.store.local_blobs import LocalBlobs
from kumiai.base.errors import InputError, StoreError
from kumiai.base.keys import derive_key
from kumiai.market import effects as fx
from kumiai.market.terms import BlobRef
from kumiai.nodes.market import work as w
from kumiai.nodes.market.carry_blobs import BlobCarrier
from kumiai.nodes.market.carry_ecash import EcashCarrier, make_lock
from kumiai.nodes.market.carry_money import MoneyCarrier
from kumiai.nodes.market.carry_work import CustomerWork, ProviderWork
from kumiai.nodes.market.carrying import Insisting
from kumiai.nodes.market.cashier import Cashier
from kumiai.nodes.market.errors import BlobError, WalletError
from kumiai.nodes.market.patience import Patience
from kumiai.nodes.market.ports import BlobLocation

FAST = Patience(first_s=0.001, last_s=0.002)
KEY = "ab" * 32
PATIENCE_S = 120.0  # for what must happen, however busy the machine is


class Servers:
    """Blob servers in memory that refuse the first `failures` calls."""

    def __init__(self, failures: int = 0, error: BlobError | None = None) -> None:
        self.data: dict[str, bytes] = {}
        self.failures = failures
        self.error = error or BlobError("away", is_retriable=True)
        self.calls = 0

    def _fail(self) -> None:
        self.calls += 1
        if self.failures:
            self.failures -= 1
            raise self.error

    async def upload(self, path: Path, media_type: str = "", sha256: str = "") -> BlobLocation:
        self._fail()
        data = path.read_bytes()
        name = hashlib.sha256(data).hexdigest()
        assert sha256 in {"", name}
        self.data[name] = data
        return BlobLocation(name, len(data), ("http://x",))

    async def download(self, wanted: BlobLocation, path: Path, size_bytes_max: int) -> None:
        self._fail()
        if wanted.sha256 not in self.data:
            raise BlobError("nobody has it", is_retriable=True)
        path.write_bytes(self.data[wanted.sha256])


class Bench:
    def __init__(self, folder: Path, servers: Servers | None = None) -> None:
        self.now_s = 1_000
        self.local = LocalBlobs(folder)
        self.servers = servers or Servers()
        self.troubles: list[str] = []
        self.insisting = Insisting(FAST, lambda what, error: self.troubles.append(what))
        self.blobs = BlobCarrier(
            self.local,
            self.servers,  # type: ignore[arg-type]
            sealed,
            self.tick,
            self.insisting,
            ThreadPoolExecutor(1),
        )

    def tick(self) -> int:
        self.now_s += 1
        return self.now_s


def carry(carrier: Callable[..., Any], effect: Any) -> list[Any]:
    results: list[Any] = []
    asyncio.run(asyncio.wait_for(carrier(effect, results.append), PATIENCE_S))
    return results


def ref(data: bytes, size: int | None = None) -> BlobRef:
    return BlobRef(hashlib.sha256(data).hexdigest(), size or len(data), ("http://x",))


def test_a_blob_is_fetched_once_it_is_there(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Servers(3))
    bench.servers.data[ref(b"data").sha256] = b"data"
    effect = fx.Fetch("f", ref(b"data"), 10)
    assert carry(bench.blobs.fetch, effect) == [fx.Fetched("f")]
    assert bench.local.get(effect.ref.sha256, 10) == b"data"
    assert len(bench.troubles) == 3
    calls = bench.servers.calls
    assert carry(bench.blobs.fetch, effect) == [fx.Fetched("f")]
    assert bench.servers.calls == calls, "what is here is not fetched again"


@pytest.mark.parametrize(
    ("effect", "code"),
    [
        (fx.Fetch("f", ref(b"data", 11), 10), "too-big"),
        (fx.Fetch("f", BlobRef("../../x", 1), 10), "wrong-hash"),
        (fx.Fetch("f", ref(b"data"), 10, 1_005), "not-there"),
    ],
)
def test_what_cannot_be_fetched_fails_with_its_code(tmp_path: Path, effect: Any, code: str) -> None:
    bench = Bench(tmp_path)
    (failed,) = carry(bench.blobs.fetch, effect)
    assert (type(failed), failed.key, failed.code) == (fx.Failed, "f", code)


def test_a_lying_server_is_not_asked_for_ever(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Servers(1, BlobError("other bytes")))
    (failed,) = carry(bench.blobs.fetch, fx.Fetch("f", ref(b"data"), 10))
    assert failed.code == "wrong-hash"
    assert bench.servers.calls == 1


def test_sealed_stored_fetched_and_opened(tmp_path: Path) -> None:
    one, two = Bench(tmp_path / "one", Servers(2)), Bench(tmp_path / "two")
    two.blobs = BlobCarrier(
        two.local,
        one.servers,  # type: ignore[arg-type]
        sealed,
        two.tick,
        two.insisting,
        ThreadPoolExecutor(1),
    )
    blob = one.local.put(b"secret" * 1000)
    (stored,) = carry(one.blobs.store, fx.Store("s", blob, KEY))
    (again,) = carry(one.blobs.store, fx.Store("s", blob, KEY))
    assert stored == again, "a seal that is made again gives the same bytes"
    assert b"secret" not in one.servers.data[stored.ref.sha256]
    assert carry(two.blobs.fetch, fx.Fetch("f", stored.ref, 10_000)) == [fx.Fetched("f")]
    opened = fx.Unseal("u", stored.ref.sha256, KEY, 6_000)
    assert carry(two.blobs.unseal, opened) == [fx.Unsealed("u", blob, 6_000)]
    assert two.local.get(blob, 6_000) == b"secret" * 1000
    for key, size_max, code in ((KEY, 5_999, "too-big"), ("cd" * 32, 6_000, "wrong-hash")):
        (failed,) = carry(two.blobs.unseal, fx.Unseal("u", stored.ref.sha256, key, size_max))
        assert failed.code == code
    (failed,) = carry(two.blobs.unseal, fx.Unseal("u", stored.ref.sha256, "no key", 6_000))
    assert failed.code == "wrong-hash"
    assert not list((tmp_path / "two" / "partial").iterdir())


class FlakyWallet:
    """Every call fails before or after it was carried out, for a while."""

    def __init__(self, inner: EmbeddedWallet, failures: int) -> None:
        self.inner, self.failures = inner, failures

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            if self.failures:
                self.failures -= 1
                if self.failures % 2:
                    await method(*arguments, **options)
                raise WalletError("INTERNAL", "no answer", is_retriable=True)
            return await method(*arguments, **options)

        return call


class Purses:
    def __init__(self, folder: Path, failures: int = 0) -> None:
        self.bank = EmbeddedBank(folder / "bank.db")
        self.payees = {name: self.bank.add_member(name) for name in ("payer", "payee")}
        self.bank.fund("payer", 10_000)
        self.payer = self.make("payer", failures)
        self.payee = self.make("payee", failures)

    def make(self, name: str, failures: int) -> MoneyCarrier:
        wallet: Any = FlakyWallet(EmbeddedWallet(self.bank, name), failures)
        intents = MemoryIntents()
        cashier = Cashier(wallet, intents, bolt11.decode, self.bank.now_s)
        insisting = Insisting(FAST, lambda what, error: None)
        return MoneyCarrier("job", cashier, intents, insisting, FAST)

    def spendable(self, name: str) -> int:
        return self.bank.get_balance(name).spendable_msat

    def ask(self, **options: Any) -> fx.InvoiceMade:
        (made,) = carry(self.payee.make_invoice, fx.MakeInvoice("i", 700, 600, "", **options))
        assert isinstance(made, fx.InvoiceMade)
        return made

    def pay(self, made: fx.InvoiceMade, **changes: Any) -> fx.Pay:
        given = {"amount_msat": 700, "payee": self.payees["payee"], "payment_hash": "", **changes}
        return fx.Pay("p", made.bolt11, job="j", round=1, **given)


@pytest.mark.parametrize("failures", range(7))
def test_a_failing_wallet_is_asked_until_it_answers_and_pays_once(
    tmp_path: Path, failures: int
) -> None:
    purses = Purses(tmp_path, failures)
    made = purses.ask()
    for _ in range(2):  # as after a restart
        results = carry(purses.payer.pay, purses.pay(made))
        assert results[-1].state == "settled"
        assert not [one for one in results if isinstance(one, fx.Failed)]
    assert (purses.spendable("payer"), purses.spendable("payee")) == (9_300, 700)
    watched = carry(purses.payee.watch, fx.WatchInvoice("w", made.payment_hash))
    assert watched[-1].state == "settled"


@pytest.mark.parametrize(
    "changes", [{"amount_msat": 699}, {"payee": "02" + "1" * 64}, {"payment_hash": "1" * 64}]
)
def test_an_invoice_that_was_not_agreed_moves_nothing(tmp_path: Path, changes: Any) -> None:
    purses = Purses(tmp_path)
    made = purses.ask()
    (failed,) = carry(purses.payer.pay, purses.pay(made, **changes))
    assert (type(failed), failed.code) == (fx.Failed, "bad-invoice")
    assert purses.spendable("payer") == 10_000


def test_a_payment_that_comes_too_late_is_no_fault_of_its_payee(tmp_path: Path) -> None:
    purses = Purses(tmp_path)
    made = purses.ask()
    (failed,) = carry(purses.payer.pay, purses.pay(made, begin_by_s=1))
    assert (type(failed), failed.code) == (fx.Failed, "not-paid")
    assert purses.spendable("payer") == 10_000
    later = purses.pay(made, begin_by_s=purses.bank.now_s() + 1_000)
    assert carry(purses.payer.pay, later)[-1].state == "settled"


@pytest.mark.parametrize("is_taken", [True, False])
def test_held_money_is_taken_or_given_back(tmp_path: Path, is_taken: bool) -> None:
    purses = Purses(tmp_path)
    preimage = "77" * 32
    payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
    made = purses.ask(payment_hash=payment_hash)

    async def both() -> list[Any]:
        seen: list[Any] = []
        paying = asyncio.create_task(purses.payer.pay(purses.pay(made), seen.append))
        while not any(one.state == "accepted" for one in seen):
            await asyncio.sleep(0.001)
        told: list[Any] = []
        purses.payee._asked.clear()  # as after a restart: only the hash is known
        if is_taken:
            await purses.payee.settle(fx.Settle("s", preimage), told.append)
        else:
            await purses.payee.cancel(fx.CancelInvoice("c", payment_hash), told.append)
        await paying
        return [*seen, *told]

    results = asyncio.run(asyncio.wait_for(both(), PATIENCE_S))
    word = "settled" if is_taken else "canceled"
    assert [one.state for one in results if fx.is_final(one)] == [word, word]
    assert purses.spendable("payee") == (700 if is_taken else 0)
    assert purses.spendable("payer") == (9_300 if is_taken else 10_000)


@pytest.mark.parametrize("code", ["QUOTA_EXCEEDED", "INSUFFICIENT_BALANCE", "PAYMENT_FAILED"])
def test_a_limit_of_our_own_wallet_is_told_to_its_owner(tmp_path: Path, code: str) -> None:
    purses = Purses(tmp_path)
    made = purses.ask()
    cashier: Any = purses.payer.cashier

    async def refuse(*_arguments: Any, **_options: Any) -> Any:
        raise WalletError(code, "no more of it")

    cashier._wallet.pay = refuse
    told: list[tuple[str, str]] = []
    purses.payer.insisting = Insisting(FAST, lambda what, error: told.append((what, str(error))))
    [seen] = carry(purses.payer.pay, purses.pay(made))
    assert seen.state == "failed" and purses.spendable("payer") == 10_000
    is_limit = code != "PAYMENT_FAILED"
    assert told == ([("paying p", f"{code}: no more of it")] if is_limit else [])


def test_an_empty_purse_is_told_to_its_owner(tmp_path: Path) -> None:
    ecash = EmbeddedEcash(tmp_path / "bank.sqlite", derive_key(b"me", "ecash"))
    told: list[str] = []
    carrier = EcashCarrier("job", ecash, Insisting(FAST, lambda what, _: told.append(what)))
    others = [
        EmbeddedEcash(tmp_path / "bank.sqlite", derive_key(it, "ecash")) for it in (b"a", b"b")
    ]
    provider, arbiter = (it.pubkey for it in others)
    wanted = fx.LockToken("t", 1_000, provider, arbiter, 2_000_000_000, "ab" * 32)
    [failed] = carry(carrier.lock, wanted)
    assert type(failed) is fx.Failed and told == ["ecash t"]


def test_a_wallet_that_lets_us_in_no_more_says_nothing_about_the_money(tmp_path: Path) -> None:
    """A key that was withdrawn while money was locked: `Failed` would have ended the matter."""
    purses = Purses(tmp_path)
    preimage = "77" * 32
    payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
    made = purses.ask(payment_hash=payment_hash)
    shut: list[str] = []

    class Shut(FlakyWallet):
        def __getattr__(self, name: str) -> Any:
            async def refuse(*_arguments: Any, **_options: Any) -> Any:
                shut.append(name)
                raise WalletError("UNAUTHORIZED", "this key is not known any more")

            return refuse if self.failures else getattr(self.inner, name)

    async def both() -> list[Any]:
        seen: list[Any] = []
        paying = asyncio.create_task(purses.payer.pay(purses.pay(made), seen.append))
        while not any(one.state == "accepted" for one in seen):
            await asyncio.sleep(0.001)
        wallets: list[Any] = []
        for carrier in (purses.payer, purses.payee):
            cashier: Any = carrier.cashier
            cashier._wallet = Shut(cashier._wallet.inner, 1)
            wallets.append(cashier._wallet)
        settling = asyncio.create_task(purses.payee.settle(fx.Settle("s", preimage), seen.append))
        while len(shut) < 10:
            await asyncio.sleep(0.001)
        for wallet in wallets:
            wallet.failures = 0
        await asyncio.gather(paying, settling)
        return seen

    results = asyncio.run(asyncio.wait_for(both(), PATIENCE_S))
    assert not [one for one in results if isinstance(one, fx.Failed)]
    assert purses.spendable("payee") == 700


def test_nothing_is_settled_that_was_never_asked(tmp_path: Path) -> None:
    purses = Purses(tmp_path)
    for effect, carrier in (
        (fx.Settle("s", "77" * 32), purses.payee.settle),
        (fx.Settle("s", "no preimage"), purses.payee.settle),
        (fx.CancelInvoice("c", "7" * 64), purses.payee.cancel),
        (fx.WatchInvoice("w", "7" * 64), purses.payee.watch),
    ):
        (failed,) = carry(carrier, effect)
        assert isinstance(failed, fx.Failed)


class Work:
    def __init__(self, error: Exception | None, failures: int = 1) -> None:
        self.error, self.failures = error, failures

    def train(self, order: w.TrainOrder) -> w.Trained:
        if self.failures and self.error:
            self.failures -= 1
            raise self.error
        return w.Trained("b" * 64, 1, 2, 3, 4, 5)

    def judge(self, order: w.JudgeOrder) -> w.Judgement:
        lines = tuple(w.JudgedUpdate(one.provider, 1, 2, 3) for one in order.candidates)
        return w.Judgement(1, 2, lines)

    def combine(self, order: w.CombineOrder) -> w.Combined:
        assert order.server_state is order.previous_model is None
        return w.Combined("c" * 64, None)


TRAIN = fx.Train("t", 1, "a" * 64, "", (2,), 2, "a" * 64, "a" * 64, 1)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (None, None),
        (StoreError("full", is_retriable=True), None),
        (InputError("task", "x", "is none"), "malformed"),
        (StoreError("gone"), "declined"),
    ],
)
def test_training_is_tried_again_or_declined(error: Any, wanted: str | None) -> None:
    carrier = ProviderWork(Work(error), Insisting(FAST, lambda *_: None), ThreadPoolExecutor(1))
    (result,) = carry(carrier.train, TRAIN)
    if wanted is None:
        assert result == fx.Trained("t", "b" * 64, 1, 2, 3, 4, 5)
    else:
        assert (type(result), result.code) == (fx.Failed, wanted)


def test_judging_and_combining() -> None:
    carrier = CustomerWork(Work(None), Insisting(FAST, lambda *_: None), ThreadPoolExecutor(1))
    order = fx.Judge("j", 1, "a" * 64, "", (("p", "u" * 64, 0),), "0" * 64)
    assert carry(carrier.judge, order) == [fx.Judged("j", 1, 2, (fx.JudgedLine("p", 1, 2, 3),))]
    combine = fx.Combine("k", 1, "a" * 64, "", "", (("p", "u" * 64, 1),), "0" * 64)
    assert carry(carrier.combine, combine) == [fx.Combined("k", "c" * 64, "")]


def test_a_lock_names_two_of_three() -> None:
    lock = make_lock("02p", "02c", "02a", 9)
    assert (lock.signers, lock.signatures_required) == (("02p", "02c", "02a"), 2)
    assert (lock.refund, lock.locktime_s) == ("02c", 9)
    assert make_lock("02p", "02c", "", 9).signers == ("02p", "02c")

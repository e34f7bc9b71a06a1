"""A real mint (nutshell) that pays, fails, keeps waiting, or is asked too late."""

import sqlite3
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.payments.ecash_contract import refuse
from tests.adapters.payments.purse_contract import (
    AMOUNT_MSAT,
    FILLED_MSAT,
    claim,
    count_moved,
    get_msat,
    make_invoice,
    pay,
)
from tests.adapters.payments.purse_world import change, refuse_for_now, run
from tests.services.cashu_mint import Mint, run_mint
from tests.services.lying_mint import LyingMint, lose

from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.cashu.purse import CashuPurse
from kumiai.base.keys import derive_key
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import PaymentState

pytestmark = pytest.mark.xdist_group("cashu")

MELT, LOOK, FILL = "/v1/melt/bolt11", "/v1/melt/quote/bolt11", "/v1/mint/quote/bolt11"


@pytest.fixture
def mint(cashu_mint: Mint) -> Mint:
    return cashu_mint


# -- what a mint may do --


def test_a_payment_that_fails_costs_nothing(tmp_path: Path) -> None:
    states = {"FAKEWALLET_PAY_INVOICE_STATE": "FAILED", "FAKEWALLET_PAYMENT_STATE": "FAILED"}

    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        text = make_invoice()
        for _ in range(2):  # the invoice may be tried again
            await refuse(pay(purse, text), "PAYMENT_FAILED")
            assert await get_msat(purse) == FILLED_MSAT
        failed = [it.state for it in await purse.list_movements()][1:]
        assert failed == [PaymentState.FAILED] * 2
        assert await count_moved(purse) == FILLED_MSAT

    with run_mint(tmp_path / "mint", settings=states) as mint:
        run(mint.url, tmp_path, check)


@pytest.mark.parametrize("word", ["SETTLED", "FAILED"])
def test_a_payment_under_way_is_told_so_until_it_ends(tmp_path: Path, word: str) -> None:
    """The mint is stopped meanwhile, and comes back with the payment's end."""
    waits = {"FAKEWALLET_PAY_INVOICE_STATE": "PENDING", "FAKEWALLET_PAYMENT_STATE": "PENDING"}
    folder = tmp_path / "mint"

    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        text = make_invoice()
        for _ in range(2):
            assert (await pay(purse, text)).state is PaymentState.PENDING
        taken = await purse.take_up()
        assert (taken.ended, taken.fault) == ((), None)
        assert (await purse.get_balance()).held_msat >= AMOUNT_MSAT
        await refuse_for_now(purse.send("s", AMOUNT_MSAT), "INSUFFICIENT_BALANCE")
        stopped.close()
        ends = {"FAKEWALLET_PAY_INVOICE_STATE": word, "FAKEWALLET_PAYMENT_STATE": word}
        with run_mint(folder, settings=ends) as again:
            liar.move(again.url)
            if word == "FAILED":
                await refuse(pay(purse, text), "PAYMENT_FAILED")
                assert await get_msat(purse) == FILLED_MSAT
            else:
                [ended] = (await purse.take_up()).ended
                assert ended == await pay(purse, text)
                assert await get_msat(purse) == FILLED_MSAT - AMOUNT_MSAT - ended.fee_msat
            assert await count_moved(purse) == await get_msat(purse)

    with ExitStack() as stopped:
        mint = stopped.enter_context(run_mint(folder, settings=waits))
        run(mint.url, tmp_path, check)


@pytest.mark.parametrize("is_paid_again", [True, False])
def test_a_lost_answer_pays_once(mint: Mint, tmp_path: Path, is_paid_again: bool) -> None:
    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        text = make_invoice()
        liar.alter(MELT, lose)
        await refuse_for_now(pay(purse, text), "INTERNAL")
        assert (await purse.get_balance()).held_msat >= AMOUNT_MSAT
        if is_paid_again:  # the mint is asked what became of it, not to pay
            ended = await pay(purse, text)
        else:
            [ended] = (await purse.take_up()).ended
        assert ended.state is PaymentState.SETTLED
        assert await pay(purse, text) == ended
        assert liar.requests.count(MELT) == 1
        assert await get_msat(purse) == FILLED_MSAT - AMOUNT_MSAT - ended.fee_msat

    run(mint.url, tmp_path, check)


def test_change_that_the_quote_does_not_tell_is_fetched(mint: Mint, tmp_path: Path) -> None:
    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        liar.alter(MELT, change(change=None))
        paid = await pay(purse, make_invoice())
        assert paid.fee_msat <= paid.fee_msat_max
        assert await get_msat(purse) == FILLED_MSAT - AMOUNT_MSAT - paid.fee_msat

    run(mint.url, tmp_path, check)


def test_an_invoice_that_was_never_asked_for_is_given_up(mint: Mint, tmp_path: Path) -> None:
    """Killed before the request left: it is free when nobody can pay the invoice any more."""
    ahead_s = 0

    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        nonlocal ahead_s
        origin = mint.url
        text = make_invoice()
        asking = purse._api.melt
        purse._api.melt = fail  # type: ignore[method-assign]
        await refuse_for_now(pay(purse, text), "INTERNAL")
        purse._api.melt = asking  # type: ignore[method-assign]
        assert (await purse.take_up()).ended == ()
        assert (await purse.get_balance()).held_msat >= AMOUNT_MSAT
        liar.move("http://127.0.0.1:1")
        fault = (await purse.take_up()).fault
        assert fault is not None and fault.is_retriable
        liar.move(origin)
        ahead_s = 3_600 + 601
        [ended] = (await purse.take_up()).ended
        assert ended.state is PaymentState.FAILED
        assert await get_msat(purse) == FILLED_MSAT
        assert MELT not in liar.requests

    async def fail(*_: object) -> Any:
        raise WalletError("INTERNAL", "no answer", is_retriable=True)

    run(mint.url, tmp_path, check, clock=lambda: time.time() + ahead_s)


def test_fees_are_limited_before_anything_moves(mint: Mint, tmp_path: Path) -> None:
    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        text = make_invoice()
        await refuse(purse.pay(text, 2_000), "FEE_TOO_HIGH")  # the route's 3, and the mint's own
        liar.alter(LOOK, change(fee_reserve=10**6))
        await refuse(pay(purse, text), "FEE_TOO_HIGH", "INSUFFICIENT_BALANCE")
        assert await get_msat(purse) == FILLED_MSAT and MELT not in liar.requests

    run(mint.url, tmp_path, check)


def test_a_wallets_file_from_before_goes_on(mint: Mint, tmp_path: Path) -> None:
    """It knew neither times nor payments; an invoice that it asked for is money all the same."""

    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        await purse.fill("old", FILLED_MSAT)
        await purse.close()
        with closing(sqlite3.connect(tmp_path / "me")) as connection:
            connection.execute("DROP TABLE facts")
            connection.commit()
        key = derive_key(str(tmp_path / "me").encode(), "ecash")
        again = CashuPurse(liar.url, key, tmp_path / "me")
        await again.fill("old", FILLED_MSAT)
        await claim(again, "old")
        assert await get_msat(again) == 2 * FILLED_MSAT == await count_moved(again)
        await pay(again, make_invoice())
        assert await get_msat(again) == await count_moved(again)
        await again.close()

    run(mint.url, tmp_path, check)


# -- invoices whose time is over --


def test_an_invoice_nobody_paid_expires_and_is_forgotten_at_last(
    mint: Mint, tmp_path: Path
) -> None:
    ahead_s = 0

    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        nonlocal ahead_s
        await purse.fill("f", FILLED_MSAT)
        liar.alter(f"{FILL}/", change(state="UNPAID"))
        await refuse_for_now(purse.claim("f"), "OTHER")
        ahead_s = 4_000
        await refuse(purse.claim("f"), "EXPIRED")
        assert [it.state for it in await purse.list_movements()] == [PaymentState.EXPIRED]
        assert (await purse.take_up()).ended == ()
        ahead_s = 8 * 86_400
        assert len((await purse.take_up()).ended) == 1
        assert (await purse.take_up()).ended == ()
        liar.alter(f"{FILL}/", None)
        await claim(purse, "f")  # it was paid all the same: whoever asks finds it
        assert await get_msat(purse) == FILLED_MSAT

    run(mint.url, tmp_path, check, is_filled=False, clock=lambda: time.time() + ahead_s)


def test_a_mint_that_gives_nothing_after_the_time_is_told_so(mint: Mint, tmp_path: Path) -> None:
    """As NUT-04 lets it; nutshell itself forgets its invoices' times, and gives the ecash."""

    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        asked = await purse.fill("f", FILLED_MSAT)
        assert asked.expires_at_s <= bolt11.decode(asked.bolt11).expires_at_s
        late = b'{"code": 20007, "detail": "quote is expired"}'
        liar.alter("/v1/mint/bolt11", lambda *_: (400, late))
        liar.alter("/v1/restore", lambda status, _: (status, b'{"outputs":[],"signatures":[]}'))
        error = await refuse(claim(purse, "f"), "TOO_LATE")
        assert "number there is" in str(error)
        for _ in range(2):  # it is asked again, and said again
            fault = (await purse.take_up()).fault
            assert fault is not None and fault.code == "TOO_LATE"
        assert await get_msat(purse) == 0
        liar.alter("/v1/mint/bolt11", None)
        liar.alter("/v1/restore", None)
        assert len((await purse.take_up()).ended) == 1
        assert await get_msat(purse) == FILLED_MSAT

    run(mint.url, tmp_path, check, is_filled=False)

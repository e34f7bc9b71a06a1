"""A real mint (nutshell) whose answers about invoices and payments are changed on their way."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coincurve import PublicKey
from tests.adapters.payments.cashu_bank import open_wallet
from tests.adapters.payments.ecash_contract import refuse
from tests.adapters.payments.purse_contract import (
    AMOUNT_MSAT,
    FILLED_MSAT,
    claim,
    count_moved,
    fill,
    get_msat,
    make_invoice,
    pay,
)
from tests.adapters.payments.purse_world import change, refuse_for_now, run
from tests.services.cashu_mint import Mint
from tests.services.lying_mint import LyingMint, lose

from kumiai.adapters.payments.cashu.purse import CashuPurse
from kumiai.adapters.payments.checks import compute_payment_hash
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import PaymentState

pytestmark = pytest.mark.xdist_group("cashu")

MELT, LOOK, FILL = "/v1/melt/bolt11", "/v1/melt/quote/bolt11", "/v1/mint/quote/bolt11"


SIGNATURE = {"amount": 1, "id": "00" * 8, "C_": PublicKey.from_secret(b"\x11" * 32).format().hex()}


@pytest.fixture
def mint(cashu_mint: Mint) -> Mint:
    return cashu_mint


def test_a_mint_that_asks_for_more_is_refused(mint: Mint, tmp_path: Path) -> None:
    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        for alteration in (
            change(amount=AMOUNT_MSAT // 1_000 + 1),
            change(amount=AMOUNT_MSAT // 1_000 - 1),
        ):
            liar.alter(LOOK, alteration)
            await refuse(pay(purse, make_invoice()), "AMOUNT_DIFFERS")
        liar.alter(LOOK, change(state="PAID"))
        await refuse(pay(purse, make_invoice()), "ALREADY_PAID")
        for field, value in (
            ("amount", "300"), ("amount", True), ("amount", -1), ("amount", 2**60),
            ("fee_reserve", None), ("state", "GONE"), ("quote", "../../x"), ("quote", "x" * 300),
            ("expiry", "soon"), ("expiry", 2**60), ("payment_preimage", "0" * 10**4),
            ("change", "x"), ("change", [{}]), ("change", [SIGNATURE] * 65),
        ):  # fmt: skip
            liar.alter(LOOK, change(**{field: value}))
            await refuse_for_now(pay(purse, make_invoice()), "INTERNAL")
        liar.alter(LOOK, lambda status, body: (status, body + b" " * 2_000_000))
        await refuse_for_now(pay(purse, make_invoice()), "INTERNAL")
        assert await get_msat(purse) == FILLED_MSAT and MELT not in liar.requests

    run(mint.url, tmp_path, check)


def test_an_invoice_over_another_amount_is_not_shown(mint: Mint, tmp_path: Path) -> None:
    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        for fields, code in (
            ({"request": make_invoice(AMOUNT_MSAT + 1_000)}, "AMOUNT_DIFFERS"),
            ({"amount": AMOUNT_MSAT // 1_000 - 1}, "AMOUNT_DIFFERS"),
            ({"request": "lnbc1nothing"}, "INTERNAL"),
            ({"request": make_invoice() + "\ud800"}, "INTERNAL"),
        ):
            liar.alter(FILL, change(**fields))
            await refuse(purse.fill("f", AMOUNT_MSAT), code)
        liar.alter(FILL, change(request="x" * 5_000))
        await refuse_for_now(purse.fill("f", AMOUNT_MSAT), "INTERNAL")
        assert await purse.list_movements() == []
        liar.alter(FILL, None)
        asked = await purse.fill("f", AMOUNT_MSAT)
        for fields in ({"request": make_invoice()}, {"quote": "another"}):
            liar.alter(FILL, change(**fields))
            await refuse_for_now(purse.fill("f", AMOUNT_MSAT), "INTERNAL")
        liar.alter(FILL, None)
        assert (await purse.fill("f", AMOUNT_MSAT)).bolt11 == asked.bolt11

    run(mint.url, tmp_path, check, is_filled=False)


def test_change_that_is_none_is_not_taken(mint: Mint, tmp_path: Path) -> None:
    """The mint keeps lying: nothing is written down; honest again, the change is there."""

    def tamper(edit: Callable[[dict[str, Any]], object]) -> Callable[[int, bytes], Any]:
        def alteration(status: int, body: bytes) -> tuple[int, bytes]:
            document = json.loads(body)
            for entry in document.get("change") or ():
                edit(entry)
            return status, json.dumps(document).encode()

        return alteration

    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        await fill(purse, 8 * FILLED_MSAT, "more")
        for edit in (
            lambda entry: entry.update(amount=2 * entry["amount"]),
            lambda entry: entry.update(amount=3),
            lambda entry: entry.update(id="00" + "1" * 14),
            lambda entry: entry.pop("dleq"),
            lambda entry: entry["dleq"].update(e="11" * 32),
        ):
            text, before = make_invoice(), await get_msat(purse)
            for path in (MELT, LOOK):
                liar.alter(path, tamper(edit))
            for _ in range(2):
                with pytest.raises(WalletError) as caught:
                    await pay(purse, text)
                assert caught.value.code == "INTERNAL", caught.value
            assert (await purse.get_balance()).held_msat >= AMOUNT_MSAT
            for path in (MELT, LOOK):
                liar.alter(path, None)
            paid = await pay(purse, text)
            assert await get_msat(purse) == before - AMOUNT_MSAT - paid.fee_msat
        assert await count_moved(purse) == await get_msat(purse)

    run(mint.url, tmp_path, check)


def test_a_lie_about_one_payment_hides_no_other(mint: Mint, tmp_path: Path) -> None:
    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        await fill(purse, FILLED_MSAT, "more")
        texts = [make_invoice(), make_invoice()]
        liar.alter(MELT, lose)
        for text in texts:
            await refuse_for_now(pay(purse, text), "INTERNAL")
        about_first = f"{LOOK}/{purse._store.list_open()[0].result}"
        liar.alter(about_first, change(quote="another"))
        taken = await purse.take_up()
        assert [it.bolt11 for it in taken.ended] == texts[1:]
        assert taken.fault is not None and taken.fault.code == "INTERNAL"
        liar.alter(about_first, None)
        assert [it.bolt11 for it in (await purse.take_up()).ended] == texts[:1]
        assert await count_moved(purse) == await get_msat(purse)

    run(mint.url, tmp_path, check)


def test_more_change_than_blanks_is_refused(mint: Mint, tmp_path: Path) -> None:
    def multiply(status: int, body: bytes) -> tuple[int, bytes]:
        document = json.loads(body)
        document["change"] = (document["change"] * 40)[:40] if document["change"] else None
        return status, json.dumps(document).encode()

    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        text = make_invoice()
        liar.alter(MELT, multiply)
        assert "more change" in str(await refuse(pay(purse, text), "INTERNAL"))
        liar.alter(MELT, None)
        assert (await pay(purse, text)).state is PaymentState.SETTLED

    run(mint.url, tmp_path, check)


def test_paid_is_not_believed_while_the_ecash_is_unspent(mint: Mint, tmp_path: Path) -> None:
    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        liar.alter(MELT, lambda *_: (500, b"{}"))
        states = b'"SPENT"', b'"UNSPENT"'
        liar.alter("/v1/checkstate", lambda status, body: (status, body.replace(*states)))
        text = make_invoice()
        for _ in range(2):
            await refuse_for_now(pay(purse, text), "INTERNAL")
        assert (await purse.get_balance()).held_msat >= AMOUNT_MSAT
        liar.alter("/v1/checkstate", None)
        assert (await pay(purse, text)).state is PaymentState.SETTLED

    run(mint.url, tmp_path, check)


@pytest.mark.parametrize("word", ["PENDING", "SPENT"])
def test_no_is_not_believed_while_the_ecash_is_taken(mint: Mint, tmp_path: Path, word: str) -> None:
    """Given up now, the change would be lost; freed, it would be spent a second time."""

    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        liar.alter(MELT, lambda *_: (400, b'{"code": 20004, "detail": "no"}'))
        liar.alter(LOOK, change(state="UNPAID"))
        states = b'"SPENT"', f'"{word}"'.encode()
        liar.alter("/v1/checkstate", lambda status, body: (status, body.replace(*states)))
        text = make_invoice()
        for _ in range(2):
            await refuse_for_now(pay(purse, text), "OTHER" if word == "PENDING" else "INTERNAL")
            assert (await purse.get_balance()).held_msat >= AMOUNT_MSAT
        for path in (MELT, LOOK, "/v1/checkstate"):
            liar.alter(path, None)
        assert (await pay(purse, text)).state is PaymentState.SETTLED
        assert await count_moved(purse) == await get_msat(purse)

    run(mint.url, tmp_path, check)


def test_a_mint_that_keeps_the_change_is_found_out(mint: Mint, tmp_path: Path) -> None:
    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        liar.alter(MELT, change(change=[]))
        liar.alter("/v1/restore", lambda status, _: (status, b'{"outputs":[],"signatures":[]}'))
        paid = await pay(purse, make_invoice())
        assert paid.fee_msat > paid.fee_msat_max
        assert await count_moved(purse) == await get_msat(purse)

    run(mint.url, tmp_path, check)


def test_a_proof_of_payment_is_the_hashs_or_none(mint: Mint, tmp_path: Path) -> None:
    preimage = "ab" * 32
    payment_hash = "a8f3c2d1" * 8

    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        liar.alter(MELT, change(payment_preimage=preimage))
        good = make_invoice(payment_hash=compute_payment_hash(preimage))
        assert (await pay(purse, good)).preimage == preimage
        wrong = make_invoice(payment_hash=payment_hash)
        assert (await pay(purse, wrong)).preimage == ""

    run(mint.url, tmp_path, check)


def test_signatures_for_an_invoice_must_be_of_a_known_key(mint: Mint, tmp_path: Path) -> None:
    def unknown(status: int, body: bytes) -> tuple[int, bytes]:
        document = json.loads(body)
        for entry in document.get("signatures", ()):
            entry["id"] = "00" + "1" * 14
        return status, json.dumps(document).encode()

    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        await purse.fill("f", FILLED_MSAT)
        for path in ("/v1/mint/bolt11", "/v1/restore"):
            liar.alter(path, unknown)
        await refuse(claim(purse, "f"), "INTERNAL")
        assert await get_msat(purse) == 0
        for path in ("/v1/mint/bolt11", "/v1/restore"):
            liar.alter(path, None)
        await claim(purse, "f")
        assert await get_msat(purse) == FILLED_MSAT

    run(mint.url, tmp_path, check, is_filled=False)


def test_a_wrong_mint_is_told(mint: Mint, tmp_path: Path) -> None:
    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        token = await purse.send("s", AMOUNT_MSAT)
        direct = open_wallet(mint.url, tmp_path, "you")  # the same mint, under another address
        assert "not of our mint" in str(await refuse(direct.redeem("r", token), "LOCK_DIFFERS"))
        with pytest.raises(WalletError, match="another mint"):
            open_wallet("http://127.0.0.1:1", tmp_path, "you")
        await direct.close()
        liar.alter("/v1/info", lambda *_: (404, b"<html>"))
        nobody = open_wallet(liar.url, tmp_path, "nobody")
        await refuse_for_now(nobody.fill("f", AMOUNT_MSAT), "INTERNAL")
        assert await nobody.list_movements() == []
        await nobody.close()

    run(mint.url, tmp_path, check)


def test_a_mint_without_payments_is_refused(mint: Mint, tmp_path: Path) -> None:
    async def check(liar: LyingMint, purse: CashuPurse) -> None:
        for number in ("5", "8"):

            def without(status: int, body: bytes, number: str = number) -> tuple[int, bytes]:
                document = json.loads(body)
                del document["nuts"][number]
                return status, json.dumps(document).encode()

            liar.alter("/v1/info", without)
            purse._swaps._nuts = None
            assert number in str(await refuse(pay(purse, make_invoice()), "NOT_IMPLEMENTED"))

    run(mint.url, tmp_path, check)

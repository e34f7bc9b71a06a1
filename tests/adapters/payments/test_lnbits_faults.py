"""The LNbits wallet at a server that lies, stalls, breaks off and floods."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from tests.adapters.payments.fault_lnbits import (
    ADMIN_KEY,
    INVOICE_KEY,
    FaultLnbits,
    answer,
    break_off,
    flood,
    make_foreign,
    run_fault_lnbits,
    stall,
)

from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.lnbits import LnbitsWallet
from kumiai.base.errors import InputError
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import PaymentState

PENDING, SETTLED = PaymentState.PENDING, PaymentState.SETTLED
FAILED_520 = {"detail": "Payment failed: no route", "status": "failed"}


STALL_S = 2.0  # for answers that do not come
PATIENCE_S = 120.0  # for those that do, however busy the machine is


def play(
    scene: Callable[[FaultLnbits, LnbitsWallet], Awaitable[None]], timeout_s: float = PATIENCE_S
):
    async def inside() -> None:
        async with run_fault_lnbits() as server:
            wallet = server.open_wallet(timeout_s)
            try:
                await scene(server, wallet)
            finally:
                await wallet.close()

    asyncio.run(inside())


@pytest.mark.parametrize(
    "fault",
    [stall, break_off, answer(500, {"detail": "x"}), answer(201, "gar{bage"), answer(201, {})],
    ids=["stalls", "breaks off", "500", "garbage", "empty"],
)
def test_answer_to_a_payment_that_moved_is_lost(fault: Any) -> None:
    async def scene(server: FaultLnbits, wallet: LnbitsWallet) -> None:
        text = make_foreign()
        server.on_pay = server.move_then(fault)
        paid = await wallet.pay("p", text, 5_000)
        assert paid.state is SETTLED, "the own rows tell"
        assert (await wallet.pay("p", text, 5_000)).state is SETTLED
        assert server.count("POST /payments") == 1

    play(scene, STALL_S if fault is stall else PATIENCE_S)


def test_time_out_of_a_payment_is_pending_until_the_rows_tell() -> None:
    async def scene(server: FaultLnbits, wallet: LnbitsWallet) -> None:
        text = make_foreign()
        payment_hash = bolt11.decode(text).payment_hash
        server.on_pay = server.do(stall)  # it lies there, not begun
        paid = await wallet.pay("p", text, 5_000)
        assert paid.state is PENDING and paid.amount_msat == 5_000 and paid.preimage is None
        assert await wallet.lookup(payment_hash, is_incoming=False) is None
        server.move({"bolt11": text, "external_id": "of somebody else"})
        server.rows[-1]["status"] = "pending"
        found = await wallet.lookup(payment_hash, is_incoming=False)
        assert found is not None and found.state is PENDING
        server.rows.clear()
        server.on_pay = server.answer_paid
        assert (await wallet.pay("p", text, 5_000)).state is SETTLED  # it was never sent on

    play(scene, STALL_S)


def test_rows_that_cannot_be_asked_leave_a_payment_pending() -> None:
    async def scene(server: FaultLnbits, wallet: LnbitsWallet) -> None:
        async def move_and_fall_silent(document: dict[str, Any]) -> web.StreamResponse:
            server.move(document)
            server.on_list = answer(502, "<html>bad gateway</html>")
            return web.json_response(FAILED_520, status=520)  # a lie on top

        text = make_foreign()
        server.on_pay = move_and_fall_silent
        assert (await wallet.pay("p", text, 5_000)).state is PENDING
        with pytest.raises(WalletError) as caught:  # and nothing is sent before they can be asked
            await wallet.pay("p", text, 5_000)
        assert caught.value.is_retriable
        server.on_list = None
        assert (await wallet.pay("p", text, 5_000)).state is SETTLED
        assert server.count("POST /payments") == 1

    play(scene)


def test_refusals_have_their_codes_and_move_nothing() -> None:
    async def scene(server: FaultLnbits, wallet: LnbitsWallet) -> None:
        text = make_foreign()
        for status, body, code, is_retriable in (
            (429, {"detail": "slow down"}, "RATE_LIMITED", True),
            (401, {"detail": "no"}, "UNAUTHORIZED", False),
            (520, FAILED_520, "PAYMENT_FAILED", False),
            (
                520,
                {"detail": "Insufficient balance.", "status": "failed"},
                "INSUFFICIENT_BALANCE",
                False,
            ),
            (
                520,
                {"detail": "Internal invoice already paid.", "status": "failed"},
                "ALREADY_PAID",
                False,
            ),
        ):
            server.on_pay = server.do(answer(status, body))
            with pytest.raises(WalletError) as caught:
                await wallet.pay("p", text, 5_000)
            assert (caught.value.code, caught.value.is_retriable) == (code, is_retriable)
        server.on_pay = server.do(answer(520, {"detail": "under way", "status": "pending"}))
        assert (await wallet.pay("p", text, 5_000)).state is PENDING
        server.on_pay = server.answer_paid
        assert (await wallet.pay("p", text, 5_000)).state is SETTLED

    play(scene)


def test_lies_about_a_payment_are_not_believed() -> None:
    async def scene(server: FaultLnbits, wallet: LnbitsWallet) -> None:
        for name, lie in (
            ("preimage", "ab" * 32),
            ("preimage", None),
            ("preimage", 7),
            ("amount", -4_000),
            ("bolt11", make_foreign()),
        ):

            async def lying(document: dict[str, Any], name: str = name, lie: Any = lie) -> Any:
                row = server.move(document)
                row[name] = lie
                return web.json_response(row, status=201)

            server.on_pay = lying
            text = make_foreign()
            assert (await wallet.pay(f"p {name} {lie}", text, 5_000)).state is PENDING
            asked = wallet.lookup(bolt11.decode(text).payment_hash, is_incoming=False)
            if name == "preimage":
                found = await asked
                assert found is not None and found.state is PENDING and found.preimage is None
            else:
                with pytest.raises(WalletError, match="INTERNAL"):
                    await asked

    play(scene)


def test_lies_about_income_are_not_believed() -> None:
    async def scene(server: FaultLnbits, wallet: LnbitsWallet) -> None:
        invoice = await wallet.make_invoice("k", 5_000)
        row = server.rows[-1]
        preimage, row["preimage"] = row["preimage"], "cd" * 32
        row["status"] = "success"
        found = await wallet.lookup(invoice.payment_hash, is_incoming=True)
        assert found is not None and found.state is PENDING
        row["preimage"], row["amount"] = preimage, 50_000_000
        with pytest.raises(WalletError, match="INTERNAL"):
            await wallet.lookup(invoice.payment_hash, is_incoming=True)
        row["amount"] = 5_000
        found = await wallet.lookup(invoice.payment_hash, is_incoming=True)
        assert found is not None and found.state is SETTLED and found.preimage == preimage

    play(scene)


def test_lies_about_an_invoice_are_refused() -> None:
    async def scene(server: FaultLnbits, wallet: LnbitsWallet) -> None:
        async def of_another_amount(document: dict[str, Any]) -> web.StreamResponse:
            return await server.answer_made({**document, "amount": 9})

        async def without_name(document: dict[str, Any]) -> web.StreamResponse:
            return await server.answer_made({**document, "external_id": None})

        server.on_make = of_another_amount
        with pytest.raises(WalletError, match="AMOUNT_DIFFERS"):
            await wallet.make_invoice("k", 5_000)
        server.on_make = without_name
        with pytest.raises(WalletError, match=r"NOT_IMPLEMENTED.*1\.6"):
            await wallet.make_invoice("k2", 5_000)
        server.on_make = server.answer_made
        made = await wallet.make_invoice("k3", 5_000)
        server.rows[-1]["bolt11"] = make_foreign(7_000)
        with pytest.raises(WalletError, match="INTERNAL"):
            await wallet.make_invoice("k3", 5_000)
        assert made.amount_msat == 5_000

    play(scene)


def test_invoice_whose_answer_was_lost_is_found_again_by_its_key() -> None:
    async def scene(server: FaultLnbits, wallet: LnbitsWallet) -> None:
        async def make_and_break_off(document: dict[str, Any]) -> web.StreamResponse:
            await server.answer_made(document)
            return web.Response(status=502, text="<html>")

        server.on_make = make_and_break_off
        with pytest.raises(WalletError) as caught:
            await wallet.make_invoice("k", 5_000)
        assert caught.value.is_retriable
        server.on_make = server.answer_made
        made = await wallet.make_invoice("k", 5_000)
        assert made.bolt11 == server.rows[0]["bolt11"] and len(server.rows) == 1

    play(scene)


def test_redirects_are_not_followed_and_answers_are_capped() -> None:
    async def scene(server: FaultLnbits, wallet: LnbitsWallet) -> None:
        async with run_fault_lnbits() as thief:
            headers = {"Location": f"{thief.url}/api/v1/wallet"}
            for status in (301, 302, 307, 308):
                server.on_any = answer(status, "", headers)
                with pytest.raises(WalletError, match="redirects"):
                    await wallet.get_balance()
            assert thief.asked == [] and thief.keys_seen == set()
        server.on_any = flood(server, 200 * 2**20)
        with pytest.raises(WalletError, match="INTERNAL"):
            await wallet.get_balance()
        assert server.sent_bytes < 20 * 2**20

    play(scene)


def test_keys_stand_in_no_error() -> None:
    async def scene(server: FaultLnbits, wallet: LnbitsWallet) -> None:
        said = f"bad key {ADMIN_KEY} or {INVOICE_KEY}\x1b[2J"
        for status in (400, 401, 404, 500, 520):
            server.on_any = answer(status, {"detail": said, "status": "failed"})
            for call in (wallet.get_balance(), wallet.make_invoice("k", 1_000)):
                with pytest.raises(WalletError) as caught:
                    await call
                for text in (str(caught.value), repr(caught.value), repr(wallet)):
                    assert ADMIN_KEY not in text and INVOICE_KEY not in text
                    assert "\x1b" not in text
        for url in ("ftp://x", "http://me:secret@x", "http://x?key=secret", "x"):
            with pytest.raises(InputError) as refused:
                LnbitsWallet(url, "a")
            assert "secret" not in str(refused.value)
        for keys in (("", ""), ("a b", ""), ("a", "secret\n")):
            with pytest.raises(InputError) as refused:
                LnbitsWallet("http://x", *keys)
            assert "secret" not in str(refused.value)

    play(scene)


def test_answers_of_any_shape_are_errors_of_the_wallet() -> None:
    async def scene(server: FaultLnbits, wallet: LnbitsWallet) -> None:
        text = make_foreign()
        row = server.move({"bolt11": text, "external_id": "x"})
        rows = [
            {**row, name: value}
            for name in ("payment_hash", "status", "amount", "fee", "bolt11", "time", "labels")
            for value in (None, True, 1.5, 2**80, "", "x" * 70, [], {})
        ]
        shapes = [None, [], 1, "x", {}, {"data": 1}, {"data": [1]}, {"data": [[]]}]
        shapes += [{"data": [one]} for one in rows]
        payment_hash = bolt11.decode(text).payment_hash
        for shape in shapes:
            server.on_any = answer(200, shape)
            for call in (
                wallet.lookup(payment_hash, is_incoming=False),
                wallet.list_payments(),
                wallet.get_balance(),
                wallet.make_invoice("k", 5_000),
                wallet.pay("p", text, 5_000),
                wallet.cancel(payment_hash),
            ):
                try:
                    told = await call
                except WalletError:
                    continue
                assert getattr(told, "state", None) is not SETTLED or shape in [
                    {"data": [one]} for one in rows
                ]

    play(scene)


def test_hold_invoices_where_the_server_has_them() -> None:
    async def scene(server: FaultLnbits, wallet: LnbitsWallet) -> None:
        preimage = "77" * 32
        payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
        invoice = await wallet.make_hold_invoice("k", 5_000, payment_hash)
        assert invoice.payment_hash == payment_hash
        assert (await wallet.make_hold_invoice("k", 5_000, payment_hash)) == invoice
        with pytest.raises(WalletError):
            await wallet.make_hold_invoice("k", 5_000, "99" * 32)
        for _ in range(2):
            settled = await wallet.settle(preimage)
            assert settled.state is SETTLED and settled.preimage == preimage
        other = await wallet.make_hold_invoice("k2", 5_000, "88" * 32)
        for _ in range(2):
            canceled = await wallet.cancel(other.payment_hash)
            assert canceled.state is PaymentState.CANCELED
        assert server.count("POST /payments/settle") == server.count("POST /payments/cancel") == 1

    play(scene)


def test_balance_tells_what_is_under_way() -> None:
    async def scene(server: FaultLnbits, wallet: LnbitsWallet) -> None:
        server.add_row(make_foreign(), is_out=True, status="pending", fee=-2_000)
        server.add_row(make_foreign(), is_out=True, status="failed")
        server.add_row(make_foreign(), is_out=False, status="pending")
        balance = await wallet.get_balance()
        assert (balance.spendable_msat, balance.held_msat) == (1_000_000, 7_000)

    play(scene)


def test_a_fee_that_may_be_higher_than_allowed_is_refused() -> None:
    async def scene(server: FaultLnbits, wallet: LnbitsWallet) -> None:
        server.fee_reserve_msat = 2_000
        text = make_foreign()
        with pytest.raises(WalletError, match="fee"):
            await wallet.pay("p", text, 5_000, fee_msat_max=1_999)
        assert server.count("POST /payments") == 0
        assert (await wallet.pay("p", text, 5_000, fee_msat_max=2_000)).state is SETTLED

    play(scene)

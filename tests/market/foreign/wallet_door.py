"""A wallet for a program in another language: a member's account at the embedded bank, over HTTP.

    POST <url>/<method>, body and answer JSON

    info                                                            -> {payee}
    decode             {bolt11}                                     -> {payee, payment_hash, amount_msat, expires_at_s}
    make_invoice       {key, amount_msat, expiry_s, preimage?}      -> {bolt11, payment_hash}
    make_hold_invoice  {key, amount_msat, expiry_s, payment_hash}   -> {bolt11, payment_hash}
    pay                {key, bolt11, amount_msat, payee}            -> {state, preimage?}
    lookup             {payment_hash, is_incoming}                  -> {state} ("unknown" if never heard of)
    settle             {preimage}                                   -> {state, amount_msat}
    cancel             {payment_hash}                               -> {state}

For tests only: whoever reaches the port spends the money.
"""  # noqa: E501  (the table is read as one)

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from kumiai.adapters.payments import bolt11
from kumiai.base.errors import KumiaiError
from kumiai.nodes.market.ports import Payment, WalletPort

BODY_BYTES_MAX = 16_384
Method = Callable[[WalletPort, dict[str, Any]], Awaitable[dict[str, Any]]]


async def _info(wallet: WalletPort, body: dict[str, Any]) -> dict[str, Any]:
    return {"payee": (await wallet.get_info()).payee}


async def _decode(wallet: WalletPort, body: dict[str, Any]) -> dict[str, Any]:
    invoice = bolt11.decode(body["bolt11"])
    names = ("payee", "payment_hash", "amount_msat", "expires_at_s")
    return {name: getattr(invoice, name) for name in names}


async def _make_invoice(wallet: WalletPort, body: dict[str, Any]) -> dict[str, Any]:
    made = await wallet.make_invoice(**body)
    return {"bolt11": made.bolt11, "payment_hash": made.payment_hash}


async def _make_hold_invoice(wallet: WalletPort, body: dict[str, Any]) -> dict[str, Any]:
    made = await wallet.make_hold_invoice(**body)
    return {"bolt11": made.bolt11, "payment_hash": made.payment_hash}


async def _pay(wallet: WalletPort, body: dict[str, Any]) -> dict[str, Any]:
    return _tell(await wallet.pay(**body))


async def _lookup(wallet: WalletPort, body: dict[str, Any]) -> dict[str, Any]:
    return _tell(await wallet.lookup(body["payment_hash"], is_incoming=body["is_incoming"]))


async def _settle(wallet: WalletPort, body: dict[str, Any]) -> dict[str, Any]:
    return _tell(await wallet.settle(**body))


async def _cancel(wallet: WalletPort, body: dict[str, Any]) -> dict[str, Any]:
    return _tell(await wallet.cancel(**body))


def _tell(payment: Payment | None) -> dict[str, Any]:
    if payment is None:
        return {"state": "unknown"}
    told = {"state": payment.state.value, "amount_msat": payment.amount_msat}
    return {**told, "preimage": payment.preimage} if payment.preimage else told


METHODS: dict[str, Method] = {
    "info": _info,
    "decode": _decode,
    "make_invoice": _make_invoice,
    "make_hold_invoice": _make_hold_invoice,
    "pay": _pay,
    "lookup": _lookup,
    "settle": _settle,
    "cancel": _cancel,
}


@asynccontextmanager
async def open_door(wallet: WalletPort) -> AsyncIterator[str]:
    """Serve one wallet on a free port of this machine; yields its address."""

    async def answer(request: web.Request) -> web.Response:
        method = METHODS.get(request.match_info["method"])
        if method is None:
            return web.Response(status=404, text="no such method")
        try:
            return web.json_response(await method(wallet, await request.json()))
        except (KumiaiError, ValueError, TypeError, KeyError) as error:
            return web.Response(status=400, text=str(error))

    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_post("/{method}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()

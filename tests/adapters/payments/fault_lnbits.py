"""A small LNbits of ours that does wrong what a test wants: it lies, stalls, breaks off, floods.

::

    async with run_fault_lnbits() as server:
        wallet = server.open_wallet()
        server.on_pay = server.move_then(stall)   # the money moves, the answer never comes

It knows hold invoices, as an LNbits with LND behind it does.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.lnbits import LnbitsWallet

INVOICE_KEY, ADMIN_KEY = "1234invoicekey", "5678adminkey"
NODE = b"\x05" * 32
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Act = Callable[[dict[str, Any]], Awaitable[web.StreamResponse]]


class FaultLnbits:
    """One wallet's rows, and what happens to each sort of request; `asked` lists them all."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.keys_seen: set[str] = set()
        self.balance_msat = 1_000_000
        self.sent_bytes = 0
        self.fee_reserve_msat = 0
        self.on_any: Handler | None = None
        self.on_list: Handler | None = None
        self.on_pay: Act = self.answer_paid
        self.on_make: Act = self.answer_made
        self.url = ""

    def open_wallet(self, timeout_s: float = 5.0) -> LnbitsWallet:
        return LnbitsWallet(self.url, INVOICE_KEY, ADMIN_KEY, timeout_s=timeout_s)

    def count(self, what: str) -> int:
        return sum(asked == what for asked in self.asked)

    # -- what an honest server does --

    def add_row(self, text: str, *, is_out: bool, status: str, **more: Any) -> dict[str, Any]:
        invoice = bolt11.decode(text)
        now = datetime.now(UTC).isoformat()
        row = {
            "checking_id": invoice.payment_hash,
            "payment_hash": invoice.payment_hash,
            "amount": -invoice.amount_msat if is_out else invoice.amount_msat,
            "fee": 0,
            "bolt11": text,
            "status": status,
            "memo": invoice.description,
            "preimage": None,
            "time": now,
            "updated_at": now,
            "labels": [],
            "extra": {},
            "external_id": None,
            **more,
        }
        self.rows.append(row)
        return row

    def move(self, document: dict[str, Any]) -> dict[str, Any]:
        """Pay the invoice, whose preimage follows from its number (`make_foreign`)."""
        row = self.add_row(
            document["bolt11"], is_out=True, status="success", external_id=document["external_id"]
        )
        row["preimage"] = PREIMAGES[row["payment_hash"]]
        self.balance_msat += row["amount"]
        return row

    async def answer_paid(self, document: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(self.move(document), status=201)

    async def answer_made(self, document: dict[str, Any]) -> web.StreamResponse:
        preimage = secrets.token_hex(32)
        payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
        extra: dict[str, Any] = {}
        if "payment_hash" in document:
            payment_hash, preimage, extra = document["payment_hash"], None, {"hold_invoice": True}
        text = bolt11.sign(
            NODE,
            payment_hash,
            "22" * 32,
            int(document["amount"]) * 1_000,
            int(time.time()),
            document.get("expiry") or 3600,
            document["memo"],
            "bc",
        )
        row = self.add_row(
            text,
            is_out=False,
            status="pending",
            preimage=preimage,
            extra=extra,
            external_id=document["external_id"],
        )
        return web.json_response(row, status=201)

    def move_then(self, handler: Handler) -> Act:
        async def act(document: dict[str, Any]) -> web.StreamResponse:
            self.move(document)
            return await handler(REQUEST.get())

        return act

    def do(self, handler: Handler) -> Act:
        async def act(document: dict[str, Any]) -> web.StreamResponse:
            return await handler(REQUEST.get())

        return act

    # -- the routes --

    async def handle(self, request: web.Request) -> web.StreamResponse:
        REQUEST.set(request)
        self.keys_seen.add(request.headers.get("X-Api-Key", ""))
        path = request.path.removeprefix("/api/v1")
        self.asked.append(f"{request.method} {path}")
        if self.on_any is not None:
            return await self.on_any(request)
        if path == "/wallet":
            return web.json_response({"name": "w", "balance": self.balance_msat})
        if path == "/payments/paginated":
            return await (self.on_list or self._list)(request)
        if path == "/payments/fee-reserve":
            return web.json_response({"fee_reserve": self.fee_reserve_msat})
        if path == "/payments":
            document = await request.json()
            return await (self.on_pay if document["out"] else self.on_make)(document)
        if path in {"/payments/settle", "/payments/cancel"}:
            return await self._close_hold(await request.json())
        return web.json_response({"detail": "Payment does not exist."}, status=404)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        """Every row, whatever was asked for: as a server does that ignores the conditions."""
        offset, limit = int(request.query["offset"]), int(request.query["limit"])
        return web.json_response({"data": self.rows[offset : offset + limit], "total": 0})

    async def _close_hold(self, document: dict[str, Any]) -> web.StreamResponse:
        preimage = document.get("preimage")
        payment_hash = document.get("payment_hash")
        if preimage:
            payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
        for row in self.rows:
            if row["payment_hash"] == payment_hash and row["amount"] > 0:
                if preimage:
                    row["status"], row["preimage"] = "success", preimage
                else:
                    row["status"], row["extra"]["hold_invoice_cancelled"] = "failed", True
        return web.json_response({"ok": True})


PREIMAGES: dict[str, str] = {}


def make_foreign(amount_msat: int = 5_000, expiry_s: int = 600) -> str:
    """An invoice of another node, which `FaultLnbits` can pay."""
    preimage = secrets.token_hex(32)
    payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
    PREIMAGES[payment_hash] = preimage
    other_node, payment_secret = b"\x09" * 32, "33" * 32
    return bolt11.sign(
        other_node, payment_hash, payment_secret, amount_msat, int(time.time()), expiry_s, "", "bc"
    )


# -- what can go wrong with an answer --


async def stall(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def break_off(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def answer(status: int, body: Any, headers: dict[str, str] | None = None) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers=headers)

    return handler


def flood(server: FaultLnbits, size_bytes: int) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while server.sent_bytes < size_bytes:
            await response.write(b"[" * 65_536)
            server.sent_bytes += 65_536
        return response

    return handler


@asynccontextmanager
async def run_fault_lnbits() -> AsyncIterator[FaultLnbits]:
    server = FaultLnbits()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


class _Request:
    """The request that a handler of this task is at."""

    def __init__(self) -> None:
        self._requests: dict[asyncio.Task[Any] | None, web.Request] = {}

    def set(self, request: web.Request) -> None:
        self._requests[asyncio.current_task()] = request

    def get(self) -> web.Request:
        return self._requests[asyncio.current_task()]


REQUEST = _Request()

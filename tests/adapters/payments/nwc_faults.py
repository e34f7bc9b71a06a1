"""A relay in memory that a test can deafen, and a NIP-47 wallet that says what a test wants."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.nwc import NwcWallet
from kumiai.base.events import Event, check_event
from kumiai.base.keys import SigningKey, derive_key
from kumiai.market.nips import nip47
from kumiai.market.nips.drafts import Draft, sign_draft
from kumiai.market.nips.nip01 import Filter, has_any
from kumiai.market.nips.nip47 import Direction, ErrorCode, Fault, State, Transaction
from kumiai.market.nips.nip47.methods import METHOD_NAMES
from kumiai.nodes.market.errors import RelayError
from kumiai.nodes.market.ports import Published

WALLET = derive_key(b"\x01" * 32, "wallet")
CLIENT = derive_key(b"\x01" * 32, "client")
THIEF = derive_key(b"\x01" * 32, "thief")
NODE = b"\x44" * 32


class MemoryRelays:
    """A RelayPort without a network. lost: so many of the next events reach nobody.

    is_careless: hands out what was not asked for.
    """

    def __init__(self) -> None:
        self.published: list[Event] = []
        self.lost = 0
        self.is_down = self.is_careless = False
        self._readers: list[tuple[Sequence[Filter], asyncio.Queue[Event]]] = []

    async def publish(self, event: Event, relays: Sequence[str] = ()) -> Published:
        assert check_event(event) is None
        if self.is_down:
            raise RelayError("no relay took it", is_retriable=True)
        self.published.append(event)
        if self.lost:
            self.lost -= 1
            return Published(("memory",))
        for filters, queue in self._readers:
            if self.is_careless or has_any(filters, event):
                queue.put_nowait(event)
        return Published(("memory",))

    async def subscribe(self, filters: Sequence[Filter]) -> AsyncIterator[Event]:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._readers.append((filters, queue))
        while True:
            yield await queue.get()

    async def fetch(self, filters: Sequence[Filter], timeout_s: float = 10.0) -> list[Event]:
        if self.is_down:
            raise RelayError("no relay answers", is_retriable=True)
        return [event for event in self.published if has_any(filters, event)]

    async def close(self) -> None:
        self.is_down = True


Outcome = nip47.Result | Fault


class ScriptedWallet:
    """Answers with `on[method]`: an outcome, a function of the request that returns one, or None.

    raw: signs and publishes anything in place of an answer. requests: all that came, in order.
    """

    def __init__(self, relays: MemoryRelays) -> None:
        self.relays = relays
        self.on: dict[str, Any] = {
            "lookup_invoice": Fault(ErrorCode.NOT_FOUND, "unknown"),
            "get_info": nip47.NodeInfo(("pay_invoice",)),
            "get_balance": nip47.WalletBalance(1_000_000),
            "list_transactions": nip47.Transactions(()),
        }
        self.requests: list[tuple[Event, nip47.Request]] = []
        self.raw: Callable[[Event], Draft | None] | None = None
        self._task = asyncio.create_task(self._run())

    def count(self, method: str) -> int:
        """How many different requests of this method came."""
        ids = {event.id for event, it in self.requests if METHOD_NAMES[type(it)] == method}
        return len(ids)

    async def announce(self, info: nip47.Info) -> None:
        await self.relays.publish(sign_draft(WALLET, nip47.encode_info(info), int(time.time())))

    async def tell(self, what: str, told: Transaction, key: SigningKey = WALLET) -> None:
        note = nip47.Notification(what, told)
        draft = nip47.encode_notification(key, CLIENT.pubkey, note, secrets.token_bytes(32))
        await self.relays.publish(sign_draft(key, draft, int(time.time())))

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        wanted = Filter(kinds=(nip47.REQUEST_KIND,), tags={"p": (WALLET.pubkey,)})
        async for event in self.relays.subscribe([wanted]):
            if event.kind != nip47.REQUEST_KIND:
                continue
            now_s = int(time.time())
            request = nip47.decode_request(WALLET, event, now_s)
            self.requests.append((event, request))
            if self.raw is not None:
                draft = self.raw(event)
                if draft is not None:
                    await self.relays.publish(sign_draft(WALLET, draft, now_s))
                continue
            outcome = self.on.get(METHOD_NAMES[type(request)])
            if callable(outcome):
                outcome = outcome(request)
            if outcome is not None:
                await self.answer(event, request, outcome)

    async def answer(
        self,
        event: Event,
        request: nip47.Request,
        outcome: Outcome,
        key: SigningKey = WALLET,
    ) -> Event:
        method = METHOD_NAMES[type(request)]
        draft = nip47.encode_response(key, event, method, outcome, secrets.token_bytes(32))
        response = sign_draft(key, draft, int(time.time()))
        await self.relays.publish(response)
        return response


def open_client(relays: MemoryRelays, **options: Any) -> NwcWallet:
    line = nip47.Connection(WALLET.pubkey, ("wss://relay.example",), CLIENT)
    return NwcWallet(line, relays, **{"answer_s": 60.0, "pay_s": 0.6, **options})


def make_invoice(amount_msat: int = 5_000) -> tuple[str, str, str]:
    """Return (invoice, payment hash, preimage)."""
    preimage = secrets.token_hex(32)
    payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
    text = bolt11.sign(NODE, payment_hash, "55" * 32, amount_msat, int(time.time()), 600)
    return text, payment_hash, preimage


def outgoing(payment_hash: str, state: State | None, preimage: str = "") -> Transaction:
    return Transaction(payment_hash, 5_000, Direction.OUTGOING, state, preimage=preimage)

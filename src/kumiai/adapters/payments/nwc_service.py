"""Makes any wallet of the market a wallet that speaks NIP-47: other programs connect to it.

Source: nostr-protocol/nips, 47.md. Each connection has keys of its own, derived from the seed and
its name: who holds one line (`Connection`, a secret) can ask what its `Grant` allows and no more.
Requests are taken from the connection's own key alone, once: the same event again gets the same
answer from memory, an old or expired one none. Payments go by their payment hash, so that a request
which is done again after a restart moves nothing twice; budgets outlive restarts (`NwcBudgets`).

A payment of a hold invoice is answered when it ends, as other wallets do; `lookup_invoice` tells
before that it is locked (`accepted`).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from kumiai.adapters.payments.checks import compute_payment_hash
from kumiai.adapters.payments.nwc_budget import NwcBudgets
from kumiai.adapters.payments.nwc_desk import NOTIFICATIONS, Grant, NwcDesk, write_transaction
from kumiai.base.errors import KumiaiError
from kumiai.base.events import Event
from kumiai.base.keys import SigningKey, derive_key
from kumiai.market.nips import nip47
from kumiai.market.nips.drafts import Draft, sign_draft
from kumiai.market.nips.nip01 import Filter, get_values
from kumiai.market.nips.nip44 import NONCE_BYTES
from kumiai.market.nips.nip47.methods import METHOD_NAMES
from kumiai.nodes.market.errors import RelayError
from kumiai.nodes.market.ports import Invoice, Payment, PaymentState, RelayPort, WalletPort

AGE_S: Final = 120  # an older request is not done any more, nor one from so far ahead
PAY_WAIT_S: Final = 3_600.0  # then a payment under way gets no answer: it is looked up
UNDER_WAY_MAX: Final = 64  # requests of one connection at once, beside payments that wait
FOLLOWED_MAX: Final = 1_024  # payments of one connection that wait for their end: locked, say
ANSWERS_MAX: Final = 1_024  # of one connection, kept for requests that come again
WATCHED_MAX: Final = 256  # unpaid invoices of one connection that are looked at
POLL_S: Final = 0.5
INFO_S: Final = 300.0  # a relay may have lost it
REOPEN_S: Final = 1.0


@dataclass(slots=True)
class _Line:
    """One connection. answers: request id -> our signed answer."""

    desk: NwcDesk
    key: SigningKey  # the service's, for this connection alone
    client: str
    answers: OrderedDict[str, Event] = field(default_factory=OrderedDict)
    under_way: set[str] = field(default_factory=set)
    watched: OrderedDict[str, PaymentState] = field(default_factory=OrderedDict)


def derive_service_key(seed: bytes, name: str) -> SigningKey:
    """Return the service's key for the connection `name`: some relays ask for it (NIP-42)."""
    return derive_key(seed, f"nwc/{name}/wallet")


class NwcService:
    """Connections to one wallet. Add them, then `start`; `close` ends it (not wallet or relays).

    seed: 32 secret bytes; the same seed and name give the same connection again.
    """

    def __init__(
        self,
        wallet: WalletPort,
        relays: RelayPort,
        relay_urls: Sequence[str],
        seed: bytes,
        budgets: NwcBudgets,
        *,
        clock: Callable[[], float] = time.time,
        poll_s: float = POLL_S,
    ) -> None:
        self._wallet, self._relays, self._urls = wallet, relays, tuple(relay_urls)
        self._seed, self._budgets, self._clock, self._poll_s = seed, budgets, clock, poll_s
        self._lines: dict[str, _Line] = {}  # by the service's public key
        self._tasks: set[asyncio.Task[None]] = set()

    def add_connection(self, grant: Grant) -> nip47.Connection:
        """Return what the holder needs; `nip47.encode_uri` makes the line of it."""
        if self._tasks:
            raise ValueError("connections are added before the service starts")
        key = derive_service_key(self._seed, grant.name)
        client = derive_key(self._seed, f"nwc/{grant.name}/client")
        watched: OrderedDict[str, PaymentState] = OrderedDict()

        def watch(invoice: Invoice) -> None:
            watched[invoice.payment_hash] = PaymentState.PENDING
            if len(watched) > WATCHED_MAX:
                watched.popitem(last=False)

        desk = NwcDesk(grant, self._wallet, self._budgets, watch)
        self._lines[key.pubkey] = _Line(desk, key, client.pubkey, watched=watched)
        return nip47.Connection(key.pubkey, self._urls, client)

    async def start(self) -> None:
        """Announce the connections and take requests from now on."""
        ready = asyncio.Event()
        self._run(self._listen(ready))
        await ready.wait()
        await self._announce()
        self._run(self._announce_again())
        self._run(self._watch())

    async def close(self) -> None:
        """Stop; a payment under way goes on in the wallet."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self, ready: asyncio.Event) -> None:
        wanted = Filter(
            kinds=(nip47.REQUEST_KIND,),
            authors=tuple(line.client for line in self._lines.values()),
            tags={"p": tuple(self._lines)},
        )
        while True:
            since = int(self._clock()) - AGE_S
            with contextlib.suppress(RelayError):
                stream = self._relays.subscribe([replace(wanted, since=since)])
                try:
                    wait_ready = getattr(stream, "wait_ready", None)
                    if wait_ready is not None:
                        await wait_ready()
                    ready.set()
                    async for event in stream:
                        await self._take(event)
                finally:
                    aclose = getattr(stream, "aclose", None)
                    if aclose is not None:
                        await aclose()
            await asyncio.sleep(REOPEN_S)

    async def _take(self, event: Event) -> None:
        """Begin with a request, or answer one again; what is not for us is dropped."""
        line = next((self._lines[p] for p in get_values(event.tags, "p") if p in self._lines), None)
        if line is None or event.pubkey != line.client or event.kind != nip47.REQUEST_KIND:
            return
        if event.id in line.answers:
            self._run(self._publish(line.answers[event.id]))
            return
        is_fresh = abs(self._clock() - event.created_at) <= AGE_S
        if event.id in line.under_way or not is_fresh:
            return
        line.under_way.add(event.id)
        self._run(self._serve(line, event))

    async def _serve(self, line: _Line, event: Event) -> None:
        try:
            await self._answer(line, event)
        finally:
            line.under_way.discard(event.id)

    async def _answer(self, line: _Line, event: Event) -> None:
        method = ""
        outcome: nip47.Result | nip47.Fault | None
        try:
            request = nip47.decode_request(line.key, event, int(self._clock()))
        except nip47.RequestRefusedError as error:
            outcome = nip47.Fault(error.code, str(error))
        except ValueError:
            return
        else:
            method = METHOD_NAMES[type(request)]
            followed = line.desk.followed_count
            is_paying = isinstance(request, nip47.PayInvoice)
            is_full = is_paying and followed >= FOLLOWED_MAX
            if is_full or len(line.under_way) - followed > UNDER_WAY_MAX:
                outcome = nip47.Fault(nip47.ErrorCode.RATE_LIMITED, "too many requests at once")
            else:
                outcome = await line.desk.do(request, event.id, PAY_WAIT_S)
        if outcome is None:
            return
        response = self._write(line, event, method, outcome)
        line.answers[event.id] = response
        if len(line.answers) > ANSWERS_MAX:
            line.answers.popitem(last=False)
        await self._publish(response)
        if isinstance(outcome, nip47.Paid):
            await self._tell_sent(line, outcome)

    def _write(
        self, line: _Line, event: Event, method: str, outcome: nip47.Result | nip47.Fault
    ) -> Event:
        """Sign the answer; a page that is too long for an event is cut to what fits."""
        while True:
            nonce = secrets.token_bytes(NONCE_BYTES)
            try:
                draft = nip47.encode_response(line.key, event, method, outcome, nonce)
                return self._sign(line, draft)
            except ValueError:
                if not isinstance(outcome, nip47.Transactions) or not outcome.transactions:
                    raise
                half = len(outcome.transactions) // 2
                outcome = nip47.Transactions(outcome.transactions[:half])

    def _sign(self, line: _Line, draft: Draft) -> Event:
        return sign_draft(line.key, draft, int(self._clock()))

    async def _announce(self) -> None:
        for line in self._lines.values():
            with contextlib.suppress(KumiaiError):
                methods = await line.desk.list_methods()
                info = nip47.Info(methods, NOTIFICATIONS)
                await self._relays.publish(self._sign(line, nip47.encode_info(info)))

    async def _announce_again(self) -> None:
        while True:
            await asyncio.sleep(INFO_S)
            await self._announce()

    async def _watch(self) -> None:
        """Tell each connection when an invoice that it made is paid, or money locked for it."""
        while True:
            await asyncio.sleep(self._poll_s)
            for line in self._lines.values():
                for payment_hash, before in list(line.watched.items()):
                    with contextlib.suppress(KumiaiError):
                        found = await self._wallet.lookup(payment_hash, is_incoming=True)
                        if found is not None and found.state is not before:
                            await self._tell_change(line, found)

    async def _tell_change(self, line: _Line, found: Payment) -> None:
        if found.state is PaymentState.ACCEPTED:
            line.watched[found.payment_hash] = found.state
            await self._tell(line, "hold_invoice_accepted", found)
            return
        line.watched.pop(found.payment_hash, None)
        if found.state is PaymentState.SETTLED:
            await self._tell(line, "payment_received", found)

    async def _tell_sent(self, line: _Line, paid: nip47.Paid) -> None:
        payment_hash = compute_payment_hash(paid.preimage)
        with contextlib.suppress(KumiaiError):
            found = await self._wallet.lookup(payment_hash, is_incoming=False)
            if found is not None:
                await self._tell(line, "payment_sent", found)

    async def _tell(self, line: _Line, what: str, payment: Payment) -> None:
        note = nip47.Notification(what, write_transaction(payment))
        nonce = secrets.token_bytes(NONCE_BYTES)
        draft = nip47.encode_notification(line.key, line.client, note, nonce)
        await self._publish(self._sign(line, draft))

    async def _publish(self, event: Event) -> None:
        """Send; what no relay takes is asked for again by the client."""
        with contextlib.suppress(RelayError):
            await self._relays.publish(event)

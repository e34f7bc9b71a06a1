"""The line to a wallet that speaks NIP-47: one request, its one answer, over relays.

Source: nostr-protocol/nips, 47.md. Requests are encrypted, expire, and are sent again (the same
event) while no answer comes, as a relay may lose what it does not store. An answer counts if the
wallet's key signed it and it names the request's id; whatever else comes, forged, old, or about
another request, is dropped without a word.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from kumiai.base.events import Event
from kumiai.base.keys import SigningKey
from kumiai.market.nips import nip47
from kumiai.market.nips.drafts import sign_draft
from kumiai.market.nips.nip01 import Filter, get_values
from kumiai.market.nips.nip44 import NONCE_BYTES
from kumiai.nodes.market.errors import RelayError, WalletError
from kumiai.nodes.market.ports import RelayPort

ANSWER_S: Final = 15.0
RESEND_S: Final = 3.0  # doubles
READY_S: Final = 5.0
REOPEN_S: Final = 1.0
EXPIRY_S: Final = 60  # of a request: a wallet that wakes up later does not do it any more
SKEW_S: Final = 600  # by so much may the wallet's clock be behind
WAITING_MAX: Final = 1_024
HINTS_MAX: Final = 1_024

_RETRIABLE: Final = frozenset({nip47.ErrorCode.RATE_LIMITED, nip47.ErrorCode.INTERNAL})


class NoAnswerError(WalletError):
    """The wallet may or may not have got the request, and done it."""

    def __init__(self, message: str) -> None:
        super().__init__("OTHER", message, is_retriable=True)


class RefusedError(WalletError):
    """The wallet itself said no."""

    def __init__(self, fault: nip47.Fault) -> None:
        message = "".join(c if c.isprintable() else " " for c in fault.message)
        is_retriable = fault.code in _RETRIABLE
        super().__init__(fault.code.value, message, is_retriable=is_retriable)


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: Event
    answer: asyncio.Future[nip47.Result | nip47.Fault]


class NwcLink:
    """One connection to one wallet. `close` it; the relays stay open, they are the caller's.

    answer_s: patience with one request. clock: seconds.
    """

    def __init__(
        self,
        wallet: str,
        key: SigningKey,
        relays: RelayPort,
        *,
        answer_s: float = ANSWER_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._wallet, self._key, self._relays = wallet, key, relays
        self.answer_s, self._clock = answer_s, clock
        self._waiting: dict[str, _Waiting] = {}
        self._hints: deque[nip47.Notification] = deque(maxlen=HINTS_MAX)
        self._has_hint = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None
        self._is_ready = asyncio.Event()

    async def ask(self, request: nip47.Request) -> nip47.Result:
        """Return the wallet's answer; RefusedError for its no, NoAnswerError for silence."""
        async with self.start(request) as answer:
            try:
                return read_answer(await asyncio.wait_for(asyncio.shield(answer), self.answer_s))
            except TimeoutError:
                raise NoAnswerError("the wallet did not answer in time") from None

    @contextlib.asynccontextmanager
    async def start(
        self, request: nip47.Request
    ) -> AsyncIterator[asyncio.Future[nip47.Result | nip47.Fault]]:
        """Send a request and keep sending it; the future is its answer, see `read_answer`.

        Raises NoAnswerError where no relay took it.
        """
        if len(self._waiting) >= WAITING_MAX:
            raise WalletError("RATE_LIMITED", f"{WAITING_MAX} requests wait", is_retriable=True)
        await self._listen()
        now_s = int(self._clock())
        nonce = secrets.token_bytes(NONCE_BYTES)
        draft = nip47.encode_request(self._key, self._wallet, request, nonce, now_s + EXPIRY_S)
        event = sign_draft(self._key, draft, now_s)
        answer: asyncio.Future[nip47.Result | nip47.Fault] = (
            asyncio.get_running_loop().create_future()
        )
        self._waiting[event.id] = _Waiting(event, answer)
        resending = None
        try:
            await self._publish(event)
            resending = asyncio.create_task(self._resend(event))
            yield answer
        finally:
            del self._waiting[event.id]
            answer.cancel()
            if resending is not None:
                resending.cancel()

    async def fetch_info(self) -> nip47.Info | None:
        """Return what the wallet says it can, None where the relays keep nothing of it.

        Raises WalletError for a wallet that only speaks the old encryption.
        """
        wanted = Filter(kinds=(nip47.INFO_KIND,), authors=(self._wallet,), limit=1)
        try:
            events = await self._relays.fetch([wanted], self.answer_s)
        except RelayError as error:
            raise NoAnswerError(f"the wallet's relays: {error}") from error
        for event in reversed(events):
            if event.pubkey != self._wallet:
                continue
            try:
                info = nip47.decode_info(event)
            except ValueError as error:
                raise WalletError("INTERNAL", f"the wallet's info: {error}") from error
            flaw = info.find_flaw()
            if flaw is not None:
                raise WalletError("OTHER", flaw)
            return info
        return None

    async def wait_hint(self) -> nip47.Notification:
        """Wait for the next thing that the wallet tells unasked: a hint where to look."""
        await self._listen()
        async with self._has_hint:
            await self._has_hint.wait_for(lambda: self._hints)
            return self._hints.popleft()

    async def close(self) -> None:
        """Stop listening; what waits gets no answer."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    async def _listen(self) -> None:
        """Make sure that answers will be heard before anything is asked."""
        if self._reader is None or self._reader.done():
            self._is_ready.clear()
            self._reader = asyncio.create_task(self._read())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._is_ready.wait(), READY_S)

    async def _read(self) -> None:
        kinds = (nip47.RESPONSE_KIND, nip47.NOTIFICATION_KIND)
        while True:
            wanted = Filter(
                kinds=kinds,
                authors=(self._wallet,),
                tags={"p": (self._key.pubkey,)},
                since=int(self._clock()) - SKEW_S,
            )
            with contextlib.suppress(RelayError):
                stream = self._relays.subscribe([wanted])
                try:
                    wait_ready = getattr(stream, "wait_ready", None)
                    if wait_ready is not None:
                        await wait_ready()
                    self._is_ready.set()
                    async for event in stream:
                        await self._take(event)
                finally:
                    aclose = getattr(stream, "aclose", None)
                    if aclose is not None:
                        await aclose()
            await asyncio.sleep(REOPEN_S)

    async def _take(self, event: Event) -> None:
        """Hand an event to who waits for it; drop whatever the wallet did not sign."""
        if event.pubkey != self._wallet:
            return
        if event.kind == nip47.NOTIFICATION_KIND:
            with contextlib.suppress(ValueError):
                hint = nip47.decode_notification(self._key, self._wallet, event)
                async with self._has_hint:
                    self._hints.append(hint)
                    self._has_hint.notify_all()
            return
        for request_id in get_values(event.tags, "e")[:1]:
            waiting = self._waiting.get(request_id)
            if waiting is None or waiting.answer.done():
                continue
            try:
                outcome = nip47.decode_response(self._key, self._wallet, waiting.request, event)
            except ValueError as error:
                outcome = nip47.Fault(nip47.ErrorCode.INTERNAL, f"cannot be read: {error}")
            waiting.answer.set_result(outcome)

    async def _publish(self, event: Event) -> None:
        try:
            await self._relays.publish(event)
        except RelayError as error:
            raise NoAnswerError(f"the wallet's relays: {error}") from error

    async def _resend(self, event: Event) -> None:
        pause_s = RESEND_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s *= 2
            with contextlib.suppress(NoAnswerError):
                await self._publish(event)


def read_answer(outcome: nip47.Result | nip47.Fault) -> nip47.Result:
    """Return the result; RefusedError for a fault."""
    if isinstance(outcome, nip47.Fault):
        raise RefusedError(outcome)
    return outcome

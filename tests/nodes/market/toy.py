"""A small market machine that asks for every sort of effect in turn, and doubles to carry them out.

`Errand`: Go -> store, post, invoice, fetch, unseal, train, answer, pay -> done. A letter with the
tag ("word", ...) from a friend is counted once; from anybody else it is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import Reject
from kumiai.base.keys import derive_key
from kumiai.market import effects as fx
from kumiai.market.kinds import Kind
from kumiai.market.letters import Draft
from kumiai.market.machine import Outcome
from kumiai.market.nips.nip01 import Filter, get_values, has_any
from kumiai.market.terms import BlobRef
from kumiai.nodes.market.errors import RelayError
from kumiai.nodes.market.ports import Published

ME = derive_key(b"market toy", "me")
FRIEND = derive_key(b"market toy", "friend")
HASH = sha256_hex(b"toy")
REF = BlobRef(HASH, 3, ("http://127.0.0.1:1",))


@dataclass(frozen=True, slots=True)
class Go:
    """Command: begin the errand."""

    name: str = "errand"


@dataclass(frozen=True, slots=True)
class Forget:
    """Command: wait no longer for this effect."""

    key: str


@dataclass(frozen=True, slots=True)
class ToyState:
    """What the errand has come to."""

    done: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    pending: Mapping[str, fx.Effect] = field(default_factory=dict)
    seen: tuple[fx.PaymentSeen, ...] = ()
    failed: tuple[fx.Failed, ...] = ()
    rejected: tuple[fx.Rejected, ...] = ()
    missed_s: tuple[int, ...] = ()


def _draft(word: str) -> Draft:
    tags = (("v", "1"), ("t", "training"), ("word", word), ("p", FRIEND.pubkey))
    return Draft(Kind.FEEDBACK, tags, FRIEND.pubkey)


PLAN: tuple[fx.Effect, ...] = (
    fx.Store("1-store", HASH, HASH),
    fx.Publish("2-post", _draft("post"), ("ws://127.0.0.1:2",)),
    fx.MakeInvoice("3-invoice", 1_000, 60, "toy"),
    fx.Fetch("4-fetch", REF, 3),
    fx.Unseal("5-unseal", HASH, HASH, 3),
    fx.Train("6-train", 1, HASH, "", (2, 2), 2, HASH, HASH, 2**62),
    fx.Publish("7-answer", _draft("answer")),
    fx.Pay("8-pay", "lnbcrt1", 1_000, "02" + HASH, HASH, HASH, 1),
)


@dataclass(frozen=True, slots=True)
class Errand:
    """The toy: see the module."""

    friend: str = FRIEND.pubkey
    plan: tuple[fx.Effect, ...] = PLAN
    words_max: int = 1_000

    def begin(self) -> ToyState:
        return ToyState()

    def step(self, state: ToyState, now_s: int, item: Any) -> Outcome[ToyState]:
        if isinstance(item, Go):
            return self._ask(state, 0) if not state.pending and not state.done else Outcome(state)
        if isinstance(item, Forget):
            left = {key: one for key, one in state.pending.items() if key != item.key}
            return Outcome(replace(state, pending=left))
        if isinstance(item, fx.Heard):
            return self._hear(state, now_s, item)
        if isinstance(item, fx.Woken):
            return Outcome(replace(state, missed_s=(*state.missed_s, item.missed_s)))
        if isinstance(item, fx.Ticked) or item.key not in state.pending:
            return Outcome(state)
        if isinstance(item, fx.PaymentSeen) and item not in state.seen:
            state = replace(state, seen=(*state.seen, item))
        if not fx.is_final(item):
            return Outcome(state)
        if isinstance(item, fx.Failed):
            state = replace(state, failed=(*state.failed, item))
        left = {key: one for key, one in state.pending.items() if key != item.key}
        state = replace(state, pending=left, done=(*state.done, item.key))
        place = [one.key for one in self.plan].index(item.key)
        return self._ask(state, place + 1)

    def get_pending(self, state: ToyState) -> Mapping[str, fx.Effect]:
        return state.pending

    def list_filters(self, state: ToyState) -> tuple[Filter, ...]:
        kinds = (int(Kind.FEEDBACK),)
        if "7-answer" in state.done:
            kinds = (*kinds, int(Kind.VERDICT))
        return (Filter(kinds=kinds, tags={"p": (ME.pubkey,)}),)

    def _ask(self, state: ToyState, place: int) -> Outcome[ToyState]:
        if place >= len(self.plan):
            return Outcome(state)
        effect = self.plan[place]
        return Outcome(replace(state, pending={**state.pending, effect.key: effect}), (effect,))

    def _hear(self, state: ToyState, now_s: int, item: fx.Heard) -> Outcome[ToyState]:
        event = item.letter.event
        word = next(iter(get_values(item.letter.tags, "word")), "")
        if event.pubkey != self.friend:
            if event.pubkey == ME.pubkey:
                return Outcome(state)
            refused = fx.Rejected(now_s, Reject("stranger", "not a friend"), event)
            kept = (*state.rejected, refused)[-8:]
            return Outcome(replace(state, rejected=kept), (), (refused,))
        if word.startswith("after:") and word.removeprefix("after:") not in state.words:
            return Outcome(state)  # too early
        if not word or word in state.words or len(state.words) >= self.words_max:
            return Outcome(state)
        return Outcome(replace(state, words=(*state.words, word)))


class MemoryRelay:
    """One relay in memory for any number of members; `wipe` makes it forget."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] = {}
        self.sent: list[tuple[Any, tuple[str, ...]]] = []
        self.is_down = False
        self.hears_nothing = False  # it takes events and shows them to nobody
        self._queues: list[tuple[Any, asyncio.Queue[Any]]] = []

    async def publish(self, event: Any, relays: Any = ()) -> Published:
        if self.is_down:
            raise RelayError("down", is_retriable=True)
        self.sent.append((event, tuple(relays)))
        self.inject(event)
        return Published(("memory",))

    def inject(self, event: Any, copies: int = 1) -> None:
        self.stored[event.id] = event
        for filters, queue in self._queues:
            if has_any(filters, event) and not self.hears_nothing:
                for _ in range(copies):
                    queue.put_nowait(event)

    def wipe(self) -> None:
        self.stored.clear()

    async def subscribe(self, filters: Any) -> Any:
        if self.is_down:
            raise RelayError("down", is_retriable=True)
        queue: asyncio.Queue[Any] = asyncio.Queue()
        mine = (filters, queue)
        for event in self.stored.values():
            if has_any(filters, event):
                queue.put_nowait(event)
        self._queues.append(mine)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.remove(mine)

    async def fetch(self, filters: Any, timeout_s: float = 10.0) -> list[Any]:
        if self.is_down:
            raise RelayError("down", is_retriable=True)
        return [event for event in self.stored.values() if has_any(filters, event)]

    async def close(self) -> None: ...


ANSWERS: dict[type, Any] = {
    fx.Store: lambda e: fx.Stored(e.key, REF),
    fx.MakeInvoice: lambda e: fx.InvoiceMade(e.key, "lnbcrt1", HASH),
    fx.Fetch: lambda e: fx.Fetched(e.key),
    fx.Unseal: lambda e: fx.Unsealed(e.key, HASH, 3),
    fx.Train: lambda e: fx.Trained(e.key, HASH, 3, 1, 1, 2**60, 5),
    fx.Pay: lambda e: fx.PaymentSeen(e.key, "settled", HASH),
}

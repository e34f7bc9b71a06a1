"""A validator's gate: members' events become requests of its own, each under its next number.

::

    "event " + NIP-01 JSON --size, signature--> the validator's own request --> the order

The committee's clients are its replicas, so a flood through one gate fills that gate's share only.
Half a window of numbers and half of what the pool keeps of one client may be undecided at once;
what is above that is refused, and its member goes to the next gate.

Numbers begin half a window above the last one that was executed: those used before a crash stay
apart from those used after it. Where a journal had forgotten its last decided batches two events
may still meet under one number; one of them is then lost here and its member goes on as well.
"""

from __future__ import annotations

from collections.abc import Iterable

from kumiai.base import events
from kumiai.base.errors import Reject
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.committee import Committee, Signer
from kumiai.consensus.pbft.pool import BYTES_PER_CLIENT_MAX, WINDOW

EVENT = b"event "  # before an event at a validator's door
UNDECIDED_MAX = WINDOW // 2
UNDECIDED_BYTES_MAX = BYTES_PER_CLIENT_MAX // 2


def encode_handed(event: events.Event) -> bytes:
    """Return what a member sends to its gate."""
    return EVENT + events.encode_event(event)


class Gate:
    """Gives events a validator's numbers and knows which of them are undecided."""

    def __init__(self, committee: Committee, signer: Signer, last: int) -> None:
        """last: the highest number of this validator that was executed, -1 where none was."""
        self._committee, self._signer = committee, signer
        self._next = last + 1 + UNDECIDED_MAX
        self._under_way: dict[int, tuple[str, int]] = {}  # number -> event's id and bytes, rising
        self._ids: set[str] = set()
        self._size_bytes = 0

    def take(self, data: bytes) -> m.Request | Reject | None:
        """Return an event's request; None for one that is under way; Reject for what is none.

        data: what came after `EVENT`.
        """
        if self._signer.pubkey not in self._committee.clients:
            return Reject("event", "this validator's own requests are not ordered here")
        try:
            event = events.decode_event(data)
            operation = data.decode()
        except ValueError as error:
            return Reject("event", str(error))
        problem = events.check_event(event)
        if problem is not None:
            return Reject("event", problem)
        if event.id in self._ids:
            return None
        size_bytes = self._size_bytes + len(data)
        if len(self._under_way) >= UNDECIDED_MAX or size_bytes > UNDECIDED_BYTES_MAX:
            detail = f"{len(self._under_way)} events, {self._size_bytes} bytes are undecided here"
            return Reject("event", detail)
        request = m.sign_request(self._signer, self._next, operation)
        self._next += 1
        self._under_way[request.timestamp] = event.id, len(data)
        self._ids.add(event.id)
        self._size_bytes = size_bytes
        return request

    def note_executed(self, requests: Iterable[m.Request]) -> None:
        """Make room for what was executed, and for what never will be: it is below the window."""
        for request in requests:
            if request.client != self._signer.pubkey:
                continue
            self._forget(request.timestamp)
            self._next = max(self._next, request.timestamp + 1)
            while self._under_way and (first := next(iter(self._under_way))) <= (
                request.timestamp - WINDOW
            ):
                self._forget(first)

    def _forget(self, number: int) -> None:
        event_id, size_bytes = self._under_way.pop(number, ("", 0))
        self._ids.discard(event_id)
        self._size_bytes -= size_bytes

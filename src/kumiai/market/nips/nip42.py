"""NIP-42: a client shows a relay whose it is, by signing the relay's challenge.

Source: nostr-protocol/nips, 42.md. The event is for one relay, one connection and ten minutes.
"""

from __future__ import annotations

from typing import Final

from kumiai.base.events import Event, check_event
from kumiai.market.nips.drafts import Draft, check_text, get_needed
from kumiai.market.nips.urls import normalise_relay_url

KIND: Final = 22_242
AGE_S_MAX: Final = 600  # either way: the clocks may differ
CHALLENGE_CHARS_MAX: Final = 256


def make_auth(challenge: str, relay_url: str) -> Draft:
    """Return the draft that answers a challenge; ValueError for no address or a huge challenge."""
    check_text(challenge, "challenge", CHALLENGE_CHARS_MAX)
    if not challenge:
        raise ValueError("challenge: it is empty")
    return Draft(KIND, (("relay", normalise_relay_url(relay_url)), ("challenge", challenge)))


def check_auth(event: Event, challenge: str, relay_url: str, now_s: int) -> str | None:
    """Return why `event` does not answer this relay's challenge, or None: `pubkey` is proven."""
    if event.kind != KIND:
        return f"kind {event.kind}, not {KIND}"
    if abs(now_s - event.created_at) > AGE_S_MAX:
        return f"created {abs(now_s - event.created_at)} s from now, at most {AGE_S_MAX}"
    try:
        if not challenge or get_needed(event.tags, "challenge") != challenge:
            return "answers another challenge"
        given = normalise_relay_url(get_needed(event.tags, "relay"))
    except ValueError as error:
        return str(error)
    if given != normalise_relay_url(relay_url):
        return f"made for the relay {given}"
    return check_event(event)

"""What goes over a relay's socket (NIP-01, NIP-42): read with a cap before anything is parsed.

A relay may send anything. `read_frame` gives back a tuple whose parts have the right types, or
raises ValueError; the event inside is still an unread JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from kumiai.market.nips import nip01
from kumiai.market.nips.nip01 import EVENT_BYTES_MAX, SUBSCRIPTION_ID_CHARS_MAX, Filter

FRAME_BYTES_MAX: Final = 1024 * 1024  # a longer one ends the connection: no honest relay sends it
ENVELOPE_BYTES_MAX: Final = 512  # of a frame around its event
REASON_CHARS_MAX: Final = 200  # of a relay's own words that are kept
CHALLENGE_CHARS_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of a relay. subject: subscription id, event id or challenge; "" for a notice."""

    name: str  # EVENT | OK | EOSE | CLOSED | NOTICE | AUTH
    subject: str
    event: dict[str, Any] | None = None
    is_accepted: bool = False
    reason: str = ""


def read_frame(data: str | bytes) -> Frame:
    """Read one message; ValueError says what is wrong with it."""
    if isinstance(data, bytes):
        raise ValueError("a binary frame")
    if len(data) > EVENT_BYTES_MAX + ENVELOPE_BYTES_MAX:
        raise ValueError(f"a message of {len(data)} characters")
    try:
        parts = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(parts, list) or len(parts) < 2:
        raise ValueError("not a message of NIP-01")
    name, subject = parts[0], parts[1]
    if not isinstance(name, str) or not isinstance(subject, str):
        raise ValueError("not a message of NIP-01")
    subject.encode()  # ValueError: JSON may hold halves of characters, which no event can
    if name == "NOTICE":
        return Frame(name, "", reason=clean(subject))
    if len(subject) > CHALLENGE_CHARS_MAX:
        raise ValueError(f"{name} with a name of {len(subject)} characters")
    if name == "EVENT" and len(parts) == 3 and isinstance(parts[2], dict):
        return Frame(name, subject, event=parts[2])
    if name == "OK" and len(parts) >= 3 and isinstance(parts[2], bool):
        return Frame(name, subject, is_accepted=parts[2], reason=_read_reason(parts, 3))
    if name in {"EOSE", "AUTH"}:
        return Frame(name, subject)
    if name == "CLOSED":
        return Frame(name, subject, reason=_read_reason(parts, 2))
    raise ValueError(f"message {name[:20]!r} of a form that NIP-01 does not know")


def encode_publish(event_text: str) -> str:
    """Return the message that hands an encoded event to a relay."""
    return f'["EVENT",{event_text}]'


def encode_request(request_id: str, filters: Sequence[Filter]) -> str:
    """Return the message that asks for events; ValueError for an id that relays refuse."""
    if not 1 <= len(request_id) <= SUBSCRIPTION_ID_CHARS_MAX:
        raise ValueError(f"a subscription id of {len(request_id)} characters")
    wanted = [nip01.encode_filter(it) for it in filters]
    return json.dumps(["REQ", request_id, *wanted], separators=(",", ":"))


def encode_close(request_id: str) -> str:
    """Return the message that ends a subscription."""
    return json.dumps(["CLOSE", request_id], separators=(",", ":"))


def encode_auth(event_text: str) -> str:
    """Return the message that answers a relay's challenge."""
    return f'["AUTH",{event_text}]'


def clean(text: str) -> str:
    """Return a relay's own words, short and without what a terminal would obey."""
    return "".join(it if it.isprintable() else "?" for it in text[:REASON_CHARS_MAX])


def _read_reason(parts: list[Any], at: int) -> str:
    reason = parts[at] if len(parts) > at else ""
    return clean(reason) if isinstance(reason, str) else ""

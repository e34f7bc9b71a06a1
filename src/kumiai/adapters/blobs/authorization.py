"""Who asks a blob server for what: BUD-11, an event of kind 24242 in the Authorization header.

Source: hzrd149/blossom, BUD-11. The header is `Nostr ` and the event in base64 (base64url without
padding is written; both alphabets are read). Beyond the document: an `x` tag is demanded wherever
one blob is meant, an authorization that lives longer than the server's limit is refused, and one
that names servers counts on those only.

Guarantee: `read_authorization` returns only what the owner of `pubkey` signed, for this verb, this
server and this time. It may be used again until it expires: a server has to make that harmless.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kumiai.adapters.blobs.limits import RefusedError
from kumiai.base.canonical import is_hash
from kumiai.base.events import Event, Tags
from kumiai.base.keys import SigningKey
from kumiai.market.nips import nip01

AUTHORIZATION_KIND: Final = 24242
HEADER_CHARS_MAX: Final = 12 * 1024
CLOCK_SLACK_S: Final = 60  # how far the signer's clock may be ahead of the server's
HASHES_MAX: Final = 100

_SCHEME = "Nostr "


@dataclass(frozen=True, slots=True)
class Authorization:
    """What a key may do until `expires_at_s`: hashes are the blobs that it named."""

    pubkey: str
    verb: str
    hashes: tuple[str, ...]
    expires_at_s: int

    def check_hash(self, sha256: str) -> None:
        """Raise RefusedError unless the blob is among those that the signer named."""
        if sha256 not in self.hashes:
            raise RefusedError(403, f"the authorization names no blob {sha256}")


def sign_authorization(
    key: SigningKey,
    verb: str,
    now_s: int,
    *,
    hashes: Sequence[str] = (),
    hosts: Sequence[str] = (),
    life_s: int = 600,
) -> str:
    """Return the value of the Authorization header. hosts: domain names it is good for."""
    tags = [["t", verb], ["expiration", str(now_s + life_s)]]
    tags += [["x", sha256] for sha256 in hashes]
    tags += [["server", host.lower()] for host in hosts]
    event = nip01.sign_text(key, AUTHORIZATION_KIND, now_s, f"{verb} blobs", tags)
    return _SCHEME + base64.urlsafe_b64encode(nip01.encode_event(event)).decode().rstrip("=")


def read_authorization(
    header: str | None, verb: str, now_s: int, host: str, life_s_max: int
) -> Authorization:
    """Check the header for a request with `verb` to `host`; RefusedError 401 says what is wrong."""
    event = _decode(header)
    if event.kind != AUTHORIZATION_KIND:
        raise RefusedError(401, f"the event has kind {event.kind}, not {AUTHORIZATION_KIND}")
    flaw = nip01.check_event(event)
    if flaw is not None:
        raise RefusedError(401, f"the authorization does not hold: {flaw}")
    if nip01.get_values(event.tags, "t") != [verb]:
        raise RefusedError(401, f"the authorization is not for {verb}")
    expires_at_s = _read_expiration(event.tags)
    if event.created_at > now_s + CLOCK_SLACK_S:
        raise RefusedError(401, "the authorization is dated in the future: check the clock")
    if expires_at_s <= now_s:
        raise RefusedError(401, "the authorization has expired")
    if expires_at_s - event.created_at > life_s_max:
        raise RefusedError(401, f"the authorization lives longer than {life_s_max} seconds")
    servers = nip01.get_values(event.tags, "server")
    if servers and host.lower() not in [_read_host(text) for text in servers]:
        raise RefusedError(401, "the authorization is for other servers")
    hashes = tuple(nip01.get_values(event.tags, "x"))
    if len(hashes) > HASHES_MAX or not all(is_hash(text) for text in hashes):
        raise RefusedError(401, f"x tags hold a sha256 each, at most {HASHES_MAX}")
    return Authorization(event.pubkey, verb, hashes, expires_at_s)


def _decode(header: str | None) -> Event:
    if not header:
        raise RefusedError(401, "no authorization: sign an event of kind 24242 (BUD-11)")
    if len(header) > HEADER_CHARS_MAX or header[: len(_SCHEME)].lower() != _SCHEME.lower():
        raise RefusedError(401, f"the authorization is not `{_SCHEME}` and a short event")
    text = header[len(_SCHEME) :].strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        return nip01.decode_event(data, HEADER_CHARS_MAX)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(401, "the authorization holds no event in base64") from error


def _read_expiration(tags: Tags) -> int:
    texts = nip01.get_values(tags, "expiration")
    if len(texts) != 1 or not (texts[0].isascii() and texts[0].isdigit() and len(texts[0]) < 13):
        raise RefusedError(401, "the authorization has no single expiration in seconds")
    return int(texts[0])


def _read_host(text: str) -> str:
    """BUD-11 says a domain name; older clients write the whole URL."""
    return text.lower().split("://", 1)[-1].split("/", 1)[0].rsplit("@", 1)[-1]

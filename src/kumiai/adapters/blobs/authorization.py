"""Who asks a blob server for what: the Authorization header of HTTP around BUD-11's events.

Event and checks are `market.nips.bud`'s. Beyond them: an authorization that lives longer than the
server's limit is refused. It may be used again until it expires, so the server has to make that
harmless: uploads of the same blob are one, and a deletion names its blobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kumiai.adapters.blobs.limits import RefusedError
from kumiai.base.canonical import is_hash
from kumiai.base.events import Event
from kumiai.base.keys import SigningKey
from kumiai.market.nips import bud, nip01
from kumiai.market.nips.bud import Verb
from kumiai.market.nips.nip40 import get_expiration


@dataclass(frozen=True, slots=True)
class Authorization:
    """What a key may do until `expires_at_s`: hashes are the blobs that it named."""

    pubkey: str
    verb: Verb
    hashes: tuple[str, ...]
    expires_at_s: int

    def check_hash(self, sha256: str) -> None:
        """Raise RefusedError unless the blob is among those that the signer named."""
        if sha256 not in self.hashes:
            raise RefusedError(403, f"the authorization names no blob {sha256}")


def sign_authorization(
    key: SigningKey,
    verb: Verb,
    now_s: int,
    *,
    hashes: Sequence[str] = (),
    servers: Sequence[str] = (),
    life_s: int = 600,
) -> str:
    """Return the value of the Authorization header. servers: base URLs that it is good for."""
    draft = bud.make_auth(verb, now_s + life_s, f"{verb.value} blobs", hashes, servers)
    event = nip01.sign_text(key, draft.kind, now_s, draft.content, draft.tags)
    return bud.encode_header(event)


def read_authorization(
    header: str | None, verb: Verb, now_s: int, url: str, life_s_max: int
) -> Authorization:
    """Check the header for a request with `verb` to the server at `url`; RefusedError 401."""
    if not header:
        raise RefusedError(401, f"no authorization: sign an event of kind {bud.AUTH_KIND} (BUD-11)")
    event = _decode(header)
    flaw = bud.check_auth(event, verb, now_s, url)
    if flaw is not None:
        raise RefusedError(401, f"the authorization does not hold: {flaw}")
    expires_at_s = get_expiration(event.tags) or 0
    if expires_at_s - event.created_at > life_s_max:
        raise RefusedError(401, f"the authorization lives longer than {life_s_max} seconds")
    hashes = tuple(nip01.get_values(event.tags, "x"))
    if len(hashes) > bud.HASH_COUNT_MAX or not all(is_hash(text) for text in hashes):
        raise RefusedError(401, f"x tags hold a sha256 each, at most {bud.HASH_COUNT_MAX}")
    return Authorization(event.pubkey, verb, hashes, expires_at_s)


def _decode(header: str) -> Event:
    try:
        return bud.decode_header(header)
    except ValueError as error:
        raise RefusedError(401, f"the authorization holds no event: {error}") from error

"""A member's mask secrets, dealt to its group so that a missing member does not cost the sum.

K. Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning" (2017),
the round ShareKeys: both secrets of `masking` are split by `sharing`, and each holder's two pieces
travel encrypted, in public. The key of one piece of mail is

    HMAC-SHA256(ECDH(own share key, holder's share key), task, round, attempt, dealer, holder)

with ChaCha20-Poly1305 (RFC 8439) and a zero nonce: every key is used once.

Deviation: a share key is of one run and not of one round, so that one message a round does; it is
published with the enrolment and none of its secret is ever opened. Whoever learns it later can read
the pieces that came to it: a member forgets it when the run ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coincurve import PrivateKey, PublicKey
from Crypto.Cipher import ChaCha20_Poly1305

from kumiai.learning.privacy.masking import MaskCard, MaskSecrets, make_card
from kumiai.learning.privacy.sharing import SHARE_BYTES, deal
from kumiai.learning.privacy.stream import SecretStream, derive_stream_key

TAG_BYTES = 16
SEALED_HEX_DIGITS = 2 * (2 * SHARE_BYTES + TAG_BYTES)
_NONCE = bytes(12)

Place = tuple[str, int, int]  # task, round, attempt


@dataclass(frozen=True)
class MaskDealing:
    """What a member publishes before it masks; hashes and sealed pieces in the holders' order."""

    card: MaskCard
    own_hashes: tuple[str, ...]
    agreement_hashes: tuple[str, ...]
    sealed: tuple[str, ...]  # hex


def derive_share_secret(secret: bytes) -> bytes:
    """Return the secret half of a member's share key, from 32 bytes that only it knows."""
    return derive_stream_key(secret, "share-key")


def make_share_key(share_secret: bytes) -> str:
    """Return the public half: 66 hex digits."""
    return PublicKey.from_secret(share_secret).format().hex()


def deal_secrets(
    secret: bytes,
    secrets: MaskSecrets,
    dealer: str,
    share_keys: Mapping[str, str],
    threshold: int,
    place: Place,
) -> MaskDealing:
    """Deal `secrets` to all members of the group, oneself among them.

    share_keys: holder -> its public share key, in the order of the shares. secret: 32 bytes of the
    dealer's own. Raises ValueError as `sharing.deal` does, or for a key that is no point.
    """
    holders = list(share_keys)
    share_secret = derive_share_secret(secret)
    own, agreement = (
        deal(value, holders, threshold, SecretStream(derive_stream_key(secret, purpose, *place)))
        for purpose, value in (
            ("share-own", secrets.own_seed),
            ("share-agreement", secrets.agreement),
        )
    )
    sealed = []
    for holder in holders:
        key = _agree(share_secret, share_keys[holder], dealer, holder, place)
        cipher = ChaCha20_Poly1305.new(key=key, nonce=_NONCE)
        data, tag = cipher.encrypt_and_digest(own.shares[holder] + agreement.shares[holder])
        sealed.append((data + tag).hex())
    return MaskDealing(make_card(secrets), own.hashes, agreement.hashes, tuple(sealed))


def open_pieces(
    secret: bytes, holder: str, dealer: str, dealer_key: str, sealed: str, place: Place
) -> tuple[bytes, bytes] | None:
    """Return the pieces of (own seed, agreement secret) that `dealer` sent to `holder`.

    None for what was not sealed for this holder and place: the dealer's fault.
    """
    key = _agree(derive_share_secret(secret), dealer_key, dealer, holder, place)
    data = bytes.fromhex(sealed)
    cipher = ChaCha20_Poly1305.new(key=key, nonce=_NONCE)
    try:
        pieces = cipher.decrypt_and_verify(data[:-TAG_BYTES], data[-TAG_BYTES:])
    except ValueError:
        return None
    return pieces[:SHARE_BYTES], pieces[SHARE_BYTES:]


def _agree(
    share_secret: bytes, public: str, dealer: str, holder: str, place: Sequence[object]
) -> bytes:
    shared = PrivateKey(share_secret).ecdh(bytes.fromhex(public))
    return derive_stream_key(shared, "mask-mail", *map(str, place), dealer, holder)

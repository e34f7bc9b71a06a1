"""Adding updates up without seeing any of them: masks that cancel in the sum.

K. Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning" (2017),
the double-masking protocol without its transport. With x the update, PRG a secret stream of 64-bit
words, s(u, v) the key that u and v agree on, b(u) the member's own seed, all modulo 2^64:

    y(u) = x(u) + PRG(b(u)) + sum over v > u of PRG(s(u, v)) - sum over v < u of PRG(s(u, v))

Pairwise masks cancel in the sum. For each survivor its b(u), for each dropped member its agreement
secret is put together from shares (`sharing`) and its masks are taken off. Nobody may open both of
one member: that would uncover its update. 64 bits instead of the update's 32 keep the sum of up to
2^32 members exact. Keys are of one round: opening a secret must not open another round.

Deviation: keys are agreed by ECDH on secp256k1 (SHA-256 of the compressed point), as the
members' other keys lie on that curve. Guarantee: fewer than the threshold of members, together with
whoever collects, learn the sum of the survivors' updates and nothing else about them; honest but
curious, as nothing here makes members send true updates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from coincurve import PrivateKey, PublicKey
from numpy.typing import NDArray

from kumiai.learning.fixed_point import IntVector, LongVector
from kumiai.learning.privacy.stream import SecretStream, derive_stream_key

MEMBERS_MIN = 2  # the sum of one is that one
PUBLIC_HEX_DIGITS = 66

Words = NDArray[np.uint64]


@dataclass(frozen=True)
class MaskSecrets:
    """A member's secrets of one round: its half of every agreement, the seed of its own mask."""

    agreement: bytes
    own_seed: bytes

    def __repr__(self) -> str:
        return "MaskSecrets(...)"  # a secret never reaches a log


@dataclass(frozen=True)
class MaskCard:
    """What everybody knows of a member's secrets: the agreement's public key, the seed's hash."""

    public: str  # 66 hex digits, compressed point
    own_seed_hash: str


def derive_mask_secrets(secret: bytes, task_id: str, round_index: int, attempt: int) -> MaskSecrets:
    """Return a member's secrets of one attempt at a round, from 32 bytes that only it knows.

    A round that is redone has other secrets: opened ones must not open its other update.
    """
    return MaskSecrets(
        derive_stream_key(secret, "mask-agreement", task_id, round_index, attempt),
        derive_stream_key(secret, "mask-own", task_id, round_index, attempt),
    )


def make_card(secrets: MaskSecrets) -> MaskCard:
    """Return what the member publishes before anybody masks."""
    public = PublicKey.from_secret(secrets.agreement).format().hex()
    return MaskCard(public, hashlib.sha256(secrets.own_seed).hexdigest())


def is_public_key(text: str) -> bool:
    """Tell whether a card's public key is a compressed point of the curve, in hex."""
    try:
        return len(text) == PUBLIC_HEX_DIGITS and bool(PublicKey(bytes.fromhex(text)))
    except ValueError:
        return False


def is_own_seed(card: MaskCard, seed: bytes) -> bool:
    """Tell whether this is the seed on the card."""
    return hashlib.sha256(seed).hexdigest() == card.own_seed_hash


def is_agreement(card: MaskCard, secret: bytes) -> bool:
    """Tell whether this is the secret of the card's public key."""
    try:
        return PublicKey.from_secret(secret).format().hex() == card.public
    except ValueError:  # no number of the curve's order
        return False


def mask_update(
    update_P: IntVector, member: str, secrets: MaskSecrets, cards: Mapping[str, MaskCard]
) -> Words:
    """Return y(member). cards: of all members of the round, by name, this one's own among them.

    Raises ValueError for fewer than two members, a card that is not the member's own, or a card
    whose key is no point of the curve.
    """
    _check_cards(cards)
    if cards.get(member) != make_card(secrets):
        raise ValueError(f"the card of {member} does not belong to its secrets")
    masked_P = update_P.astype(np.int64).view(np.uint64) + _draw(secrets.own_seed, len(update_P))
    return _add_pairs(masked_P, member, secrets.agreement, cards, set(cards) - {member})


def unmask_sum(
    masked: Mapping[str, Words],
    cards: Mapping[str, MaskCard],
    own_seeds: Mapping[str, bytes],
    agreements: Mapping[str, bytes],
) -> LongVector:
    """Return the exact sum of the survivors' updates, int64 [P].

    masked: y(u) of each survivor. own_seeds: b(u) of exactly the survivors. agreements: the secret
    of exactly the members that dropped out. Raises ValueError, naming the member, for anything
    missing, too much (both secrets of one member), of another length, or not what its card says.
    """
    _check_cards(cards)
    dropped = set(cards) - set(masked)
    _check_names("masked updates", set(masked), set(masked) & set(cards))
    _check_names("own seeds", set(own_seeds), set(masked))
    _check_names("agreement secrets", set(agreements), dropped)
    sizes = {len(vector_P) for vector_P in masked.values()}
    if len(sizes) != 1:
        raise ValueError(f"masked updates of lengths {sorted(sizes)}: expected one length")
    total_P = np.zeros(sizes.pop(), dtype=np.uint64)
    for member, vector_P in sorted(masked.items()):
        if not is_own_seed(cards[member], own_seeds[member]):
            raise ValueError(f"the own seed of {member} is not the one on its card")
        total_P += vector_P - _draw(own_seeds[member], len(vector_P))
    for member, secret in sorted(agreements.items()):
        if not is_agreement(cards[member], secret):
            raise ValueError(f"the agreement secret of {member} is not the one on its card")
        # what the survivors hold against the dropped one is its own masks, negated
        total_P = _add_pairs(total_P, member, secret, cards, set(masked))
    return total_P.view(np.int64)


def _add_pairs(
    vector_P: Words,
    member: str,
    agreement: bytes,
    cards: Mapping[str, MaskCard],
    others: set[str],
) -> Words:
    key = PrivateKey(agreement)
    for other in sorted(others):
        try:
            shared = key.ecdh(bytes.fromhex(cards[other].public))
        except ValueError as error:
            raise ValueError(f"the card of {other} holds no public key: {error}") from error
        mask_P = _draw(shared, len(vector_P))
        vector_P = vector_P + mask_P if member < other else vector_P - mask_P
    return vector_P


def _draw(key: bytes, count: int) -> Words:
    return SecretStream(key).draw_words(count)


def _check_cards(cards: Mapping[str, MaskCard]) -> None:
    if len(cards) < MEMBERS_MIN:
        raise ValueError(f"{len(cards)} member(s): secure aggregation needs at least {MEMBERS_MIN}")


def _check_names(what: str, found: set[str], wanted: set[str]) -> None:
    if found != wanted:
        raise ValueError(
            f"{what}: missing of {sorted(wanted - found)}, not expected of {sorted(found - wanted)}"
        )

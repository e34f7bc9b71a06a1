"""What a trainer of a secure run keeps to itself, and what it shows of it when.

The secrets of an attempt at a round follow from 32 bytes that only the member has, so a node that
was killed deals and masks the same again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kumiai.learning.privacy.dealing import (
    deal_secrets,
    derive_share_secret,
    make_share_key,
    open_pieces,
)
from kumiai.learning.privacy.masking import derive_mask_secrets
from kumiai.learning.privacy.sharing import hash_share
from kumiai.rounds.masks import find_group, list_asked_hashes, list_dealers
from kumiai.rounds.state import RoundState, RunState
from kumiai.tasks.secure import compute_threshold

Content = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class MaskHolder:
    """A member's masks. `secret` is its own for the whole run, 32 bytes."""

    secret: bytes = field(repr=False)

    @property
    def share_key(self) -> str:
        """Return what others seal their shares for."""
        return make_share_key(derive_share_secret(self.secret))

    def list_cards(self, current: RoundState, member: str) -> tuple[tuple[str, str, str], ...]:
        """Return the cards of all who dealt in the member's group: whose masks are put on."""
        dealers = list_dealers(current, find_group(current, member))
        cards = ((dealer, current.dealings[dealer].card) for dealer in dealers)
        return tuple((dealer, card.public, card.own_seed_hash) for dealer, card in cards)

    def deal(self, run: RunState, current: RoundState, member: str) -> Content | None:
        """Return the dealing to publish, None without a group."""
        group = find_group(current, member)
        if not group:
            return None
        place = (run.task_id, current.index, current.attempt)
        dealing = deal_secrets(
            self.secret,
            derive_mask_secrets(self.secret, *place),
            member,
            {holder: run.members[holder].share_key for holder in group},
            compute_threshold(len(group)),
            place,
        )
        return {
            "public": dealing.card.public,
            "own_seed_hash": dealing.card.own_seed_hash,
            "own_hashes": list(dealing.own_hashes),
            "agreement_hashes": list(dealing.agreement_hashes),
            "sealed": list(dealing.sealed),
        }

    def unmask(self, run: RunState, current: RoundState, member: str) -> Content | None:
        """Return the shares to show, one of each who dealt; None if one's update is in no sum."""
        if member not in current.revealed:
            return None
        group = find_group(current, member)
        place, holder = (run.task_id, current.index, current.attempt), group.index(member)
        shares = []
        for dealer in list_dealers(current, group):
            sealed = current.dealings[dealer].sealed[holder]
            dealer_key = run.members[dealer].share_key
            pieces = open_pieces(self.secret, member, dealer, dealer_key, sealed, place) or ()
            wanted = list_asked_hashes(current, dealer)[holder]
            # nothing for what is not what was dealt
            shares.append(next((p.hex() for p in pieces if hash_share(p) == wanted), ""))
        return {"shares": shares}

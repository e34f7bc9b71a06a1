"""Secure runs: trainers deal the secrets of their masks, and open the sums of their groups.

K. Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning" (2017).
A round has two phases more: DEAL before TRAIN, in which each trainer publishes its card and the
sealed shares (ShareKeys), and UNMASK after REVEAL, in which who revealed a masked update shows its
shares (Unmasking): of the own seed of each member whose update is in the sum, of the agreement
secret of each who dealt and then dropped out. Which of the two follows from the log, and a share of
the other kind is refused: both kinds of one member would uncover its update.

A group of which fewer than the threshold stay is VOID: nothing of it is opened, nobody is blamed.
Is every group VOID, the round is redone with other groups and secrets. Whoever dealt shares that do
not give what its card says is counted silent.

Deviation: groups (of `privacy.group_size` at least) instead of one sum over all, drawn by lot, so
that there is something to score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kumiai.base import canonical
from kumiai.base.log import Record
from kumiai.learning.privacy.dealing import SEALED_HEX_DIGITS, MaskDealing
from kumiai.learning.privacy.masking import MaskCard, is_agreement, is_own_seed, is_public_key
from kumiai.learning.privacy.sharing import SHARE_BYTES, hash_share, join
from kumiai.rounds.current import find_open
from kumiai.rounds.effects import Outcome, refuse
from kumiai.rounds.opened import OpenedGroup
from kumiai.rounds.state import (
    AssignmentState,
    RoundPhase,
    RoundState,
    RunState,
)
from kumiai.tasks.secure import compute_threshold

GROUP_NAME = "group {number}"


def draw_groups(seed: str, members: Sequence[str], size: int) -> tuple[tuple[str, ...], ...]:
    """Put the members into as many groups of at least `size` as there can be; () for too few."""
    count = len(members) // size
    by_lot = sorted(members, key=lambda key: canonical.sha256_hex(f"{seed}/{key}".encode()))
    return tuple(tuple(sorted(by_lot[number::count])) for number in range(count))


def draw_round_groups(
    state: RunState, index: int, attempt: int, members: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    """The lot of a round: the last certified beacon, or before there is one the log so far."""
    assert state.task is not None
    last = str(state.certificates[-1].body["beacon"]) if state.certificates else state.head
    seed = f"{state.task_id}/{index}/{attempt}/{last}"
    return draw_groups(seed, members, state.task.privacy.group_size)


def find_group(current: RoundState, member: str) -> tuple[str, ...]:
    """Return the member's group, () if it has none."""
    return next((group for group in current.groups if member in group), ())


def list_dealers(current: RoundState, group: Sequence[str]) -> tuple[str, ...]:
    """Return who of a group has dealt, in the order of the keys: whose masks are in its sum."""
    return tuple(member for member in group if member in current.dealings)


def list_asked_hashes(current: RoundState, dealer: str) -> tuple[str, ...]:
    """Return the hashes of the shares of `dealer` that are to be shown, in the holders' order.

    Of its own seed if its update is in the sum, else of its agreement secret: never of both.
    """
    dealing = current.dealings[dealer]
    return dealing.own_hashes if dealer in current.revealed else dealing.agreement_hashes


def on_deal(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A trainer publishes its card and deals the shares of the secrets behind it."""
    current, group, problem = _find(state, record, content, RoundPhase.DEAL)
    if problem is not None or current is None:
        return problem or refuse(state, "wrong-phase", "no round is open")
    member = record.event.pubkey
    if current.assignments[member].state is not AssignmentState.OFFERED:
        return refuse(state, "wrong-state", f"it is {current.assignments[member].state}")
    dealing = MaskDealing(
        MaskCard(content["public"], content["own_seed_hash"]),
        tuple(content["own_hashes"]),
        tuple(content["agreement_hashes"]),
        tuple(content["sealed"]),
    )
    if member in current.dealings:
        detail = (
            "dealt already" if current.dealings[member] == dealing else "two different dealings"
        )
        return refuse(state, "duplicate", detail, member=member)
    detail = _check_dealing(dealing, len(group))
    if detail:
        return refuse(state, "bad-dealing", detail, member=member)
    dealings = {**current.dealings, member: dealing}
    return Outcome(replace(state, round=replace(current, dealings=dealings)))


def on_unmask(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A trainer shows, for each who dealt in its group, the one share that is asked for.

    "" stands for a share that it did not receive as it was dealt.
    """
    current, group, problem = _find(state, record, content, RoundPhase.UNMASK)
    if problem is not None or current is None:
        return problem or refuse(state, "wrong-phase", "no round is open")
    holder, shares = record.event.pubkey, content["shares"]
    if holder not in current.revealed:
        return refuse(state, "not-in-sum", "only whose update is in the sum opens it")
    if holder in current.openings:
        return refuse(state, "duplicate", "opened already", member=holder)
    dealers = list_dealers(current, group)
    if len(shares) != len(dealers):
        return refuse(state, "bad-share", f"{len(shares)} shares, {len(dealers)} are asked for")
    for dealer, share in zip(dealers, shares, strict=True):
        reason = _check_share(current, dealer, group.index(holder), share)
        if reason:
            detail = f"of {dealer[:12]}: {reason}"
            return refuse(state, "bad-share", detail, holder=holder, dealer=dealer)
    openings = {**current.openings, holder: tuple(shares)}
    return Outcome(replace(state, round=replace(current, openings=openings)))


def is_deal_complete(current: RoundState) -> bool:
    """Everybody who is offered work in a group has dealt."""
    return all(
        member in current.dealings
        for group in current.groups
        for member in group
        if current.assignments[member].state is AssignmentState.OFFERED
    )


def is_unmask_complete(current: RoundState, live: frozenset[str]) -> bool:
    """Everybody whose update is in a sum, and who is still there, has shown its shares."""
    return live & frozenset(current.revealed) <= current.openings.keys()


def close_deal(state: RunState) -> RunState:
    """The silent are NO_REPLY; groups of which too few have dealt are VOID."""
    assert state.round is not None
    current = state.round
    assignments = dict(current.assignments)
    for member, assignment in current.assignments.items():
        if assignment.state is AssignmentState.OFFERED and member not in current.dealings:
            assignments[member] = replace(assignment, state=AssignmentState.NO_REPLY)
    offered = frozenset({AssignmentState.OFFERED})
    closed = _void_small(replace(current, assignments=assignments), offered)
    return replace(state, round=closed)


def close_masked_reveal(current: RoundState) -> RoundState:
    """Groups of which too few have revealed are VOID; the others' updates are to be summed."""
    closed = _void_small(current, frozenset({AssignmentState.REVEALED}))
    return _keep_revealed(closed)


def open_groups(current: RoundState) -> tuple[RoundState, frozenset[str]]:
    """Put the secrets together; return the round with its opened groups, and who is to blame.

    To blame is who did not show its shares, or dealt what does not give the secrets of its card.
    """
    blamed = set(current.revealed) - current.openings.keys()
    opened, assignments = [], dict(current.assignments)
    for number, group in enumerate(current.groups, start=1):
        present = [member for member in group if member in current.revealed]
        if not present:
            continue
        found, liars = _open_group(current, GROUP_NAME.format(number=number), group)
        blamed |= liars
        if found is not None:
            opened.append(found)
            continue
        for member in present:
            void = replace(assignments[member], state=AssignmentState.VOID)
            assignments[member] = void
    kept = _keep_revealed(replace(current, assignments=assignments, opened=tuple(opened)))
    return kept, frozenset(blamed)


def _open_group(
    current: RoundState, name: str, group: tuple[str, ...]
) -> tuple[OpenedGroup | None, frozenset[str]]:
    dealers = list_dealers(current, group)
    secrets: dict[str, str] = {}
    liars = set()
    for place, dealer in enumerate(dealers):
        shares = {
            holder: bytes.fromhex(current.openings[holder][place])
            for holder in group
            if current.openings.get(holder, ("",) * len(dealers))[place]
        }
        if len(shares) < compute_threshold(len(group)):
            continue
        hashes = list_asked_hashes(current, dealer)
        try:
            secret = join(shares, group, compute_threshold(len(group)), hashes)
        except ValueError:
            secret = b""
        fits = is_own_seed if dealer in current.revealed else is_agreement
        if secret and fits(current.dealings[dealer].card, secret):
            secrets[dealer] = secret.hex()
        else:
            liars.add(dealer)
    if secrets.keys() != set(dealers):
        return None, frozenset(liars)
    summed = [member for member in dealers if member in current.revealed]
    cards = ((member, current.dealings[member].card) for member in dealers)
    return OpenedGroup(
        name=name,
        masked=tuple((member, current.assignments[member].blob) for member in summed),
        cards=tuple((member, card.public, card.own_seed_hash) for member, card in cards),
        own_seeds=tuple((member, secrets[member]) for member in summed),
        agreements=tuple((m, secrets[m]) for m in dealers if m not in current.revealed),
    ), frozenset()


def _void_small(current: RoundState, present: frozenset[AssignmentState]) -> RoundState:
    """Void the groups of which fewer than the threshold are `present`."""
    assignments = dict(current.assignments)
    grouped = [member for group in current.groups for member in group]
    rest = tuple(member for member in current.trainers if member not in grouped)
    for group in (*current.groups, rest):
        left = [member for member in group if assignments[member].state in present]
        if group is rest or len(left) < compute_threshold(len(group)):
            for member in left:
                assignments[member] = replace(assignments[member], state=AssignmentState.VOID)
    return replace(current, assignments=assignments)


def _keep_revealed(current: RoundState) -> RoundState:
    states = {key: assignment.state for key, assignment in current.assignments.items()}
    kept = (key for key in current.revealed if states[key] is AssignmentState.REVEALED)
    return replace(current, revealed=tuple(kept))


def _check_dealing(dealing: MaskDealing, count: int) -> str:
    """Return what is wrong with the form of a dealing to `count` holders, "" for nothing."""
    if not is_public_key(dealing.card.public):
        return "public is no compressed point of the curve"
    lists = (dealing.own_hashes, dealing.agreement_hashes, dealing.sealed)
    if any(len(each) != count for each in lists):
        return f"shares for {[len(each) for each in lists]} holders, the group has {count}"
    hashes = (dealing.card.own_seed_hash, *dealing.own_hashes, *dealing.agreement_hashes)
    if not all(canonical.is_hash(each) for each in hashes):
        return "a hash is not a sha256"
    if not all(_is_hex(each, SEALED_HEX_DIGITS) for each in dealing.sealed):
        return f"a sealed share is not {SEALED_HEX_DIGITS} hex digits"
    return ""


def _check_share(current: RoundState, dealer: str, place: int, share: object) -> str:
    """Return why this is not the share of `dealer`'s that holder number `place` is asked for."""
    if share == "":
        return ""
    if not _is_hex(share, 2 * SHARE_BYTES):
        return f"not {2 * SHARE_BYTES} hex digits"
    found = hash_share(bytes.fromhex(str(share)))
    if found == list_asked_hashes(current, dealer)[place]:
        return ""
    dealing = current.dealings[dealer]
    is_other = found in (dealing.own_hashes[place], dealing.agreement_hashes[place])
    return "the other kind, which must not be shown" if is_other else "not as dealt"


def _is_hex(text: object, digits: int) -> bool:
    return isinstance(text, str) and len(text) == digits and not text.strip("0123456789abcdef")


def _find(
    state: RunState, record: Record, content: Mapping[str, Any], phase: RoundPhase
) -> tuple[RoundState | None, tuple[str, ...], Outcome | None]:
    """The open round and the sender's group in it, or the refusal."""
    current, problem = find_open(state, content, phase)
    if current is None:
        return None, (), problem
    group = find_group(current, record.event.pubkey)
    if not group:
        return None, (), refuse(state, "no-group", "not in a group of this round")
    return current, group, None

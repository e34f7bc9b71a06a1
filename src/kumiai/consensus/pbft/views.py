"""The view change: what a new view must begin with, so that nothing decided before is lost.

A VIEW-CHANGE shows a stable checkpoint and, for every place above it, the proof of the highest view
in which its sender prepared something. From a quorum of them follows what the new view proposes:

    from    the highest stable checkpoint shown
    to      the highest place prepared
    each    the digest prepared in the highest view, or the null batch where nothing was

What was decided anywhere was prepared by a quorum, and two quorums share an honest replica, so its
proof is among those shown. Backups compute the same themselves and accept nothing else.

Source: Castro and Liskov 1999, section 4.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kumiai.consensus.pbft.committee import Committee, Scheme
from kumiai.consensus.pbft.messages import (
    NULL_BATCH,
    NewView,
    PreparedProof,
    PrePrepare,
    Signed,
    StableProof,
    ViewChange,
    is_signed,
)
from kumiai.consensus.pbft.proofs import is_prepared, is_stable

NULL_DIGEST = NULL_BATCH.digest


def find_change_flaw(committee: Committee, scheme: Scheme, window: int, signed: Signed) -> str:
    """Return why a VIEW-CHANGE proves nothing, "" if it holds."""
    change = signed.body
    if not isinstance(change, ViewChange):
        return "it is no view change"
    low = change.stable.sequence
    places = [proof.sequence for proof in change.prepared]
    if places != sorted(set(places)):
        return "its proofs are not in order"
    if any(not low < place <= low + window for place in places):
        return f"a proof lies outside the {window} places above its checkpoint"
    if any(proof.view >= change.view for proof in change.prepared):
        return "a proof is not from an earlier view"
    if not is_signed(committee, scheme, signed):
        return "its sender did not sign it"
    if not is_stable(committee, scheme, change.stable):
        return "its checkpoint is not stable"
    if not all(is_prepared(committee, scheme, proof) for proof in change.prepared):
        return "a proof does not hold"
    return ""


def compute_proposals(changes: Iterable[ViewChange]) -> tuple[StableProof, tuple[str, ...]]:
    """Return the checkpoint from which the new view starts, and the digests from there upwards."""
    shown = list(changes)
    stable = max((change.stable for change in shown), key=lambda proof: proof.sequence)
    best: dict[int, PreparedProof] = {}
    for change in shown:
        for proof in change.prepared:
            if proof.sequence not in best or proof.view > best[proof.sequence].view:
                best[proof.sequence] = proof
    places = range(stable.sequence + 1, max(best, default=0) + 1)
    return stable, tuple(best[p].digest if p in best else NULL_DIGEST for p in places)


def list_proposals(new_view: NewView) -> tuple[StableProof, tuple[PrePrepare, ...]]:
    """Return what a (checked) NEW-VIEW starts from and proposes."""
    stable, digests = compute_proposals(get_changes(new_view.changes))
    first = stable.sequence + 1
    return stable, tuple(
        PrePrepare(new_view.view, first + place, digest) for place, digest in enumerate(digests)
    )


def find_new_view_flaw(committee: Committee, scheme: Scheme, window: int, signed: Signed) -> str:
    """Return why a NEW-VIEW opens nothing, "" if it holds."""
    new_view = signed.body
    if not isinstance(new_view, NewView):
        return "it is no new view"
    if signed.sender != committee.get_primary(new_view.view):
        return "its sender does not lead that view"
    senders = [change.sender for change in new_view.changes]
    if senders != sorted(set(senders)) or len(senders) != committee.quorum:
        return f"it does not show {committee.quorum} replicas, each once, in order"
    if any(
        not isinstance(change.body, ViewChange) or change.body.view != new_view.view
        for change in new_view.changes
    ):
        return "it shows what is no change to this view"
    if not is_signed(committee, scheme, signed):
        return "its sender did not sign it"
    for change in new_view.changes:
        flaw = find_change_flaw(committee, scheme, window, change)
        if flaw:
            return f"the view change of replica {change.sender}: {flaw}"
    _, proposals = list_proposals(new_view)
    if len(proposals) != len(new_view.proposals):
        return f"it signs {len(new_view.proposals)} proposals where {len(proposals)} follow"
    for body, signature in zip(proposals, new_view.proposals, strict=True):
        if not is_signed(committee, scheme, Signed(body, signed.sender, signature)):
            return f"its proposal at {body.sequence} is not what follows"
    return ""


def get_changes(signed: Sequence[Signed]) -> list[ViewChange]:
    """Return the bodies."""
    return [each.body for each in signed if isinstance(each.body, ViewChange)]

"""Certificates: what a quorum of the committee signed about a round, and how to check one.

The body is a canonical document. All of it but `model` and `server_state` follows from the log, so
the fold drafts it; a validator aggregates, fills in the two digests and signs the hash. Quorum
equal hashes make the certificate. A body names the certificate before it and the log head, so that
one certificate stands for the whole history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kumiai.base import canonical, events, merkle
from kumiai.base.events import Event
from kumiai.base.log import Record
from kumiai.consensus.quorum import compute_quorum
from kumiai.rounds.effects import Outcome, refuse
from kumiai.rounds.kinds import Kind
from kumiai.rounds.onchain import draft_chain, find_signature_flaw, has_chain_quorum
from kumiai.rounds.receipt import compute_receipts_root
from kumiai.rounds.signed import Certificate, Vote
from kumiai.rounds.state import RoundPhase, RoundState, RunState

TYPE = "kumiai/certificate/1"


def draft_body(state: RunState, log_height: int, log_head: str) -> Mapping[str, object]:
    """Return the body of the open round without its two model digests."""
    assert state.round is not None
    current = state.round
    scores = [
        canonical.encode([j.member, j.verdict.value, j.reason, j.detail, j.value, j.error])
        for j in current.judgements
    ]
    updates = [canonical.encode(list(entry)) for entry in current.included]
    work = current.assignments.values()
    return {
        "type": TYPE,
        "task": state.task_id,
        "round": current.index,
        "attempt": current.attempt,
        "previous": state.certificates[-1].body_hash if state.certificates else "",
        "model_before": state.model,
        "beacon": current.beacon,
        "committee": list(current.committee),
        "quorum": compute_quorum(len(current.committee)),
        "updates_root": merkle.compute_root(updates),
        "scores_root": merkle.compute_root(scores),
        "receipts_root": compute_receipts_root(current.receipts),
        "receipts_count": len(current.receipts),
        "flop": str(sum(a.flop for a in work)),
        "size_bytes": sum(a.size_bytes for a in work),
        "log_height": log_height,
        "log_head": log_head,
        **draft_chain(state),
    }


def complete_body(draft: Mapping[str, object], model: str, server_state: str) -> dict[str, object]:
    """Fill in what the aggregation gave."""
    return {**draft, "model": model, "server_state": server_state}


def on_certify(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A validator signs the round's certificate."""
    current, validator = state.round, record.event.pubkey
    if current is None or current.phase is not RoundPhase.CERTIFY:
        return refuse(state, "wrong-phase", "nothing to certify now")
    if (content["round"], content["attempt"]) != (current.index, current.attempt):
        return refuse(state, "wrong-round", f"the open round is {current.index}")
    if validator not in current.committee:
        return refuse(state, "not-committee", "not a member of this round's committee")
    if not canonical.is_hash(content["model"]):
        return refuse(state, "bad-hash", "model is not a sha256")
    if content["server_state"] and not canonical.is_hash(content["server_state"]):
        return refuse(state, "bad-hash", "server_state is neither empty nor a sha256")
    body = complete_body(current.draft, content["model"], content["server_state"])
    body_hash = canonical.sha256_hex(canonical.encode(body))
    if body_hash != content["body_hash"]:
        return refuse(
            state, "wrong-body", "the signed hash is not this round's body", expected=body_hash
        )
    signature = content.get("chain")
    if flaw := find_signature_flaw(state, body, body_hash, validator, signature):
        return refuse(state, "bad-chain-signature", flaw)
    if validator in current.votes:
        known = current.votes[validator]
        if known.body_hash == body_hash:
            return refuse(state, "duplicate", "signed already")
        detail = "signatures under two different certificates"
        return refuse(state, "equivocation", detail, first=known.event_id, second=record.event.id)
    vote = Vote(
        validator,
        record.event.id,
        body_hash,
        content["model"],
        content["server_state"],
        state.members[validator].address if signature else "",
        signature or "",
    )
    votes = {**current.votes, validator: vote}
    return Outcome(replace(state, round=replace(current, votes=votes)))


def find_certificate(current: RoundState) -> tuple[Certificate, Vote] | None:
    """Return the certificate as soon as a quorum has signed one body."""
    needed = compute_quorum(len(current.committee))
    by_hash: dict[str, list[Vote]] = {}
    for vote in current.votes.values():
        by_hash.setdefault(vote.body_hash, []).append(vote)
    for body_hash, votes in by_hash.items():
        if len(votes) >= needed and has_chain_quorum(current.draft, tuple(votes)):
            signers = tuple(sorted((v.validator, v.event_id) for v in votes))
            body = complete_body(current.draft, votes[0].model, votes[0].server_state)
            seals = tuple(sorted((v.address, v.chain_signature) for v in votes if v.address))
            return Certificate(current.index, body, body_hash, signers, seals), votes[0]
    return None


@dataclass(frozen=True, slots=True)
class CertificateProblem:
    """Why a certificate must not be believed."""

    detail: str


def check_certificate(
    body: Mapping[str, Any], signatures: Sequence[Event]
) -> CertificateProblem | None:
    """Check a certificate on its own: the quorum of its own committee signed exactly this body.

    Whether that committee is the right one is for the caller to know: from the log, or from keys it
    trusts. Each signature is a complete CERTIFY event.
    """
    try:
        body_hash = canonical.hash_document(body)
        committee = list(body["committee"])
        needed = compute_quorum(len(committee))
    except (KeyError, TypeError, ValueError) as error:
        return CertificateProblem(f"malformed body: {error}")
    if body.get("quorum") != needed:
        return CertificateProblem(
            f"quorum of {len(committee)} is {needed}, not {body.get('quorum')}"
        )
    signers = set()
    for event in signatures:
        problem = events.check_event(event)
        if problem is not None:
            return CertificateProblem(f"signature of {event.pubkey[:12]}: {problem}")
        content = events.read_content(event)
        if event.kind != Kind.CERTIFY or content.get("body_hash") != body_hash:
            return CertificateProblem(f"{event.pubkey[:12]} signed something else")
        if event.pubkey in committee:
            signers.add(event.pubkey)
    if len(signers) < needed:
        return CertificateProblem(f"{len(signers)} of {needed} necessary signatures")
    return None

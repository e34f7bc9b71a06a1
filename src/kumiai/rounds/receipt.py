"""Receipts: for every member and round, what it did, what was concluded, what it is paid, and why.

A receipt is a canonical document; its hash is a leaf of the Merkle tree whose root the committee
signs in the round's certificate. It holds every number that its amount follows from, so that the
amount can be recomputed without the run, and it names the member's previous receipt, so that none
can be left out unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kumiai.base import canonical, merkle
from kumiai.rounds.state import Assignment, AssignmentState, Judgement, RunState

TYPE = "kumiai/receipt/1"
Receipt = Mapping[str, object]

REASONS: Mapping[str, str] = {
    "counted": "The update helped: it counted towards the model and is paid by its rank.",
    "no-gain": "0 because: no measurable gain, this round or on balance; no penalty.",
    "carried": "0 because: no measurable gain this round; the update still entered the model, "
    "because earlier ones had helped.",
    "harmful": "0 because: the update made the model worse for most validators.",
    "copy": "0 because: a near-copy of an update that {detail} had committed earlier.",
    "old-copy": "0 because: a near-copy of an update that another member had shown in a round "
    "before.",
    "replay": "0 because: a replay of the previous round's result.",
    "empty": "0 because: the update was empty.",
    "no-work": "0 because: the update is unrelated to everyone else's, as noise is.",
    "malformed": "0 because: the update was not a well-formed update of this model.",
    "outside": "0 because: the update changed the model outside of the width that the member had "
    "been given for the round.",
    "fabricated": "0 because: a part of its training that was drawn and replayed does not give "
    "what the member had bound itself to.",
    "unproven": "0 because: drawn for an audit, and no quorum of the committee could replay it on "
    "a machine of the same class; no penalty.",
    "withheld": "0 because: drawn for an audit, it did not open its trace in time; no penalty.",
    "no-reply": "0 because: no commitment before the deadline; no penalty.",
    "busy": "0 because: still at work when enough others were ready; the same work may count in a "
    "later round; no penalty.",
    "late": "0 because: late reveal; the commitment was in time, the update was not; no penalty.",
    "declined": "0 because: declined this round.",
    "withdrawn": "0 because: left the run.",
    "void": "0 because: too few of the group stayed to open its sum; nothing of it is shown, and "
    "there is no penalty.",
    "group-counted": "The sum of {detail} helped: it counted towards the model, and an equal part "
    "of its value is paid by rank.",
    "group-no-gain": "0 because: no measurable gain of {detail}, this round or on balance; no "
    "penalty.",
    "group-carried": "0 because: no measurable gain of {detail} this round; its sum still entered "
    "the model, because its members had helped before.",
    "group-harmful": "0 because: the sum of {detail} made the model worse for most validators; who "
    "in it did, nobody can see, so there is no penalty.",
    "group-malformed": "0 because: the masked updates of {detail} do not give a well-formed sum; "
    "whose fault it is, nobody can see, so there is no penalty.",
    "scored": "Scored this round: paid by coverage and distance to the committee's consensus.",
    "silent": "0 because: no scores were revealed this round.",
    "no-element": "0 because: it scored, but did not show its element of this round's beacon.",
    "backed": "Backed members who were paid: a share of what the stake added.",
    "final": "Final ranking on the second hold-out: a share of the locked part.",
    "final-none": "0 of the locked part because: no positive contribution on the second hold-out.",
    "final-convicted": "0 of the locked part because: an audit showed that it had not done the "
    "work it claimed.",
    "final-validator": "All that was held back: nothing was found against its scores.",
    "final-lessened": "The held-back part, less the share of probes that were scored wrongly and "
    "of rounds whose recheck was left undone or contradicted by a quorum.",
    "false-scores": "0 of what was held back because: scores of this member are not what its own "
    "hold-out gives, as a quorum of the committee found; no stake is burnt.",
    "final-proven": "0 of what was held back because: two signatures of this member contradict "
    "each other; it is out, and part of its stake is burnt.",
    "final-refuted": "0 of what was held back because: this member approved work that the "
    "committee's replays refute; part of its stake is burnt.",
    "canary": "A probe of the customer's with a known value: takes no part in rewards.",
    "final-backed": "Backed members who were paid at the end.",
}
# of those whose update entered the round's model
INCLUDED_REASONS = ("counted", "carried", "group-counted", "group-carried")

_STATE_REASONS = {
    AssignmentState.NO_REPLY: "no-reply",
    AssignmentState.LATE: "late",
    AssignmentState.BUSY: "busy",
    AssignmentState.DECLINED: "declined",
    AssignmentState.WITHDRAWN: "withdrawn",
    AssignmentState.VOID: "void",
}


def make_receipt(  # one argument a field: the receipt is a flat public document
    state: RunState,
    member: str,
    round_index: int,
    attempt: int,
    *,
    role: str,
    verdict: str,
    reason: str,
    detail: str = "",
    judgement: Judgement | None = None,
    assignment: Assignment | None = None,
    money: Mapping[str, str],
    width_ppm: int = 0,
) -> Receipt:
    """Build one receipt; amounts in `money` are decimal text."""
    name = state.members[detail].name if detail in state.members else detail
    enrolled = state.members[member]
    backing = (
        sum(d.amount for d in state.delegations if d.node == member) if role != "delegator" else 0
    )
    return {
        "type": TYPE,
        "task": state.task_id,
        "round": round_index,
        "attempt": attempt,
        "member": member,
        "name": enrolled.name,
        "role": role,
        "commitment": assignment.commitment if assignment else "",
        "blob": assignment.blob if assignment else "",
        "verdict": verdict,
        "reason": reason,
        "sentence": REASONS[reason].format(detail=name),
        "value_ppm": judgement.value if judgement else 0,
        "error_ppm": judgement.error if judgement else 0,
        "samples": assignment.samples if assignment else 0,
        "flop": str(assignment.flop if assignment else 0),
        "size_bytes": assignment.size_bytes if assignment else 0,
        "epsilon_milli": assignment.epsilon_milli if assignment else 0,
        "stake": str(enrolled.stake),
        "delegated": str(backing),
        "sigma_ppm": enrolled.sigma_ppm,
        "width_ppm": width_ppm,
        **({"staleness": assignment.staleness} if assignment and assignment.staleness else {}),
        "previous": state.receipt_heads.get(member, ""),
        **money,
    }


def explain_assignment(
    assignment: Assignment, judgement: Judgement | None, is_included: bool = False
) -> tuple[str, str, str]:
    """Return (verdict, reason code, detail) of a trainer's round.

    is_included: the update is part of the next model.
    """
    if judgement is not None:
        reason = judgement.reason
        if is_included:
            reason = reason.replace("no-gain", "carried")
        return judgement.verdict.value, reason, judgement.detail
    if assignment.state is AssignmentState.NO_REPLY and assignment.blob:
        return "-", "withheld", ""  # it revealed its update, and only then fell silent
    return "-", _STATE_REASONS.get(assignment.state, "no-reply"), ""


def encode_receipt(receipt: Receipt) -> bytes:
    """Return the leaf: the receipt's canonical bytes."""
    return canonical.encode(receipt)


def hash_receipt(receipt: Receipt) -> str:
    """Return the sha256 of the leaf, by which the next receipt names this one."""
    return canonical.sha256_hex(encode_receipt(receipt))


def compute_receipts_root(receipts: Sequence[Receipt]) -> str:
    """Return the Merkle root over the receipts in their order."""
    return merkle.compute_root([encode_receipt(receipt) for receipt in receipts])


def advance_heads(state: RunState, receipts: Sequence[Receipt]) -> RunState:
    """Remember every member's newest receipt, once the round is certified."""
    heads = {str(r["member"]): hash_receipt(r) for r in receipts}
    return replace(state, receipt_heads={**state.receipt_heads, **heads})

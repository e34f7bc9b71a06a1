"""A run that settles on a chain: what its certificates carry beside, and who signs them there.

The task's first event names the contract. Every certificate body then has a part `chain`: the root
over everybody's cumulative pay, what becomes payable, who loses stake, and the addresses whose
quorum the contract will ask for. A validator signs the body with its work key and, in the same
event, what follows from it for the contract with its funds key; so the log alone holds all that
anybody needs to settle the round on the chain, and `verify` all that it needs to judge the chain.

The contract asks the committee that the certificate before it named. `next_committee` is who will
sit when the next round opens, as far as the log says at the drafting. If so many of them leave in
between that no quorum of theirs is left, no later round can be settled on the chain, and so none is
certified: the contract ends the task by its own deadline (`Arena.expire`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kumiai.base import keys
from kumiai.consensus.quorum import compute_quorum
from kumiai.proofs.submission import Submission, compute_submissions_root
from kumiai.proofs.trace import TracePlace
from kumiai.rounds.effects import Sealed
from kumiai.rounds.epochs import list_committee, open_epoch
from kumiai.rounds.scoring import apply_verdicts
from kumiai.rounds.signed import Certificate, ChainRound, OnChain, Vote
from kumiai.rounds.state import RunPhase, RunState
from kumiai.settlement.certificates import (
    ZERO_WORD,
    ChainCertificate,
    ChainPlace,
    ChainSlash,
    compute_certificate_digest,
    compute_task_key,
    hash_committee,
    hash_slashes,
)
from kumiai.settlement.ledger import SettleFinal, SettleRound
from kumiai.settlement.payroll import CUMULATIVE_MAX, compute_pay_root
from kumiai.tasks.document import TaskDocument, compute_task_id

_FIELDS = {"chain_id": int, "arena": str, "owner": str, "binding": str}


def find_chain_flaw(task: TaskDocument, customer: str, content: Mapping[str, Any]) -> str:
    """Return what is wrong with how TASK names the contract, "" if nothing."""
    named = content.get("chain")
    if (named is not None) != (task.settlement.kind == "evm"):
        return "chain is named where settlement.kind is evm, and only there"
    if named is None:
        return ""
    if set(named) != set(_FIELDS) or any(type(named[k]) is not t for k, t in _FIELDS.items()):
        return f"chain has the fields {sorted(_FIELDS)}"
    if not 0 < named["chain_id"] < 2**53:
        return "chain_id is a positive integer"
    if not keys.is_address(named["arena"]) or not keys.is_address(named["owner"]):
        return "arena and owner are 0x and 40 lower-case hex digits"
    if not keys.is_binding(named["owner"], customer, named["binding"]):
        return "the owner's address does not vouch for the customer's key"
    return ""


def read_chain(task: TaskDocument, content: Mapping[str, Any]) -> OnChain | None:
    """Return what a checked TASK says about the contract."""
    named = content.get("chain")
    if named is None:
        return None
    key = compute_task_key(named["owner"], bytes.fromhex(compute_task_id(task)))
    return OnChain(ChainPlace(named["chain_id"], named["arena"]), named["owner"], key)


def find_address_flaw(state: RunState, member: str, address: str, binding: str) -> str:
    """Return why this cannot be a member's address, "" if it can."""
    if not keys.is_binding(address, member, binding):
        return "the funds address does not vouch for this key"
    if state.chain is not None and any(m.address == address for m in state.members.values()):
        return f"{address} is another member's: on the chain an address has one role a task"
    return ""


def find_amount_flaw(state: RunState, amount: int) -> str:
    """Return why a deposit cannot be shown to the contract, "" if it can."""
    if state.chain is not None and amount > CUMULATIVE_MAX:
        return "the contract counts amounts below 2**128"
    return ""


def found_committee(state: RunState) -> OnChain | None:
    """Return the contract with its founding committee, now that enrolment is over.

    ValueError, with the delegator, where one has no address to be paid at.
    """
    if state.chain is None:
        return None
    for item in state.delegations:
        if item.delegator not in state.members:
            raise ValueError(f"{item.delegator[:12]} backs {item.node[:12]} but is not enrolled")
    return replace(state.chain, committee=_list_addresses(open_epoch(state, 1)))


def draft_chain(state: RunState) -> dict[str, object]:
    """Return the part `chain` of the open round's body; empty in a run that needs none."""
    if state.chain is None:
        return {}
    assert state.round is not None and state.round.payments is not None
    payments, command = state.round.payments, state.round.payments.command
    assert isinstance(command, SettleRound | SettleFinal)
    owed: dict[str, int] = {}
    for who, tally in payments.tallies.items():
        if tally.earned:
            address = _find_address(state, who)
            owed[address] = owed.get(address, 0) + tally.earned
    burnt = zip(command.burnt, command.evidence, strict=True)
    slashes = [[_find_address(state, who), str(a), proof] for (who, a), proof in burnt]
    is_final = isinstance(command, SettleFinal)
    locked = 0 if isinstance(command, SettleFinal) else command.locked
    following = () if is_final else _list_following(state)
    return {
        "chain": {
            "task": state.chain.task_key.hex(),
            "is_final": is_final,
            "submissions_root": _compute_submissions_root(state),
            "payments_root": compute_pay_root(state.chain.task_key, owed).hex(),
            "paid": str(sum(amount for _, amount in command.payments)),
            "locked": str(locked),
            "slashes": slashes,
            "committee": list(state.chain.committee),
            "next_committee": list(following),
        }
    }


def read_body(body: Mapping[str, Any], body_hash: str) -> ChainRound:
    """Return what a body with a part `chain` says to the contract; ValueError if malformed."""
    part = body["chain"]
    slashes = tuple(
        ChainSlash(member, int(amount), bytes.fromhex(proof))
        for member, amount, proof in part["slashes"]
    )
    committee, following = part["committee"], part["next_committee"]
    is_same = not following or following == committee
    certificate = ChainCertificate(
        task=bytes.fromhex(part["task"]),
        round=body["round"],
        attempt=body["attempt"],
        is_final=part["is_final"],
        body=bytes.fromhex(body_hash),
        submissions=bytes.fromhex(part["submissions_root"]) or ZERO_WORD,
        payments=bytes.fromhex(part["payments_root"]),
        paid=int(part["paid"]),
        locked=int(part["locked"]),
        slashes=hash_slashes(slashes),
        next_committee=ZERO_WORD if is_same else hash_committee(following),
    )
    return ChainRound(certificate, slashes, tuple(committee))


def find_signature_flaw(
    state: RunState, body: Mapping[str, Any], body_hash: str, signer: str, signature: str | None
) -> str:
    """Return why CERTIFY's chain signature does not count, "" if it does."""
    if state.chain is None:
        return "" if signature is None else "this run settles on no chain"
    if signature is None:
        return "the signature for the contract is missing"
    digest = compute_certificate_digest(read_body(body, body_hash).certificate, state.chain.place)
    if not keys.is_address_signature(state.members[signer].address, digest, signature):
        return "the signature for the contract is not the funds key's"
    return ""


def has_chain_quorum(draft: Mapping[str, Any], votes: tuple[Vote, ...]) -> bool:
    """Tell whether the contract will take these votes: always, in a run without one."""
    if "chain" not in draft:
        return True
    committee = set(draft["chain"]["committee"])
    signed = committee & {vote.address for vote in votes}
    return len(signed) >= compute_quorum(len(committee))


def seal(certificate: Certificate) -> tuple[Sealed, ...]:
    """Return what the contract is shown of a certified round; () in a run without one."""
    if not certificate.seals:
        return ()
    return (Sealed(read_body(certificate.body, certificate.body_hash), certificate.seals),)


def follow_committee(state: RunState, body: Mapping[str, Any]) -> OnChain | None:
    """Return the contract with the committee that signs after the certificate `body`."""
    if state.chain is None or not body["chain"]["next_committee"]:
        return state.chain
    return replace(state.chain, committee=tuple(body["chain"]["next_committee"]))


def list_submissions(state: RunState) -> list[Submission]:
    """Return the traces that the open round's trainers bound themselves to, as the chain has them.

    Only these can be disputed there; none in a run without audits.
    """
    assert state.round is not None and state.task is not None
    current, every = state.round, state.task.audit.checkpoint_every
    return [
        Submission(
            place=TracePlace(state.task_id, current.index, current.attempt, key),
            account=state.members[key].address[2:],
            trace=work.trace_root,
            iterations=work.iterations,
            every=every,
        )
        for key, work in sorted(current.assignments.items())
        if work.trace_root
    ]


def _compute_submissions_root(state: RunState) -> str:
    submissions = list_submissions(state)
    return compute_submissions_root(submissions) if submissions else ""


def _list_following(state: RunState) -> tuple[str, ...]:
    """Whom the log, as it is now, will seat when the next round opens."""
    assert state.round is not None and state.task is not None
    judged = replace(apply_verdicts(state), beacon=state.round.beacon or state.beacon)
    if state.round.index >= state.task.training.rounds:
        return _list_addresses(replace(judged, phase=RunPhase.FINALIZING))
    return _list_addresses(open_epoch(judged, state.round.index + 1))


def _list_addresses(state: RunState) -> tuple[str, ...]:
    return tuple(sorted(state.members[key].address for key in list_committee(state)))


def _find_address(state: RunState, who: str) -> str:
    assert state.chain is not None
    return state.chain.owner if who == state.customer else state.members[who].address

"""Calls of IArena; generated."""

from __future__ import annotations

from collections.abc import Sequence

from kumiai.adapters.evm.abi import Call, Structs, make_function
from kumiai.adapters.evm.bindings.iarena.structs import (
    Certificate,
    Claim,
    Member,
    Quorum,
    Slash,
    Task,
    Terms,
)

_STRUCTS: Structs = {
    "Certificate": Certificate,
    "Claim": Claim,
    "Member": Member,
    "Quorum": Quorum,
    "Slash": Slash,
    "Task": Task,
    "Terms": Terms,
}
_ARBITER = make_function("arbiter()", "(address value_0)", _STRUCTS)
_CANCEL = make_function("cancel(bytes32 task)", "()", _STRUCTS)
_CLAIM = make_function(
    "claim(bytes32 task, uint32 round, address account, uint128 cumulative, bytes32[] proof)",
    "(uint128 amount)",
    _STRUCTS,
)
_CLAIM_MANY = make_function("claimMany(bytes32 task, uint32 round, Claim[] claims)", "()", _STRUCTS)
_COMPUTE_DIGEST = make_function(
    "computeDigest(Certificate certificate)", "(bytes32 value_0)", _STRUCTS
)
_COMPUTE_TASK_ID = make_function(
    "computeTaskId(address owner, bytes32 document)", "(bytes32 value_0)", _STRUCTS
)
_CONVICT = make_function(
    "convict(bytes32 task, address member, uint24 ppm, bytes32 evidence)", "()", _STRUCTS
)
_CREATE_TASK = make_function("createTask(Terms terms)", "(bytes32 task)", _STRUCTS)
_DELEGATE = make_function("delegate(bytes32 task, address node, uint128 amount)", "()", _STRUCTS)
_EXPIRE = make_function("expire(bytes32 task)", "()", _STRUCTS)
_FUND = make_function("fund(bytes32 task, uint128 amount)", "()", _STRUCTS)
_GET_CLAIMED = make_function(
    "getClaimed(bytes32 task, address account)", "(uint128 value_0)", _STRUCTS
)
_GET_CONTRIBUTION = make_function(
    "getContribution(bytes32 task, address payer)", "(uint128 value_0)", _STRUCTS
)
_GET_DELEGATED = make_function(
    "getDelegated(bytes32 task, address node)", "(uint128 value_0)", _STRUCTS
)
_GET_DELEGATION = make_function(
    "getDelegation(bytes32 task, address node, address delegator)", "(uint128 value_0)", _STRUCTS
)
_GET_MEMBER = make_function("getMember(bytes32 task, address who)", "(Member value_0)", _STRUCTS)
_GET_ROOT = make_function(
    "getRoot(bytes32 task, uint32 round)",
    "(bytes32 payments, uint40 activeAt, bool isDisabled)",
    _STRUCTS,
)
_GET_SUBMISSIONS = make_function(
    "getSubmissions(bytes32 task, uint32 round)", "(bytes32 value_0)", _STRUCTS
)
_GET_TASK = make_function("getTask(bytes32 task)", "(Task value_0)", _STRUCTS)
_GET_TERMS = make_function("getTerms(bytes32 task)", "(Terms value_0)", _STRUCTS)
_HOLD = make_function("hold(bytes32 task, address member, uint32 round)", "()", _STRUCTS)
_IS_EVIDENCE_USED = make_function(
    "isEvidenceUsed(bytes32 task, address member, bytes32 evidence)", "(bool value_0)", _STRUCTS
)
_ORDER = make_function(
    "order(bytes32 task, uint8 action, uint40 until, uint40 deadline, string reason, Quorum quorum)",
    "()",
    _STRUCTS,
)
_PROVE_EQUIVOCATION = make_function(
    "proveEquivocation(Certificate first, bytes firstSignature, Certificate second, bytes secondSignature)",
    "()",
    _STRUCTS,
)
_REFUND = make_function("refund(bytes32 task)", "(uint128 amount)", _STRUCTS)
_RELEASE = make_function(
    "release(bytes32 task, address member, uint32 round, bool disable)", "()", _STRUCTS
)
_SET_SIGMA = make_function("setSigma(bytes32 task, uint24 sigma)", "()", _STRUCTS)
_SETTLE = make_function(
    "settle(Certificate certificate, Slash[] slashes, Quorum quorum)", "()", _STRUCTS
)
_SLASH = make_function("slash(bytes32 task, Slash[] slashes, Quorum quorum)", "()", _STRUCTS)
_STAKE = make_function(
    "stake(bytes32 task, uint8 role, uint128 amount, bytes32 document, uint40 deadline, bytes admission)",
    "()",
    _STRUCTS,
)
_STAKE_FOR = make_function(
    "stakeFor(address member, bytes32 task, uint8 role, uint128 amount, bytes32 document, uint40 deadline, bytes admission, bytes enrolment)",
    "()",
    _STRUCTS,
)
_START = make_function("start(bytes32 task, address[] committee)", "()", _STRUCTS)
_UNDELEGATE = make_function("undelegate(bytes32 task, address node)", "(uint128 amount)", _STRUCTS)
_UNSTAKE = make_function("unstake(bytes32 task)", "()", _STRUCTS)
_WITHDRAW_STAKE = make_function(
    "withdrawStake(bytes32 task, address member)", "(uint128 amount)", _STRUCTS
)


def arbiter() -> Call[str]:
    """Make the call arbiter."""
    return Call(_ARBITER, ())


def cancel(task: bytes) -> Call[None]:
    """Make the call cancel."""
    return Call(_CANCEL, (task,))


def claim(
    task: bytes, round: int, account: str, cumulative: int, proof: Sequence[bytes]
) -> Call[int]:
    """Make the call claim."""
    return Call(_CLAIM, (task, round, account, cumulative, proof))


def claim_many(task: bytes, round: int, claims: Sequence[Claim]) -> Call[None]:
    """Make the call claimMany."""
    return Call(_CLAIM_MANY, (task, round, claims))


def compute_digest(certificate: Certificate) -> Call[bytes]:
    """Make the call computeDigest."""
    return Call(_COMPUTE_DIGEST, (certificate,))


def compute_task_id(owner: str, document: bytes) -> Call[bytes]:
    """Make the call computeTaskId."""
    return Call(_COMPUTE_TASK_ID, (owner, document))


def convict(task: bytes, member: str, ppm: int, evidence: bytes) -> Call[None]:
    """Make the call convict."""
    return Call(_CONVICT, (task, member, ppm, evidence))


def create_task(terms: Terms) -> Call[bytes]:
    """Make the call createTask."""
    return Call(_CREATE_TASK, (terms,))


def delegate(task: bytes, node: str, amount: int) -> Call[None]:
    """Make the call delegate, which takes value."""
    return Call(_DELEGATE, (task, node, amount))


def expire(task: bytes) -> Call[None]:
    """Make the call expire."""
    return Call(_EXPIRE, (task,))


def fund(task: bytes, amount: int) -> Call[None]:
    """Make the call fund, which takes value."""
    return Call(_FUND, (task, amount))


def get_claimed(task: bytes, account: str) -> Call[int]:
    """Make the call getClaimed."""
    return Call(_GET_CLAIMED, (task, account))


def get_contribution(task: bytes, payer: str) -> Call[int]:
    """Make the call getContribution."""
    return Call(_GET_CONTRIBUTION, (task, payer))


def get_delegated(task: bytes, node: str) -> Call[int]:
    """Make the call getDelegated."""
    return Call(_GET_DELEGATED, (task, node))


def get_delegation(task: bytes, node: str, delegator: str) -> Call[int]:
    """Make the call getDelegation."""
    return Call(_GET_DELEGATION, (task, node, delegator))


def get_member(task: bytes, who: str) -> Call[Member]:
    """Make the call getMember."""
    return Call(_GET_MEMBER, (task, who))


def get_root(task: bytes, round: int) -> Call[tuple[bytes, int, bool]]:
    """Make the call getRoot."""
    return Call(_GET_ROOT, (task, round))


def get_submissions(task: bytes, round: int) -> Call[bytes]:
    """Make the call getSubmissions."""
    return Call(_GET_SUBMISSIONS, (task, round))


def get_task(task: bytes) -> Call[Task]:
    """Make the call getTask."""
    return Call(_GET_TASK, (task,))


def get_terms(task: bytes) -> Call[Terms]:
    """Make the call getTerms."""
    return Call(_GET_TERMS, (task,))


def hold(task: bytes, member: str, round: int) -> Call[None]:
    """Make the call hold."""
    return Call(_HOLD, (task, member, round))


def is_evidence_used(task: bytes, member: str, evidence: bytes) -> Call[bool]:
    """Make the call isEvidenceUsed."""
    return Call(_IS_EVIDENCE_USED, (task, member, evidence))


def order(
    task: bytes, action: int, until: int, deadline: int, reason: str, quorum: Quorum
) -> Call[None]:
    """Make the call order."""
    return Call(_ORDER, (task, action, until, deadline, reason, quorum))


def prove_equivocation(
    first: Certificate, firstSignature: bytes, second: Certificate, secondSignature: bytes
) -> Call[None]:
    """Make the call proveEquivocation."""
    return Call(_PROVE_EQUIVOCATION, (first, firstSignature, second, secondSignature))


def refund(task: bytes) -> Call[int]:
    """Make the call refund."""
    return Call(_REFUND, (task,))


def release(task: bytes, member: str, round: int, disable: bool) -> Call[None]:
    """Make the call release."""
    return Call(_RELEASE, (task, member, round, disable))


def set_sigma(task: bytes, sigma: int) -> Call[None]:
    """Make the call setSigma."""
    return Call(_SET_SIGMA, (task, sigma))


def settle(certificate: Certificate, slashes: Sequence[Slash], quorum: Quorum) -> Call[None]:
    """Make the call settle."""
    return Call(_SETTLE, (certificate, slashes, quorum))


def slash(task: bytes, slashes: Sequence[Slash], quorum: Quorum) -> Call[None]:
    """Make the call slash."""
    return Call(_SLASH, (task, slashes, quorum))


def stake(
    task: bytes, role: int, amount: int, document: bytes, deadline: int, admission: bytes
) -> Call[None]:
    """Make the call stake, which takes value."""
    return Call(_STAKE, (task, role, amount, document, deadline, admission))


def stake_for(
    member: str,
    task: bytes,
    role: int,
    amount: int,
    document: bytes,
    deadline: int,
    admission: bytes,
    enrolment: bytes,
) -> Call[None]:
    """Make the call stakeFor, which takes value."""
    return Call(_STAKE_FOR, (member, task, role, amount, document, deadline, admission, enrolment))


def start(task: bytes, committee: Sequence[str]) -> Call[None]:
    """Make the call start."""
    return Call(_START, (task, committee))


def undelegate(task: bytes, node: str) -> Call[int]:
    """Make the call undelegate."""
    return Call(_UNDELEGATE, (task, node))


def unstake(task: bytes) -> Call[None]:
    """Make the call unstake."""
    return Call(_UNSTAKE, (task,))


def withdraw_stake(task: bytes, member: str) -> Call[int]:
    """Make the call withdrawStake."""
    return Call(_WITHDRAW_STAKE, (task, member))

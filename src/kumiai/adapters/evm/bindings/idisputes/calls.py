"""Calls of IDisputes; generated."""

from __future__ import annotations

from collections.abc import Sequence

from kumiai.adapters.evm.abi import Call, Structs, make_function
from kumiai.adapters.evm.bindings.idisputes.structs import (
    Case,
    Dispute,
    Parameters,
    Place,
    Refinement,
    Submission,
)

_STRUCTS: Structs = {
    "Case": Case,
    "Dispute": Dispute,
    "Parameters": Parameters,
    "Place": Place,
    "Refinement": Refinement,
    "Submission": Submission,
}
_COMPUTE_BOND = make_function(
    "computeBond(bytes32 task, address accused)", "(uint128 value_0)", _STRUCTS
)
_COMPUTE_DIGEST = make_function(
    "computeDigest(bytes32 dispute, uint8 outcome, bytes32 digest)", "(bytes32 value_0)", _STRUCTS
)
_COMPUTE_ID = make_function("computeId(Case about)", "(bytes32 value_0)", _STRUCTS)
_COMPUTE_SUBMISSION_LEAF = make_function(
    "computeSubmissionLeaf(Submission submission)", "(bytes value_0)", _STRUCTS
)
_DESCEND = make_function(
    "descend(bytes32 dispute, bytes32[] accused, bytes32[] accuser, uint8 side, bytes32[] next)",
    "()",
    _STRUCTS,
)
_ENROL = make_function("enrol(bytes32 task, address[] validators)", "()", _STRUCTS)
_EXPIRE = make_function("expire(Case about)", "()", _STRUCTS)
_GET_BURNT = make_function("getBurnt(address token)", "(uint256 value_0)", _STRUCTS)
_GET_CREDIT = make_function(
    "getCredit(address token, address account)", "(uint256 value_0)", _STRUCTS
)
_GET_DISPUTE = make_function("getDispute(bytes32 dispute)", "(Dispute value_0)", _STRUCTS)
_GET_JURORS = make_function("getJurors(bytes32 task)", "(address[] value_0)", _STRUCTS)
_GET_OPEN = make_function("getOpen(bytes32 task)", "(uint256 value_0)", _STRUCTS)
_GET_PARAMETERS = make_function("getParameters()", "(Parameters value_0)", _STRUCTS)
_JUDGE = make_function(
    "judge(Case about, uint8 outcome, bytes32 digest, uint256 signers, bytes signatures)",
    "()",
    _STRUCTS,
)
_OPEN = make_function(
    "open(bytes32 task, Submission submission, Place place, bytes32 claimed, address[] committee)",
    "(bytes32 dispute)",
    _STRUCTS,
)
_REFINE = make_function(
    "refine(Case about, uint8 side, Refinement refinement, bytes signature)", "()", _STRUCTS
)
_SET_BOND_FLOOR = make_function("setBondFloor(address token, uint128 amount)", "()", _STRUCTS)
_SET_PARAMETERS = make_function("setParameters(Parameters parameters)", "()", _STRUCTS)
_WITHDRAW = make_function("withdraw(address token, address account)", "(uint256 amount)", _STRUCTS)


def compute_bond(task: bytes, accused: str) -> Call[int]:
    """Make the call computeBond."""
    return Call(_COMPUTE_BOND, (task, accused))


def compute_digest(dispute: bytes, outcome: int, digest: bytes) -> Call[bytes]:
    """Make the call computeDigest."""
    return Call(_COMPUTE_DIGEST, (dispute, outcome, digest))


def compute_id(about: Case) -> Call[bytes]:
    """Make the call computeId."""
    return Call(_COMPUTE_ID, (about,))


def compute_submission_leaf(submission: Submission) -> Call[bytes]:
    """Make the call computeSubmissionLeaf."""
    return Call(_COMPUTE_SUBMISSION_LEAF, (submission,))


def descend(
    dispute: bytes,
    accused: Sequence[bytes],
    accuser: Sequence[bytes],
    side: int,
    next: Sequence[bytes],
) -> Call[None]:
    """Make the call descend."""
    return Call(_DESCEND, (dispute, accused, accuser, side, next))


def enrol(task: bytes, validators: Sequence[str]) -> Call[None]:
    """Make the call enrol."""
    return Call(_ENROL, (task, validators))


def expire(about: Case) -> Call[None]:
    """Make the call expire."""
    return Call(_EXPIRE, (about,))


def get_burnt(token: str) -> Call[int]:
    """Make the call getBurnt."""
    return Call(_GET_BURNT, (token,))


def get_credit(token: str, account: str) -> Call[int]:
    """Make the call getCredit."""
    return Call(_GET_CREDIT, (token, account))


def get_dispute(dispute: bytes) -> Call[Dispute]:
    """Make the call getDispute."""
    return Call(_GET_DISPUTE, (dispute,))


def get_jurors(task: bytes) -> Call[tuple[str, ...]]:
    """Make the call getJurors."""
    return Call(_GET_JURORS, (task,))


def get_open(task: bytes) -> Call[int]:
    """Make the call getOpen."""
    return Call(_GET_OPEN, (task,))


def get_parameters() -> Call[Parameters]:
    """Make the call getParameters."""
    return Call(_GET_PARAMETERS, ())


def judge(about: Case, outcome: int, digest: bytes, signers: int, signatures: bytes) -> Call[None]:
    """Make the call judge."""
    return Call(_JUDGE, (about, outcome, digest, signers, signatures))


def open(
    task: bytes, submission: Submission, place: Place, claimed: bytes, committee: Sequence[str]
) -> Call[bytes]:
    """Make the call open, which takes value."""
    return Call(_OPEN, (task, submission, place, claimed, committee))


def refine(about: Case, side: int, refinement: Refinement, signature: bytes) -> Call[None]:
    """Make the call refine."""
    return Call(_REFINE, (about, side, refinement, signature))


def set_bond_floor(token: str, amount: int) -> Call[None]:
    """Make the call setBondFloor."""
    return Call(_SET_BOND_FLOOR, (token, amount))


def set_parameters(parameters: Parameters) -> Call[None]:
    """Make the call setParameters."""
    return Call(_SET_PARAMETERS, (parameters,))


def withdraw(token: str, account: str) -> Call[int]:
    """Make the call withdraw."""
    return Call(_WITHDRAW, (token, account))

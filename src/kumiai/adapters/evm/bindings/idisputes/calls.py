"""Calls of IDisputes; generated."""

from __future__ import annotations

from collections.abc import Sequence

from kumiai.adapters.evm.abi import Call, Structs, make_function
from kumiai.adapters.evm.bindings.idisputes.structs import (
    Dispute,
    Parameters,
    Place,
    Refinement,
    Submission,
)

_STRUCTS: Structs = {
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
_COMPUTE_SUBMISSION_LEAF = make_function(
    "computeSubmissionLeaf(Submission submission)", "(bytes value_0)", _STRUCTS
)
_DESCEND = make_function(
    "descend(bytes32 dispute, bytes32[] accused, bytes32[] accuser)", "()", _STRUCTS
)
_ENROL = make_function("enrol(bytes32 task, address[] validators)", "()", _STRUCTS)
_EXPIRE = make_function("expire(bytes32 dispute)", "()", _STRUCTS)
_GET_BURNT = make_function("getBurnt(address token)", "(uint256 value_0)", _STRUCTS)
_GET_CREDIT = make_function(
    "getCredit(address token, address account)", "(uint256 value_0)", _STRUCTS
)
_GET_DISPUTE = make_function("getDispute(bytes32 dispute)", "(Dispute value_0)", _STRUCTS)
_GET_JURORS = make_function("getJurors(bytes32 task)", "(address[] value_0)", _STRUCTS)
_GET_OPEN = make_function("getOpen(bytes32 task)", "(uint256 value_0)", _STRUCTS)
_GET_PARAMETERS = make_function("getParameters()", "(Parameters value_0)", _STRUCTS)
_JUDGE = make_function(
    "judge(bytes32 dispute, uint8 outcome, bytes32 digest, uint256 signers, bytes signatures)",
    "()",
    _STRUCTS,
)
_OPEN = make_function(
    "open(bytes32 task, Submission submission, Place place, bytes32 claimed, address[] committee)",
    "(bytes32 dispute)",
    _STRUCTS,
)
_REFINE = make_function(
    "refine(bytes32 dispute, uint8 side, Submission submission, Refinement refinement, bytes signature)",
    "()",
    _STRUCTS,
)
_SET_BOND_FLOOR = make_function("setBondFloor(address token, uint128 amount)", "()", _STRUCTS)
_SET_PARAMETERS = make_function("setParameters(Parameters parameters)", "()", _STRUCTS)
_SHOW = make_function(
    "show(bytes32 dispute, Submission submission, bytes32 accused, bytes32 accuser, bytes32 agreed, bytes32[] agreedPath)",
    "()",
    _STRUCTS,
)
_WITHDRAW = make_function("withdraw(address token, address account)", "(uint256 amount)", _STRUCTS)


def compute_bond(task: bytes, accused: str) -> Call[int]:
    return Call(_COMPUTE_BOND, (task, accused))


def compute_digest(dispute: bytes, outcome: int, digest: bytes) -> Call[bytes]:
    return Call(_COMPUTE_DIGEST, (dispute, outcome, digest))


def compute_submission_leaf(submission: Submission) -> Call[bytes]:
    return Call(_COMPUTE_SUBMISSION_LEAF, (submission,))


def descend(dispute: bytes, accused: Sequence[bytes], accuser: Sequence[bytes]) -> Call[None]:
    return Call(_DESCEND, (dispute, accused, accuser))


def enrol(task: bytes, validators: Sequence[str]) -> Call[None]:
    return Call(_ENROL, (task, validators))


def expire(dispute: bytes) -> Call[None]:
    return Call(_EXPIRE, (dispute,))


def get_burnt(token: str) -> Call[int]:
    return Call(_GET_BURNT, (token,))


def get_credit(token: str, account: str) -> Call[int]:
    return Call(_GET_CREDIT, (token, account))


def get_dispute(dispute: bytes) -> Call[Dispute]:
    return Call(_GET_DISPUTE, (dispute,))


def get_jurors(task: bytes) -> Call[tuple[str, ...]]:
    return Call(_GET_JURORS, (task,))


def get_open(task: bytes) -> Call[int]:
    return Call(_GET_OPEN, (task,))


def get_parameters() -> Call[Parameters]:
    return Call(_GET_PARAMETERS, ())


def judge(
    dispute: bytes, outcome: int, digest: bytes, signers: int, signatures: bytes
) -> Call[None]:
    return Call(_JUDGE, (dispute, outcome, digest, signers, signatures))


def open(
    task: bytes, submission: Submission, place: Place, claimed: bytes, committee: Sequence[str]
) -> Call[bytes]:
    return Call(_OPEN, (task, submission, place, claimed, committee))


def refine(
    dispute: bytes, side: int, submission: Submission, refinement: Refinement, signature: bytes
) -> Call[None]:
    return Call(_REFINE, (dispute, side, submission, refinement, signature))


def set_bond_floor(token: str, amount: int) -> Call[None]:
    return Call(_SET_BOND_FLOOR, (token, amount))


def set_parameters(parameters: Parameters) -> Call[None]:
    return Call(_SET_PARAMETERS, (parameters,))


def show(
    dispute: bytes,
    submission: Submission,
    accused: bytes,
    accuser: bytes,
    agreed: bytes,
    agreedPath: Sequence[bytes],
) -> Call[None]:
    return Call(_SHOW, (dispute, submission, accused, accuser, agreed, agreedPath))


def withdraw(token: str, account: str) -> Call[int]:
    return Call(_WITHDRAW, (token, account))

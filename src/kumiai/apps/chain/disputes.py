"""Disputes: moves as files, since a move is made of hashes that a program computes.

A file holds one move and its arguments under the contract's own names (docs/chain.md has each)::

    {"move": "open", "submission": {...}, "place": {...}, "claimed": "0x..", "committee": [...]}
    {"move": "descend", "accused": ["0x.."], "accuser": [], "side": 0, "next": []}
    {"move": "refine", "side": 0, "refinement": {...}, "signature": "0x"}
    {"move": "judge", "outcome": 1, "digest": "0x..", "signers": 7, "signatures": "0x.."}

What a dispute is about (its case) is not kept by the contract: it is read from the log that opened
it, and its hash must be the dispute's id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from kumiai.adapters.evm.abi import Call, Event, Struct, decode_log
from kumiai.adapters.evm.accounts import encode_checksum, parse_address
from kumiai.adapters.evm.bindings.idisputes import calls as contract
from kumiai.adapters.evm.bindings.idisputes.events import EVENTS, Opened
from kumiai.adapters.evm.bindings.idisputes.structs import (
    Case,
    Dispute,
    Place,
    Refinement,
    Submission,
)
from kumiai.adapters.evm.errors import LyingNodeError
from kumiai.adapters.evm.node import LogFilter
from kumiai.adapters.evm.shapes import Receipt
from kumiai.apps.chain.actions import Action, Spending, TaskName, get_terms
from kumiai.apps.chain.place import ZERO_ADDRESS, Session
from kumiai.apps.chain.state import read_logs
from kumiai.base.errors import InputError

FILE_BYTES_MAX = 4 * 2**20
WORD_DIGITS = 64
LEVELS = ("none", "segments", "refining", "iterations", "jury", "decided")
OUTCOMES = ("nothing", "accused", "accuser", "both")


def load_move(path: Path) -> Mapping[str, Any]:
    """Return a move's file; InputError where it is none."""
    try:
        with path.open("rb") as file:
            body = json.loads(file.read(FILE_BYTES_MAX))
    except OSError as error:
        raise InputError("FILE", str(path), f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError("FILE", str(path), "is no JSON of at most 4 MiB") from error
    if not isinstance(body, dict) or not isinstance(body.get("move"), str):
        fix = 'a move is an object with "move": open, descend, refine or judge'
        raise InputError("FILE", str(path), fix)
    return body


async def begin(session: Session, task: TaskName, body: Mapping[str, Any]) -> list[Action]:
    """Return the accusation, with its bond in the task's token or coin."""
    if body["move"] != "open":
        raise InputError("move", body["move"], 'an accusation is "move": "open"')
    submission = _read_struct(Submission, body, "submission")
    call = contract.open(
        task.key, submission, _read_struct(Place, body, "place"), _read_word(body, "claimed"),
        _read_list(body, "committee", _to_address),
    )  # fmt: skip
    disputes, terms = session.get_contract("disputes"), await get_terms(session, task)
    bond = await session.node.call(disputes, contract.compute_bond(task.key, submission.account))
    is_coin = terms.token == ZERO_ADDRESS
    places = {"amount": f"{bond:,}", "accused": encode_checksum(submission.account),
              "round": submission.round}  # fmt: skip
    return [
        Action(
            "dispute_open", disputes, call.data, value=bond if is_coin else 0, places=places,
            spends=None if is_coin or not bond else Spending(terms.token, bond),
        )
    ]  # fmt: skip


async def answer(session: Session, dispute: bytes, body: Mapping[str, Any]) -> list[Action]:
    """Return the next move of a dispute."""
    build = _MOVES.get(body["move"])
    if build is None:
        raise InputError("move", body["move"], f"choose one of {', '.join(_MOVES)}")
    call = build(dispute, await find_case(session, dispute), body)
    return [Action(f"dispute_{body['move']}", session.get_contract("disputes"), call.data)]


async def expire(session: Session, dispute: bytes) -> list[Action]:
    """Return what ends a dispute whose deadline has passed."""
    data = contract.expire(await find_case(session, dispute)).data
    return [Action("dispute_expire", session.get_contract("disputes"), data)]


async def find_case(session: Session, dispute: bytes) -> Case:
    """Return what a dispute is about; InputError where the contract knows no such dispute."""
    address = session.get_contract("disputes")
    logs = await read_logs(session, LogFilter((address,), (Opened.TOPIC,)))
    for log in logs:
        if len(log.topics) > 1 and log.topics[1] == dispute:
            about = Opened.from_log(log).about
            if await session.node.call(address, contract.compute_id(about)) != dispute:
                raise LyingNodeError("the log of a dispute holds another case than its own")
            return about
    fix = "the disputes contract knows no such dispute"
    raise InputError("DISPUTE", "0x" + dispute.hex(), fix)


async def withdraw(session: Session, token: str, account: str) -> list[Action]:
    """Return what pays bonds back."""
    data = contract.withdraw(token, account).data
    places = {"account": encode_checksum(account)}
    return [Action("dispute_withdraw", session.get_contract("disputes"), data, places=places)]


async def read_dispute(session: Session, dispute: bytes) -> Dispute:
    """Return a dispute as it stands; InputError where there is none."""
    found = await session.node.call(session.get_contract("disputes"), contract.get_dispute(dispute))
    if found.level == 0:
        fix = "the disputes contract knows no such dispute"
        raise InputError("DISPUTE", "0x" + dispute.hex(), fix)
    assert isinstance(found, Dispute)
    return found


def find_opened(receipt: Receipt) -> bytes | None:
    """Return the id of the dispute that a transaction opened."""
    for log in receipt.logs:
        event: Event | None = decode_log(log, EVENTS)
        if isinstance(event, Opened):
            return event.dispute
    return None


def _descend(dispute: bytes, _: Case, body: Mapping[str, Any]) -> Call[None]:
    accused, accuser, following = (
        _read_list(body, name, _to_word) for name in ("accused", "accuser", "next")
    )
    return contract.descend(dispute, accused, accuser, _read_int(body, "side"), following)


def _refine(_: bytes, about: Case, body: Mapping[str, Any]) -> Call[None]:
    refinement = _read_struct(Refinement, body, "refinement")
    return contract.refine(
        about, _read_int(body, "side"), refinement, _read_bytes(body, "signature")
    )


def _judge(_: bytes, about: Case, body: Mapping[str, Any]) -> Call[None]:
    return contract.judge(
        about, _read_int(body, "outcome"), _read_word(body, "digest"),
        _read_int(body, "signers"), _read_bytes(body, "signatures"),
    )  # fmt: skip


_MOVES: Mapping[str, Callable[[bytes, Case, Mapping[str, Any]], Call[None]]] = {
    "descend": _descend,
    "refine": _refine,
    "judge": _judge,
}


def _read_struct(kind: type[Struct], body: Mapping[str, Any], name: str) -> Any:
    """Read a struct by its fields' own annotations."""
    part = body.get(name)
    names = [field.name for field in fields(cast("Any", kind))]
    if not isinstance(part, dict) or set(part) != set(names):
        raise InputError(name, part, f"an object with exactly {', '.join(names)}")
    readers = {"int": _read_int, "bytes": _read_word, "str": _read_address}
    values: dict[str, Any] = {}
    for field in fields(cast("Any", kind)):
        if str(field.type).startswith("tuple"):
            values[field.name] = tuple(_read_list(part, field.name, _to_word))
        else:
            values[field.name] = readers[str(field.type)](part, field.name)
    return kind(**values)


def _read_int(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if type(value) is not int or not 0 <= value < 2**256:
        raise InputError(name, value, "a whole number, not below 0")
    return value


def _read_address(body: Mapping[str, Any], name: str) -> str:
    return _to_address(name, body.get(name))


def _read_word(body: Mapping[str, Any], name: str) -> bytes:
    return _to_word(name, body.get(name))


def _read_bytes(body: Mapping[str, Any], name: str) -> bytes:
    value = body.get(name)
    try:
        if isinstance(value, str) and value.startswith("0x"):
            return bytes.fromhex(value[2:])
    except ValueError:
        pass
    raise InputError(name, value, "0x and an even number of hex digits")


def _read_list(body: Mapping[str, Any], name: str, read: Callable[[str, Any], Any]) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list):
        raise InputError(name, value, "a list")
    return [read(name, item) for item in value]


def _to_word(name: str, value: object) -> bytes:
    digits = value.removeprefix("0x") if isinstance(value, str) else ""
    try:
        if len(digits) == WORD_DIGITS:
            return bytes.fromhex(digits)
    except ValueError:
        pass
    raise InputError(name, value, "32 bytes: 64 hex digits")


def _to_address(name: str, value: object) -> str:
    return parse_address(name, value if isinstance(value, str) else repr(value))

"""Guardians' orders: a file that goes from guardian to guardian until enough have signed it.

The file holds the order and the signatures so far. Whoever signs is shown what it orders; whoever
sends it needs no right of its own.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kumiai.adapters.evm.accounts import Account, compact_signature, parse_address, recover_signer
from kumiai.adapters.evm.bindings.iarena import calls as arena
from kumiai.adapters.evm.bindings.iarena.structs import Quorum
from kumiai.adapters.evm.typed_data import ORDER, Domain, compute_digest
from kumiai.apps.chain.actions import Action, TaskName, get_terms
from kumiai.apps.chain.place import Session
from kumiai.apps.chain.reading import read_hash
from kumiai.apps.chain.refusals import show_time
from kumiai.base.errors import InputError, StoreError

FORMAT = "kumiai/order/1"
FILE_BYTES_MAX = 65_536
ACTIONS = ("pause", "resume", "stop")
REASON_BYTES_MAX = 280
LIFE_SECONDS = 3 * 86_400  # from signing to delivery; the contract allows a week
GUARDIANS_MAX = 16


@dataclass(frozen=True, slots=True)
class Order:
    """An order to the arena; times in Unix seconds. signatures: 65 bytes by guardian's address."""

    chain_id: int
    arena: str
    task: bytes
    action: str
    until: int
    deadline: int
    nonce: int
    reason: str
    guardians: tuple[str, ...]
    required: int
    signatures: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> bytes:
        """What guardians sign (EIP-712)."""
        values = {
            "task": self.task, "action": ACTIONS.index(self.action), "until": self.until,
            "nonce": self.nonce, "deadline": self.deadline, "reason": self.reason,
        }  # fmt: skip
        return compute_digest(Domain(self.chain_id, self.arena), ORDER, values)

    @property
    def is_signed_enough(self) -> bool:
        return len(self.signatures) >= self.required


async def begin_order(
    session: Session, task: TaskName, action: str, seconds: int, reason: str
) -> Order:
    """Return a new order that nobody has signed; seconds: how long a pause lasts."""
    if len(reason.encode()) > REASON_BYTES_MAX or not reason.strip():
        raise InputError("--reason", reason, f"say why, in at most {REASON_BYTES_MAX} bytes")
    terms = await get_terms(session, task)
    if not terms.guardians:
        raise InputError("TASK", task.shown, "it has no guardians: nobody can give it orders")
    state, header = (
        await session.node.call(session.arena, arena.get_task(task.key)),
        await session.node.get_header("latest"),
    )
    now = max(int(time.time()), 0 if header is None else header.timestamp)
    return Order(
        session.chain_id, session.arena, task.key, action,
        until=now + seconds if action == "pause" else 0,
        deadline=now + LIFE_SECONDS, nonce=state.orders, reason=reason,
        guardians=tuple(terms.guardians), required=terms.guardiansRequired,
    )  # fmt: skip


def sign_order(order: Order, account: Account) -> Order:
    """Return the order with one more signature; InputError unless the account is a guardian."""
    if account.address not in order.guardians:
        fix = f"only the task's guardians sign: {', '.join(order.guardians)}"
        raise InputError("--keystore", account.address, fix)
    signed = {**order.signatures, account.address: account.sign_digest(order.digest)}
    return replace(order, signatures=signed)


async def make_delivery(session: Session, order: Order) -> list[Action]:
    """Return the transaction that delivers an order; InputError where signatures are missing."""
    await check_order(session, order)
    if not order.is_signed_enough:
        fix = f"{order.required} guardians must sign it: --sign FILE adds one's signature"
        raise InputError("signatures", len(order.signatures), fix)
    bits = sum(1 << i for i, g in enumerate(order.guardians) if g in order.signatures)
    joined = b"".join(
        compact_signature(order.signatures[g]) for g in order.guardians if g in order.signatures
    )
    call = arena.order(
        order.task, ACTIONS.index(order.action), order.until, order.deadline, order.reason,
        Quorum(order.guardians, bits, joined),
    )  # fmt: skip
    return [Action(f"order_{order.action}", session.arena, call.data, places=describe(order))]


async def check_order(session: Session, order: Order) -> None:
    """InputError where an order is of another place, or too late."""
    if (order.chain_id, order.arena) != (session.chain_id, session.arena):
        fix = f"it is for chain {order.chain_id}, arena {order.arena}"
        raise InputError("order", f"chain {session.chain_id}, arena {session.arena}", fix)
    terms = await get_terms(session, TaskName(order.task))
    if (tuple(terms.guardians), terms.guardiansRequired) != (order.guardians, order.required):
        raise InputError("order", "guardians", "they are not the task's: do not sign it")
    state = await session.node.call(session.arena, arena.get_task(order.task))
    if state.orders != order.nonce:
        fix = "another order was carried out since: write a new one"
        raise InputError("order", f"nonce {order.nonce}", fix)


def describe(order: Order) -> dict[str, object]:
    """The order's parts as people read them."""
    return {
        "task": "0x" + order.task.hex(),
        "until": show_time(order.until) if order.until else "-",
        "deadline": show_time(order.deadline),
        "reason": order.reason,
        "signed": len(order.signatures),
        "required": order.required,
    }


def save_order(path: Path, order: Order) -> None:
    """Write the file, whole or not at all."""
    body = {
        "format": FORMAT, "chain_id": order.chain_id, "arena": order.arena,
        "task": "0x" + order.task.hex(), "action": order.action, "until": order.until,
        "deadline": order.deadline, "nonce": order.nonce, "reason": order.reason,
        "guardians": list(order.guardians), "required": order.required,
        "signatures": {who: "0x" + s.hex() for who, s in sorted(order.signatures.items())},
    }  # fmt: skip
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror}", is_retriable=True) from error


def load_order(path: Path) -> Order:
    """Read an order; every signature in it is checked. InputError says what is wrong."""
    try:
        with path.open("rb") as file:
            body = json.loads(file.read(FILE_BYTES_MAX))
    except OSError as error:
        raise InputError("order", str(path), f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError("order", str(path), "is no order's file: not JSON") from error
    try:
        order = _read_order(body)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError("order", str(path), f"is no file of {FORMAT}") from error
    for who, signature in order.signatures.items():
        if who not in order.guardians or recover_signer(order.digest, signature) != who:
            raise InputError("order", str(path), f"the signature of {who} is not its own")
    return order


def _read_order(body: Any) -> Order:
    numbers = {name: body[name] for name in ("chain_id", "until", "deadline", "nonce", "required")}
    if body["format"] != FORMAT or body["action"] not in ACTIONS:
        raise ValueError("format or action")
    if any(type(n) is not int or not 0 <= n < 2**53 for n in numbers.values()):
        raise ValueError("numbers")
    if not isinstance(body["reason"], str) or len(body["guardians"]) > GUARDIANS_MAX:
        raise ValueError("reason or guardians")
    return Order(
        **numbers,
        arena=parse_address("order, arena", body["arena"]),
        task=read_hash("order, task", body["task"]),
        action=body["action"],
        reason=body["reason"],
        guardians=tuple(parse_address("order, guardians", g) for g in body["guardians"]),
        signatures={w: bytes.fromhex(s[2:]) for w, s in body["signatures"].items()},
    )

"""A task as it stands on the chain: its money, its people, its rounds, all of one block.

Who takes part and what was settled is in the arena's logs; what it is worth now is asked of the
contract. Logs are read in parts that halve where a node gives too few at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kumiai.adapters.evm.abi import Event, Log, decode_log
from kumiai.adapters.evm.bindings.iarena import calls as arena
from kumiai.adapters.evm.bindings.iarena.events import (
    EVENTS,
    Delegated,
    FinalSettled,
    Ordered,
    RootsBlocked,
    RoundSettled,
    Staked,
)
from kumiai.adapters.evm.bindings.iarena.structs import Member, Task, Terms
from kumiai.adapters.evm.bindings.ierc20 import calls as erc20
from kumiai.adapters.evm.errors import RevertedError, TooManyResultsError
from kumiai.adapters.evm.node import LogFilter
from kumiai.apps.chain.actions import TaskName, get_terms
from kumiai.apps.chain.place import ZERO_ADDRESS, Session

BLOCKS_AT_ONCE = 10_000
KINDS = (Staked, Delegated, RoundSettled, FinalSettled, RootsBlocked, Ordered)
UNIT_CHARS_MAX = 16


@dataclass(frozen=True, slots=True)
class MemberState:
    """A member; amounts in the smallest unit."""

    address: str
    member: Member
    delegated: int


@dataclass(frozen=True, slots=True)
class RoundLine:
    """A settlement. back: what a final one returned to the escrow."""

    round: int
    is_final: bool
    paid: int
    locked: int
    back: int
    active_at: int
    is_disabled: bool
    block: int


@dataclass(frozen=True, slots=True)
class TaskState:
    """All of a task at `block`. blocked_from: the lowest round under dispute, 0: none."""

    key: bytes
    block: int
    now: int
    task: Task
    terms: Terms
    unit: str
    members: tuple[MemberState, ...]
    rounds: tuple[RoundLine, ...]
    orders: tuple[Ordered, ...]
    blocked_from: int


async def read_state(session: Session, name: TaskName) -> TaskState:
    """Return a task as it stands; InputError where there is none."""
    terms = await get_terms(session, name)
    head = await session.node.get_block_number()
    header = await session.node.get_header(head)
    events = await _read_events(session, name.key, head)
    people = list(dict.fromkeys(e.member for _, e in events if isinstance(e, Staked)))
    settled = [(log, e) for log, e in events if isinstance(e, RoundSettled | FinalSettled)]
    calls: list[tuple[str, Any]] = [(session.arena, arena.get_task(name.key))]
    calls += [(session.arena, arena.get_member(name.key, who)) for who in people]
    calls += [(session.arena, arena.get_delegated(name.key, who)) for who in people]
    calls += [(session.arena, arena.get_root(name.key, e.round)) for _, e in settled]
    answers = await session.node.read(calls, head)
    count = len(people)
    members = zip(people, answers[1 : 1 + count], answers[1 + count : 1 + 2 * count], strict=True)
    blocked = [e.fromRound for _, e in events if isinstance(e, RootsBlocked)]
    return TaskState(
        key=name.key,
        block=head,
        now=header.timestamp if header is not None else 0,
        task=answers[0],
        terms=terms,
        unit=await _read_unit(session, terms.token),
        members=tuple(MemberState(who, it, lent) for who, it, lent in members if it.role),
        rounds=tuple(
            _make_line(log, event, root[2])
            for (log, event), root in zip(settled, answers[1 + 2 * count :], strict=True)
        ),
        orders=tuple(e for _, e in events if isinstance(e, Ordered)),
        blocked_from=blocked[-1] if blocked else 0,
    )


async def list_validators(session: Session, name: TaskName) -> list[str]:
    """Return the addresses of the validators that are staked and have not left, ascending."""
    state = await read_state(session, name)
    return sorted(m.address for m in state.members if m.member.role == 2 and not m.member.exitAt)


def _make_line(log: Log, event: RoundSettled | FinalSettled, is_disabled: bool) -> RoundLine:
    is_final = isinstance(event, FinalSettled)
    return RoundLine(
        round=event.round,
        is_final=is_final,
        paid=event.paid,
        locked=0 if isinstance(event, FinalSettled) else event.locked,
        back=event.returned if isinstance(event, FinalSettled) else 0,
        active_at=event.activeAt,
        is_disabled=is_disabled,
        block=log.block,
    )


async def read_logs(session: Session, wanted: LogFilter, head: int | None = None) -> list[Log]:
    """Return all logs from the contracts' first block on, in parts that a node gives."""
    last_block = await session.node.get_block_number() if head is None else head
    logs: list[Log] = []
    first, width = session.first_block, BLOCKS_AT_ONCE
    while first <= last_block:
        last = min(last_block, first + width - 1)
        try:
            logs += await session.node.get_logs(wanted, first, last)
        except TooManyResultsError:
            if first == last:
                raise
            width = max(1, (last - first + 1) // 2)
            continue
        first = last + 1
    return logs


async def _read_events(session: Session, task: bytes, head: int) -> list[tuple[Log, Event]]:
    """The task's events of KINDS, in the chain's order."""
    wanted = LogFilter((session.arena,), tuple(kind.TOPIC for kind in KINDS))
    logs = await read_logs(session, wanted, head)
    ours = [log for log in logs if len(log.topics) > 1 and log.topics[1] == task]
    decoded = [(log, decode_log(log, EVENTS)) for log in ours]
    return [(log, event) for log, event in decoded if event is not None]


async def _read_unit(session: Session, token: str) -> str:
    """The token's symbol as its contract says it, or wei; never more than a few characters."""
    if token == ZERO_ADDRESS:
        return "wei"
    (symbol,) = await session.node.read([(token, erc20.symbol())])
    if isinstance(symbol, RevertedError) or not isinstance(symbol, str):
        return "?"
    return "".join(c for c in symbol if c.isprintable())[:UNIT_CHARS_MAX] or "?"


def describe(state: TaskState) -> dict[str, Any]:
    """Return the same as plain JSON: amounts and times as numbers, hashes as hex."""
    task, terms = state.task, state.terms
    return {
        "task": "0x" + state.key.hex(),
        "block": state.block,
        "time": state.now,
        "owner": task.owner,
        "status": task.status,
        "token": terms.token,
        "unit": state.unit,
        "money": {name: getattr(task, name) for name in MONEY},
        "ends_at": terms.endsAt,
        "ended_at": task.endedAt,
        "paused_until": task.pausedUntil,
        "blocked_from": state.blocked_from,
        "guardians": list(terms.guardians),
        "guardians_required": terms.guardiansRequired,
        "members": [
            {
                "address": m.address, "role": m.member.role, "stake": m.member.stake,
                "delegated": m.delegated, "sigma": m.member.sigma, "exit_at": m.member.exitAt,
                "holds": m.member.holds,
            }
            for m in state.members
        ],
        "rounds": [
            {
                "round": r.round, "is_final": r.is_final, "paid": r.paid, "locked": r.locked,
                "returned": r.back, "active_at": r.active_at, "is_disabled": r.is_disabled,
                "block": r.block,
            }
            for r in state.rounds
        ],
    }  # fmt: skip


MONEY: Sequence[str] = ("escrow", "locked", "unclaimed", "burnt", "paid", "bonus", "contributed")

"""What a contract holds for one task, read at one block, in the ledger's own words.

`read_books` asks the arena and the token in one batch; `compare_books` says where that differs from
what the ledger's rules give. The ledger counts pay as its receiver's from the moment of settlement,
the chain from the moment of the claim, so a name's free balance is its wallet's plus what it can
claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kumiai.adapters.evm.abi import Call
from kumiai.adapters.evm.bindings.iarena import calls as arena_calls
from kumiai.adapters.evm.bindings.iarena.structs import Member, Task
from kumiai.adapters.evm.bindings.ierc20 import calls as token_calls
from kumiai.adapters.evm.node import Node
from kumiai.settlement.accounts import (
    burnt_account,
    delegation_account,
    escrow_account,
    locked_account,
    stake_account,
)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a task's money is: the contract, its token, and the task's id on the chain."""

    arena: str
    token: str
    task_key: bytes


@dataclass(frozen=True, slots=True)
class Root:
    """What the contract keeps of a settled round. active_at 0: it was not settled."""

    payments: bytes
    active_at: int
    is_disabled: bool


@dataclass(frozen=True, slots=True)
class Books:
    """The contract's state for one task. Accounts are addresses; `lent` by (delegator, node)."""

    block: int
    task: Task
    stakes: Mapping[str, int]
    lent: Mapping[tuple[str, str], int]
    wallets: Mapping[str, int]
    claimed: Mapping[str, int]
    roots: Mapping[int, Root] = field(default_factory=dict)


async def read_books(
    node: Node,
    desk: Desk,
    members: Sequence[str],
    lent: Sequence[tuple[str, str]] = (),
    rounds: Sequence[int] = (),
    block: int | None = None,
) -> Books:
    """Read everything at one block (default: the newest). Raises ChainError as the node does.

    members: addresses whose stake, wallet and claims are wanted; lent: (delegator, node) pairs.
    """
    number = await node.get_block_number() if block is None else block
    key, arena, token = desk.task_key, desk.arena, desk.token
    asked: list[tuple[str, Call[Any]]] = [(arena, arena_calls.get_task(key))]
    asked += [(arena, arena_calls.get_member(key, who)) for who in members]
    asked += [(arena, arena_calls.get_claimed(key, who)) for who in members]
    asked += [(token, token_calls.balance_of(who)) for who in members]
    asked += [(arena, arena_calls.get_delegation(key, n, d)) for d, n in lent]
    asked += [(arena, arena_calls.get_root(key, index)) for index in rounds]
    answers = iter(await node.read(asked, number))
    task: Task = next(answers)
    people: list[Member] = [next(answers) for _ in members]
    claimed = [next(answers) for _ in members]
    wallets = [next(answers) for _ in members]
    return Books(
        block=number,
        task=task,
        stakes={who: m.stake for who, m in zip(members, people, strict=True)},
        claimed=dict(zip(members, claimed, strict=True)),
        wallets=dict(zip(members, wallets, strict=True)),
        lent={pair: next(answers) for pair in lent},
        roots={index: Root(*next(answers)) for index in rounds},
    )


def compare_books(
    books: Books,
    accounts: Mapping[str, int],
    task: str,
    addresses: Mapping[str, str],
    cumulative: Mapping[str, int],
) -> list[str]:
    """Return a sentence for each balance of the contract that is not the ledger's.

    accounts: the ledger's, by name; addresses: of the names; cumulative: certified pay by address.
    Wallets are not compared: they belong to their owners, who may have other dealings.
    """
    pairs = [
        ("escrow", books.task.escrow, accounts.get(escrow_account(task), 0)),
        ("locked pot", books.task.locked, accounts.get(locked_account(task), 0)),
        ("burnt stake", books.task.burnt, accounts.get(burnt_account(task), 0)),
        ("certified pay", books.task.paid, sum(cumulative.values())),
        (
            "unclaimed pay",
            books.task.unclaimed,
            sum(cumulative.values()) - sum(books.claimed.values()),
        ),
    ]
    names = {address: name for name, address in addresses.items()}
    for address, held in books.stakes.items():
        name = names[address]
        pairs.append((f"stake of {name[:12]}", held, accounts.get(stake_account(task, name), 0)))
    for (delegator, node), held in books.lent.items():
        account = delegation_account(task, names[node], names[delegator])
        what = f"what {names[delegator][:12]} lent to {names[node][:12]}"
        pairs.append((what, held, accounts.get(account, 0)))
    return [
        f"{what}: the contract has {held}, the ledger {expected}"
        for what, held, expected in pairs
        if held != expected
    ]

"""Calls of Lens; generated."""

from __future__ import annotations

from collections.abc import Sequence

from kumiai.adapters.evm.abi import Call, Structs, make_function
from kumiai.adapters.evm.bindings.iarena.structs import Task
from kumiai.adapters.evm.bindings.lens.structs import Node, Root

_STRUCTS: Structs = {"Node": Node, "Root": Root, "Task": Task}
_GET_CLAIMED = make_function(
    "getClaimed(address arena, bytes32 task, address[] accounts)", "(uint128[] found)", _STRUCTS
)
_GET_CONTRIBUTIONS = make_function(
    "getContributions(address arena, bytes32 task, address[] payers)", "(uint128[] found)", _STRUCTS
)
_GET_DELEGATIONS = make_function(
    "getDelegations(address arena, bytes32 task, address[] nodes, address[] delegators)",
    "(uint128[] found)",
    _STRUCTS,
)
_GET_NODES = make_function(
    "getNodes(address arena, bytes32 task, address[] nodes)", "(Node[] found)", _STRUCTS
)
_GET_ROOTS = make_function(
    "getRoots(address arena, bytes32 task, uint32[] rounds)", "(Root[] found)", _STRUCTS
)
_GET_TASKS = make_function("getTasks(address arena, bytes32[] tasks)", "(Task[] found)", _STRUCTS)


def get_claimed(arena: str, task: bytes, accounts: Sequence[str]) -> Call[tuple[int, ...]]:
    """Make the call getClaimed."""
    return Call(_GET_CLAIMED, (arena, task, accounts))


def get_contributions(arena: str, task: bytes, payers: Sequence[str]) -> Call[tuple[int, ...]]:
    """Make the call getContributions."""
    return Call(_GET_CONTRIBUTIONS, (arena, task, payers))


def get_delegations(
    arena: str, task: bytes, nodes: Sequence[str], delegators: Sequence[str]
) -> Call[tuple[int, ...]]:
    """Make the call getDelegations."""
    return Call(_GET_DELEGATIONS, (arena, task, nodes, delegators))


def get_nodes(arena: str, task: bytes, nodes: Sequence[str]) -> Call[tuple[Node, ...]]:
    """Make the call getNodes."""
    return Call(_GET_NODES, (arena, task, nodes))


def get_roots(arena: str, task: bytes, rounds: Sequence[int]) -> Call[tuple[Root, ...]]:
    """Make the call getRoots."""
    return Call(_GET_ROOTS, (arena, task, rounds))


def get_tasks(arena: str, tasks: Sequence[bytes]) -> Call[tuple[Task, ...]]:
    """Make the call getTasks."""
    return Call(_GET_TASKS, (arena, tasks))

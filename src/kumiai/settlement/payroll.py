"""What everybody may claim on a chain: one hash for all, and a short proof for each.

A leaf names a task, an account and its **cumulative** pay: everything that certificates have given
it so far. Whoever claims gets the difference to what it has claimed before, so a leaf can be shown
any number of times and pays once, and one claim takes the pay of any number of rounds.

    leaf   keccak(keccak(task | account | cumulative)), three words of 32 bytes
    node   keccak(smaller child | larger child); a node without a sibling goes up as it is

The leaf is hashed twice, so that no inner node, which is the hash of 64 bytes, can pose as one; the
children are sorted, so that a proof needs no directions. As OpenZeppelin's MerkleProof reads it.
Source of the cumulative form: EigenLayer's RewardsCoordinator (idea; no code).

Cost: three hashes an account for the tree; a proof has at most ceil(log2 n) of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kumiai.base.keys import is_address, keccak256

CUMULATIVE_MAX = 2**128 - 1
WORD_BYTES = 32
EMPTY_ROOT = bytes(WORD_BYTES)  # nobody has earned anything: no proof leads here


@dataclass(frozen=True, slots=True)
class PayProof:
    """What an account shows to be paid: its cumulative pay, and the siblings up to the root."""

    account: str  # address, 0x and 40 lower-case hex digits
    cumulative: int
    path: tuple[bytes, ...]


def compute_pay_root(task: bytes, cumulative: Mapping[str, int]) -> bytes:
    """Return the root over everybody's `cumulative` pay (by address; zeros are left out).

    ValueError for an address or an amount that is none.
    """
    leaves = [_hash_leaf(task, account, amount) for account, amount in _list_paid(cumulative)]
    return _levels(leaves)[-1][0] if leaves else EMPTY_ROOT


def compute_pay_proofs(task: bytes, cumulative: Mapping[str, int]) -> dict[str, PayProof]:
    """Return everybody's proof, by address, from one pass over the tree."""
    paid = _list_paid(cumulative)
    if not paid:
        return {}
    levels = _levels([_hash_leaf(task, account, amount) for account, amount in paid])
    proofs = {}
    for index, (account, amount) in enumerate(paid):
        path, position = [], index
        for level in levels[:-1]:
            sibling = position ^ 1
            if sibling < len(level):
                path.append(level[sibling])
            position //= 2
        proofs[account] = PayProof(account, amount, tuple(path))
    return proofs


def is_payable(task: bytes, proof: PayProof, root: bytes) -> bool:
    """Tell whether `proof` leads to `root`: what the contract asks before it pays."""
    node = _hash_leaf(task, proof.account, proof.cumulative)
    for sibling in proof.path:
        node = _hash_pair(node, sibling)
    return node == root


def encode_address(address: str) -> bytes:
    """Return an address as a word of 32 bytes; ValueError unless it is 0x and 40 hex digits."""
    if not is_address(address):
        raise ValueError(f"{address!r} is not 0x and 40 lower-case hex digits")
    return bytes.fromhex(address[2:]).rjust(WORD_BYTES, b"\0")


def _list_paid(cumulative: Mapping[str, int]) -> list[tuple[str, int]]:
    for account, amount in cumulative.items():
        if not 0 <= amount <= CUMULATIVE_MAX:
            raise ValueError(f"{account} has {amount}, outside 0..2**128-1")
    return [(account, cumulative[account]) for account in sorted(cumulative) if cumulative[account]]


def _hash_leaf(task: bytes, account: str, cumulative: int) -> bytes:
    if len(task) != WORD_BYTES:
        raise ValueError(f"a task's key has {WORD_BYTES} bytes, not {len(task)}")
    words = task + encode_address(account) + cumulative.to_bytes(WORD_BYTES, "big")
    return keccak256(keccak256(words))


def _hash_pair(left: bytes, right: bytes) -> bytes:
    return keccak256(left + right if left <= right else right + left)


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = [_hash_pair(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        levels.append(pairs + below[len(below) - len(below) % 2 :])
    return levels

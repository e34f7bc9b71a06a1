"""Merkle trees: one hash stands for a list, and a short proof shows that an item is in it.

Source: B. Laurie, A. Langley, E. Kasper, Certificate Transparency, RFC 6962 (2013), section 2.1.
Leaves and inner nodes are hashed with different prefixes, so a leaf cannot pose as a node.

Guarantee: a proof that passes shows that the leaf is in the list. The root does not say how long
the list is: a proof's `index` can be believed only as far as its `size` is known from elsewhere,
so whoever signs a root signs the number of leaves beside it.

Cost: n hashes for the root, log2(n) for a proof or its check.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from kumiai.base.canonical import is_hash

_EMPTY_ROOT = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class MerkleProof:
    """The path from leaf `index` of a tree with `size` leaves up to its root (hex hashes)."""

    index: int
    size: int
    path: tuple[str, ...]


def compute_root(leaves: Sequence[bytes]) -> str:
    """Return the tree hash over `leaves` (the data itself, not hashes) as hex."""
    return compute_levels(leaves)[-1][0].hex() if leaves else _EMPTY_ROOT.hex()


def compute_proofs(leaves: Sequence[bytes]) -> list[MerkleProof]:
    """Return one inclusion proof a leaf, all from a single pass over the tree."""
    if not leaves:
        return []
    levels = compute_levels(leaves)
    proofs = []
    for index in range(len(leaves)):
        path, position = [], index
        for level in levels[:-1]:
            sibling = position ^ 1
            if sibling < len(level):
                path.append(level[sibling].hex())
            position //= 2
        proofs.append(MerkleProof(index=index, size=len(leaves), path=tuple(path)))
    return proofs


def is_included(leaf: bytes, proof: MerkleProof, root: str) -> bool:
    """Tell whether `proof` leads from `leaf` to `root`."""
    if not 0 <= proof.index < proof.size:
        return False
    node, position, width, path = _hash_leaf(leaf), proof.index, proof.size, list(proof.path)
    while width > 1:
        if position ^ 1 < width:
            if not path:
                return False
            text = path.pop(0)
            if not is_hash(text):  # one text for one hash: "AB" and "ab" are the same bytes
                return False
            sibling = bytes.fromhex(text)
            node = _hash_node(sibling, node) if position % 2 else _hash_node(node, sibling)
        position //= 2
        width = (width + 1) // 2
    return not path and node.hex() == root


def compute_levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return the hashes of all levels over at least one leaf, the leaves' own first.

    An unpaired node moves up unchanged: the same tree as RFC 6962.
    """
    level = [_hash_leaf(leaf) for leaf in leaves]
    levels = [level]
    while len(level) > 1:
        paired = [_hash_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + ([level[-1]] if len(level) % 2 else [])
        levels.append(level)
    return levels


def _hash_leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def _hash_node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()

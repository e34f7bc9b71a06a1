"""Merkle trees against RFC 6962: its recursion as the twin, published vectors, wrong proofs."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base import merkle

# Leaves and roots of the Certificate Transparency test data (n = 0 to 8 leaves).
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1: MTH(D[n]) with k the largest power of two smaller than n."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def make_leaves(count: int) -> list[bytes]:
    return [b"leaf %d" % i for i in range(count)]


@pytest.mark.parametrize("count", range(9))
def test_roots_of_certificate_transparency(count):
    assert merkle.compute_root(CT_LEAVES[:count]) == CT_ROOTS[count]


@pytest.mark.parametrize("count", range(41))
def test_every_leaf_up_to_40_is_proven_and_no_other(count):
    leaves = make_leaves(count)
    root = merkle.compute_root(leaves)
    assert root == naive_root(leaves).hex()
    proofs = merkle.compute_proofs(leaves)
    assert len(proofs) == count
    for index, proof in enumerate(proofs):
        assert (proof.index, proof.size) == (index, count)
        assert merkle.is_included(leaves[index], proof, root)
        assert not merkle.is_included(b"another", proof, root)
        for other in range(-1, count + 1):
            if other != index:
                assert not merkle.is_included(leaves[index], replace(proof, index=other), root)


@given(st.integers(1, 40), st.data())
def test_a_wrong_path_is_refused(count, data):
    leaves = make_leaves(count)
    root = merkle.compute_root(leaves)
    index = data.draw(st.integers(0, count - 1))
    proof = merkle.compute_proofs(leaves)[index]
    assert not merkle.is_included(leaves[index], replace(proof, path=(*proof.path, "0" * 64)), root)
    if not proof.path:
        return
    at = data.draw(st.integers(0, len(proof.path) - 1))
    step = proof.path[at]
    for wrong in ("0" * 64, step.upper() + " ", step[:-1], step + "00", "", "zz", "é" * 64, None):
        path = (*proof.path[:at], wrong, *proof.path[at + 1 :])
        assert not merkle.is_included(leaves[index], replace(proof, path=path), root)
    shorter = (*proof.path[:at], *proof.path[at + 1 :])
    assert not merkle.is_included(leaves[index], replace(proof, path=shorter), root)


def test_one_path_has_one_spelling():
    leaves = make_leaves(5)
    root, proof = merkle.compute_root(leaves), merkle.compute_proofs(leaves)[1]
    upper = tuple(step.upper() for step in proof.path)
    assert upper != proof.path
    assert not merkle.is_included(leaves[1], replace(proof, path=upper), root)


@given(st.integers(1, 40), st.integers(0, 50), st.data())
def test_whatever_the_size_says_only_leaves_of_the_list_pass(count, size, data):
    """A root does not bind the length of its list, but a leaf outside it never passes."""
    leaves = make_leaves(count)
    root = merkle.compute_root(leaves)
    proof = merkle.compute_proofs(leaves)[data.draw(st.integers(0, count - 1))]
    index = data.draw(st.integers(-1, size))
    forged = replace(proof, index=index, size=size)
    assert not merkle.is_included(b"outside", forged, root)
    inner = b"".join(bytes.fromhex(step) for step in proof.path[:2])
    assert not merkle.is_included(inner, forged, root)


def test_a_wrong_size_is_refused_where_it_changes_the_shape():
    leaves = make_leaves(7)
    root, proof = merkle.compute_root(leaves), merkle.compute_proofs(leaves)[6]
    for size in (0, 1, 6, 8, 15, 100):
        assert not merkle.is_included(leaves[6], replace(proof, size=size), root)


def test_a_node_cannot_pose_as_a_leaf():
    """Second preimage: without the prefixes the two child hashes would be a leaf with this root."""
    left, right = make_leaves(2)
    children = b"".join(hashlib.sha256(b"\x00" + leaf).digest() for leaf in (left, right))
    root = merkle.compute_root([left, right])
    assert merkle.compute_root([children]) != root
    assert merkle.compute_root([b"\x01" + children]) != root
    assert not merkle.is_included(children, merkle.MerkleProof(0, 1, ()), root)


@given(st.lists(st.binary(max_size=8), max_size=12), st.lists(st.binary(max_size=8), max_size=12))
def test_different_lists_have_different_roots(one, other):
    assert (merkle.compute_root(one) == merkle.compute_root(other)) == (one == other)

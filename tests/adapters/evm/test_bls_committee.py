"""Four validators hand over to a contract that checks one aggregated signature, on a real anvil.

The signatures are py_ecc's, the checks the node's: two implementations of the curve.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from hashlib import sha256

import pytest
from eth_abi import encode
from eth_utils import keccak
from py_ecc.optimized_bls12_381 import curve_order
from tests.adapters.evm.anvil import Anvil, run_anvil
from tests.adapters.evm.bls_vectors import FILE, make_key, write_vectors
from tests.adapters.evm.dispute_chain import Contract, Court

from kumiai.adapters.evm.abi import decode_revert
from kumiai.adapters.evm.bindings.bls.structs import G1Point, G2Point
from kumiai.adapters.evm.bindings.blscommittee.errors import ERRORS
from kumiai.adapters.evm.bls import BlsKey, aggregate, hash_key, hash_message
from kumiai.base.errors import InputError

ZERO = bytes(32)
NO_SLASHES = keccak(encode(["(address,uint128,bytes32)[]"], [[]]))
KEYS = [make_key(f"a secret {index}") for index in range(4)]
Words = tuple[bytes, ...]


@pytest.fixture(scope="module")
def node() -> Iterator[Anvil]:
    with run_anvil() as anvil:
        yield anvil


@pytest.fixture
def court(node: Anvil) -> Court:
    """A new arena with a running task, and four validators whose committee is `court.committee`."""
    return Court(node)


def spell(point: G1Point | G2Point) -> Words:
    return tuple(getattr(point, field.name) for field in fields(point))


def certify(court: Court, index: int, next_committee: bytes = ZERO) -> tuple[object, ...]:
    body = sha256(b"body %d" % index).digest()
    return (court.task, index, 0, False, body, ZERO, ZERO, 0, 0, NO_SLASHES, next_committee)


def settle_by_people(court: Court, certificate: tuple[object, ...]) -> None:
    digest = court.arena.call("computeDigest", certificate)
    court.arena.send(
        court.owner, "settle", certificate, [], (court.committee, *court.sign(digest, 3))
    )


def register(court: Court, bls: Contract, index: int, key: BlsKey, public: G2Point) -> None:
    """Register `public` with the proof that `key` can make."""
    member = court.committee[index]
    message = bls.call("computeProofMessage", member, hash_key(public))
    bls.send(member, "register", index, spell(public), spell(key.prove(message)))


def hand_over(court: Court) -> Contract:
    bls = Contract(court.node, "BlsCommittee", court.arena.address, court.committee)
    for index, key in enumerate(KEYS):
        register(court, bls, index, key, key.public)
    bls.send(court.owner, "seal", [spell(key.public) for key in KEYS])
    settle_by_people(court, certify(court, 1, bls.call("committee")))
    return bls


def settle(
    court: Court, bls: Contract, certificate: tuple[object, ...], signers: int, digest: bytes
) -> None:
    """Settle by the aggregate of those in the bits of `signers` on `digest`."""
    signed = [key.sign(digest) for index, key in enumerate(KEYS) if signers >> index & 1]
    bls.send(court.owner, "settle", certificate, [], signers, spell(aggregate(signed)))


def read_refusal(caught: pytest.ExceptionInfo[RuntimeError]) -> str:
    """The custom error's name."""
    data = bytes.fromhex(caught.value.args[0]["data"][2:])
    return type(decode_revert(data, ERRORS)).__name__


def get_round(court: Court) -> int:
    return int(court.arena.view("getTask", court.task)["round"])


def test_hands_over_settles_by_three_of_four_and_hands_back(court: Court) -> None:
    bls = hand_over(court)
    for index, signers in enumerate((0b0111, 0b1101, 0b1111), 2):
        certificate = certify(court, index)
        settle(court, bls, certificate, signers, court.arena.call("computeDigest", certificate))
        assert get_round(court) == index
    with pytest.raises(RuntimeError):
        settle_by_people(court, certify(court, 5))  # they handed over
    back = keccak(b"".join(bytes.fromhex(one[2:]).rjust(32, b"\0") for one in court.committee))
    certificate = certify(court, 5, back)
    settle(court, bls, certificate, 0b1110, court.arena.call("computeDigest", certificate))
    settle_by_people(court, certify(court, 6))
    assert get_round(court) == 6


def test_two_of_four_and_a_wrong_digest_are_refused(court: Court) -> None:
    bls = hand_over(court)
    certificate = certify(court, 2)
    digest = court.arena.call("computeDigest", certificate)
    with pytest.raises(RuntimeError) as caught:
        settle(court, bls, certificate, 0b0011, digest)
    assert read_refusal(caught) == "NoQuorum"
    with pytest.raises(RuntimeError) as caught:
        settle(
            court, bls, certificate, 0b0111, court.arena.call("computeDigest", certify(court, 3))
        )
    assert read_refusal(caught) == "BadAggregate"
    two = aggregate([key.sign(digest) for key in KEYS[:2]])
    with pytest.raises(RuntimeError) as caught:
        bls.send(court.owner, "settle", certificate, [], 0b0111, spell(two))
    assert read_refusal(caught) == "BadAggregate"
    assert get_round(court) == 1


def test_a_verdict_burns_stake(court: Court) -> None:
    bls = hand_over(court)
    slashes = [(court.accused, 5, b"e" * 32)]
    hashed = keccak(encode(["(address,uint128,bytes32)[]"], [slashes]))
    digest = bls.call("computeVerdictDigest", court.task, hashed)
    signature = spell(aggregate([key.sign(digest) for key in KEYS[1:]]))
    with pytest.raises(RuntimeError) as caught:
        bls.send(court.owner, "slash", court.task, slashes, 0b0111, signature)
    assert read_refusal(caught) == "BadAggregate"
    bls.send(court.owner, "slash", court.task, slashes, 0b1110, signature)
    assert court.arena.view("getTask", court.task)["burnt"] == 5


def test_a_rogue_key_has_no_proof(court: Court) -> None:
    """Its owner would sign for everybody: key = own - the sum of the others."""
    bls = Contract(court.node, "BlsCommittee", court.arena.address, court.committee)
    own = 77
    others = sum(int.from_bytes(key.export_secret(), "big") for key in KEYS[:3])
    rogue = BlsKey(((own - others) % curve_order).to_bytes(32, "big"))
    with pytest.raises(RuntimeError) as caught:
        register(court, bls, 3, BlsKey(own.to_bytes(32, "big")), rogue.public)
    assert read_refusal(caught) == "BadProof"
    with pytest.raises(RuntimeError) as caught:
        register(court, bls, 3, KEYS[0], G2Point(*8 * [ZERO]))
    assert read_refusal(caught) == "BadKey"


def test_the_contracts_vectors_are_what_py_ecc_makes() -> None:
    assert FILE.read_text() == write_vectors()


def test_the_client_refuses_what_is_no_key_message_or_point() -> None:
    for secret in (b"", bytes(32), bytes(31), curve_order.to_bytes(32, "big")):
        with pytest.raises(InputError):
            BlsKey(secret)
    with pytest.raises(InputError):
        KEYS[0].sign(b"short")
    good = KEYS[0].sign(ZERO)
    for bad in (
        replace(good, y_b=ZERO),
        replace(good, x_a=b"\xff" * 32),
        replace(good, x_a=b""),
    ):
        with pytest.raises(InputError):
            aggregate([good, bad])
    assert aggregate([]) == G1Point(ZERO, ZERO, ZERO, ZERO)
    assert aggregate([good]) == good
    assert KEYS[0].prove(ZERO) != good
    assert hash_message(ZERO, b"one tag") != hash_message(ZERO, b"another")
    assert KEYS[0].export_secret().hex() not in repr(KEYS[0])
    assert BlsKey.generate().export_secret() != BlsKey.generate().export_secret()
    assert BlsKey(KEYS[0].export_secret()).public == KEYS[0].public

"""The digest that validators sign for a chain, against another implementation of EIP-712."""

from dataclasses import replace

import pytest
from eth_abi import encode
from eth_account.messages import encode_typed_data
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base import keys
from kumiai.settlement import certificates as cert

WORDS = st.binary(min_size=32, max_size=32)
ADDRESSES = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
AMOUNTS = st.integers(0, 2**128 - 1)
CERTIFICATES = st.builds(
    cert.ChainCertificate,
    task=WORDS,
    round=st.integers(0, 2**32 - 1),
    attempt=st.integers(0, 2**32 - 1),
    is_final=st.booleans(),
    body=WORDS,
    submissions=WORDS,
    payments=WORDS,
    paid=AMOUNTS,
    locked=AMOUNTS,
    slashes=WORDS,
    next_committee=WORDS,
)
PLACES = st.builds(cert.ChainPlace, chain_id=st.integers(1, 2**53 - 1), arena=ADDRESSES)
FIELDS = {
    "task": ("bytes32", "task"),
    "round": ("uint32", "round"),
    "attempt": ("uint32", "attempt"),
    "is_final": ("bool", "isFinal"),
    "body": ("bytes32", "body"),
    "submissions": ("bytes32", "submissions"),
    "payments": ("bytes32", "payments"),
    "paid": ("uint128", "paid"),
    "locked": ("uint128", "locked"),
    "slashes": ("bytes32", "slashes"),
    "next_committee": ("bytes32", "nextCommittee"),
}


def digest_elsewhere(certificate: cert.ChainCertificate, place: cert.ChainPlace) -> bytes:
    signable = encode_typed_data(
        {"name": "Kumiai Arena", "version": "1", "chainId": place.chain_id}
        | {"verifyingContract": place.arena},
        {"Certificate": [{"name": n, "type": t} for t, n in FIELDS.values()]},
        {name: getattr(certificate, field) for field, (_, name) in FIELDS.items()},
    )
    return keccak(b"\x19" + signable.version + signable.header + signable.body)


@given(CERTIFICATES, PLACES)
def test_the_digest_is_eip_712s(certificate, place):
    assert cert.compute_certificate_digest(certificate, place) == digest_elsewhere(
        certificate, place
    )


@given(CERTIFICATES, PLACES)
def test_a_signature_is_for_one_certificate_chain_and_contract(certificate, place):
    key = keys.derive_key(b"seed", "funds")
    digest = cert.compute_certificate_digest(certificate, place)
    signature, address = keys.sign_recoverable(key, digest), keys.compute_address(key)
    assert keys.is_address_signature(address, digest, signature)
    others = [
        (replace(certificate, paid=certificate.paid ^ 1), place),
        (replace(certificate, is_final=not certificate.is_final), place),
        (certificate, replace(place, chain_id=place.chain_id + 1)),
        (certificate, replace(place, arena="0x" + "ab" * 20)),
    ]
    for other, where in others:
        if (other, where) != (certificate, place):
            changed = cert.compute_certificate_digest(other, where)
            assert not keys.is_address_signature(address, changed, signature)


@given(st.lists(st.builds(cert.ChainSlash, ADDRESSES, AMOUNTS, WORDS), max_size=5))
def test_slashes_are_hashed_as_the_contract_encodes_them(slashes):
    rows = [(each.member, each.amount, each.evidence) for each in slashes]
    assert cert.hash_slashes(slashes) == keccak(encode(["(address,uint128,bytes32)[]"], [rows]))


@given(ADDRESSES, WORDS)
def test_a_tasks_key_is_the_contracts(owner, document):
    assert cert.compute_task_key(owner, document) == keccak(
        encode(["address", "bytes32"], [owner, document])
    )


def test_a_committee_is_ascending_and_distinct():
    low, high = "0x" + "00" * 20, "0x" + "ff" * 20
    assert cert.hash_committee((low, high)) != cert.hash_committee((low,))
    for wrong in ((high, low), (low, low)):
        with pytest.raises(ValueError, match="ascending"):
            cert.hash_committee(wrong)

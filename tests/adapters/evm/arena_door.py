"""The arena as the tests reach it: calls encoded from its artifact, errors by name, real keys.

Written on eth_abi alone, beside the package's own bindings: a second opinion about the encoding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from coincurve import PrivateKey
from eth_abi import decode, encode
from tests.adapters.evm.engines import CHAIN_ID, Engine

from kumiai.base.keys import keccak256
from kumiai.settlement.certificates import (
    ChainCertificate,
    ChainPlace,
    ChainSlash,
    compute_certificate_digest,
    compute_domain,
    hash_slashes,
)
from kumiai.settlement.payroll import encode_address

ROOT = Path(__file__).resolve().parents[3]
ARTIFACTS = ROOT / "src" / "kumiai" / "adapters" / "evm" / "artifacts"
COIN = "0x" + "00" * 20  # the address that stands for the chain's own coin
VERDICT = "Verdict(bytes32 task,bytes32 slashes)"
ORDER = "Order(bytes32 task,uint8 action,uint40 until,uint32 nonce,uint40 deadline,string reason)"
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@dataclass(frozen=True, slots=True)
class Person:
    """A key and its address."""

    name: str
    key: PrivateKey
    address: str


@cache
def make_person(name: str) -> Person:
    """The same name always has the same key."""
    key = PrivateKey(hashlib.sha256(b"kumiai tests " + name.encode()).digest())
    address = "0x" + keccak256(key.public_key.format(compressed=False)[1:])[-20:].hex()
    return Person(name, key, address)


def sign(person: Person, digest: bytes) -> bytes:
    """r, s and v (27 or 28): 65 bytes, with the lower s."""
    raw = person.key.sign_recoverable(digest, hasher=None)
    return raw[:64] + bytes([raw[64] + 27])


def compact(signature: bytes) -> bytes:
    """r and vs of EIP-2098: 64 bytes."""
    s = int.from_bytes(signature[32:64], "big") | (signature[64] - 27) << 255
    return signature[:32] + s.to_bytes(32, "big")


def flip(signature: bytes) -> bytes:
    """The other signature over the same digest: s in the upper half, v turned round."""
    s = CURVE_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


class Artifact:
    """One compiled contract: how its calls are written and its errors are read."""

    def __init__(self, path: Path) -> None:
        document = json.loads(path.read_text())
        self.bytecode = bytes.fromhex(document["bytecode"].removeprefix("0x"))
        self.deployed = bytes.fromhex(document["deployedBytecode"].removeprefix("0x"))
        self._functions: dict[str, tuple[bytes, list[str], list[str]]] = {}
        self._errors: dict[bytes, tuple[str, list[str]]] = {}
        for item in document["abi"]:
            inputs = [_type(each) for each in item.get("inputs", [])]
            if item["type"] == "function":
                outputs = [_type(each) for each in item["outputs"]]
                self._functions[item["name"]] = (_select(item["name"], inputs), inputs, outputs)
            elif item["type"] == "error":
                self._errors[_select(item["name"], inputs)] = (item["name"], inputs)

    def encode(self, function: str, *args: Any) -> bytes:
        selector, inputs, _ = self._functions[function]
        return selector + encode(inputs, args)

    def decode(self, function: str, data: bytes) -> Any:
        _, _, outputs = self._functions[function]
        values = decode(outputs, data)
        return values[0] if len(outputs) == 1 else values

    def get_error(self, data: bytes) -> str:
        """The name of the error, `revert` for none that it knows."""
        return self._errors.get(data[:4], ("revert", []))[0]


@cache
def load_artifact(name: str) -> Artifact:
    """Arena, Credit or Lens, as the package ships them."""
    return Artifact(ARTIFACTS / f"{name}.json")


def _type(item: dict[str, Any]) -> str:
    kind = str(item["type"])
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(_type(each) for each in item["components"]) + ")" + kind[5:]


def _select(name: str, inputs: Sequence[str]) -> bytes:
    return keccak256(f"{name}({','.join(inputs)})".encode())[:4]


class ArenaDoor:
    """An arena and its token on one engine."""

    def __init__(
        self, engine: Engine, owner: str, arbiter: str, arena: Artifact | None = None
    ) -> None:
        self.engine = engine
        self.code = arena or load_artifact("Arena")
        self.credit_code = load_artifact("Credit")
        words = encode(["address", "address"], [owner, arbiter])
        self.address = engine.deploy(owner, self.code.bytecode + words)
        self.credit = engine.deploy(owner, self.credit_code.bytecode)
        self.place = ChainPlace(CHAIN_ID, self.address)

    def send(self, sender: str, function: str, *args: Any, value: int = 0) -> str:
        """Do it; returns '' or the name of the error that it was refused with."""
        data = self.code.encode(function, *args)
        outcome = self.engine.send(sender, self.address, data, value)
        if outcome.is_ok:
            return ""
        name = self.code.get_error(outcome.data)
        return name if name != "revert" else self.credit_code.get_error(outcome.data)

    def measure(self, sender: str, function: str, *args: Any, value: int = 0) -> int:
        """The gas of a call that must succeed."""
        data = self.code.encode(function, *args)
        outcome = self.engine.send(sender, self.address, data, value)
        assert outcome.is_ok, self.code.get_error(outcome.data)
        return outcome.gas

    def view(self, function: str, *args: Any) -> Any:
        return self.view_many([(function, args)])[0]

    def view_many(self, asked: Iterable[tuple[str, Sequence[Any]]]) -> list[Any]:
        calls = list(asked)
        encoded = [(self.address, self.code.encode(name, *args)) for name, args in calls]
        answers = self.engine.call_many(encoded)
        return [
            self.code.decode(name, data) for (name, _), data in zip(calls, answers, strict=True)
        ]

    def get_wallets(self, token: str, accounts: Sequence[str]) -> list[int]:
        if token == COIN:
            return self.engine.get_coins(accounts)
        calls = [(token, self.credit_code.encode("balanceOf", each)) for each in accounts]
        return [int.from_bytes(each, "big") for each in self.engine.call_many(calls)]

    def mint(self, account: str, amount: int) -> None:
        """Give `account` test credit, and let the arena take it."""
        for data in (
            self.credit_code.encode("mint", account, amount),
            self.credit_code.encode("approve", self.address, 2**256 - 1),
        ):
            assert self.engine.send(account, self.credit, data).is_ok


def make_quorum(members: Sequence[Person], signers: Sequence[Person], digest: bytes) -> tuple:  # type: ignore[type-arg]
    """`IArena.Quorum` of `signers` among `members`, which stand in the order given."""
    chosen = {person.address for person in signers}
    bits = sum(1 << i for i, each in enumerate(members) if each.address in chosen)
    signatures = b"".join(compact(sign(each, digest)) for each in members if each.address in chosen)
    return ([each.address for each in members], bits, signatures)


def list_certificate(certificate: ChainCertificate) -> tuple:  # type: ignore[type-arg]
    """`IArena.Certificate`, in the order of its fields."""
    c = certificate
    return (
        c.task,
        c.round,
        c.attempt,
        c.is_final,
        c.body,
        c.submissions,
        c.payments,
        c.paid,
        c.locked,
        c.slashes,
        c.next_committee,
    )


def list_slashes(slashes: Sequence[ChainSlash]) -> list[tuple[str, int, bytes]]:
    """`IArena.Slash[]`."""
    return [(each.member, each.amount, each.evidence) for each in slashes]


def digest_certificate(certificate: ChainCertificate, place: ChainPlace) -> bytes:
    return compute_certificate_digest(certificate, place)


def digest_verdict(task: bytes, slashes: Sequence[ChainSlash], place: ChainPlace) -> bytes:
    return _digest(keccak256(VERDICT.encode()) + task + hash_slashes(slashes), place)


def digest_order(
    task: bytes,
    action: int,
    until: int,
    nonce: int,
    deadline: int,
    reason: str,
    place: ChainPlace,
) -> bytes:
    numbers = encode(["uint8", "uint40", "uint32", "uint40"], [action, until, nonce, deadline])
    words = keccak256(ORDER.encode()) + task + numbers + keccak256(reason.encode())
    return _digest(words, place)


def digest_struct(kind: str, words: bytes, place: ChainPlace) -> bytes:
    """Any EIP-712 struct whose fields are given as encoded words."""
    return _digest(keccak256(kind.encode()) + words, place)


def _digest(struct: bytes, place: ChainPlace) -> bytes:
    return keccak256(b"\x19\x01" + compute_domain(place) + keccak256(struct))


def encode_words(*values: str | int | bytes) -> bytes:
    """Addresses, numbers and 32-byte hashes, one word each."""
    words = []
    for value in values:
        if isinstance(value, str):
            words.append(encode_address(value))
        elif isinstance(value, int):
            words.append(value.to_bytes(32, "big"))
        else:
            words.append(value)
    return b"".join(words)

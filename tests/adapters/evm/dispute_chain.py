"""A real arena with its disputes on a real node, and two parties that answer.

::

    court = Court(node)                       # deploys, stakes, starts
    submission, place = court.settle(trace)   # a round in which the accused submitted this trace
    dispute = court.open(submission, place, root)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_abi import decode, encode
from eth_account import Account
from eth_utils import keccak, to_checksum_address
from tests.adapters.evm.anvil import Anvil

from kumiai.base.canonical import sha256_hex
from kumiai.proofs.submission import (
    Submission,
    compute_submission_proofs,
    compute_submissions_root,
)
from kumiai.proofs.trace import Trace, TracePlace

ARTIFACTS = Path(__file__).resolve().parents[3] / "src/kumiai/adapters/evm/artifacts"
DOCUMENT = sha256_hex(b"the task document")
MEMBER, OTHER = sha256_hex(b"the accused's key"), sha256_hex(b"another member's key")
STAKE = 10**18
COMMITTEE = 4
LEVELS = ("NONE", "SEGMENTS", "REFINING", "ITERATIONS", "JURY", "DECIDED")
GAS = hex(15_000_000)


def spell(item: dict[str, Any]) -> str:
    """The canonical type of an ABI parameter."""
    if not item["type"].startswith("tuple"):
        return str(item["type"])
    return f"({','.join(spell(part) for part in item['components'])}){item['type'][5:]}"


class Contract:
    """A deployed contract: `send` as an unlocked account, `call` for views."""

    def __init__(self, node: Anvil, name: str, *arguments: object) -> None:
        artifact = json.loads((ARTIFACTS / f"{name}.json").read_text())
        self.node = node
        self.functions = {i["name"]: i for i in artifact["abi"] if i["type"] == "function"}
        makers = [i for i in artifact["abi"] if i["type"] == "constructor"]
        types = [spell(item) for item in makers[0]["inputs"]] if makers else []
        code = artifact["bytecode"] + encode(types, arguments).hex()
        self.deployer = node.request("eth_accounts")[0]  # type: ignore[index]
        receipt = transact(node, {"from": self.deployer, "data": code, "gas": GAS})
        self.address = receipt["contractAddress"]
        self.gas = int(receipt["gasUsed"], 16)

    def data(self, name: str, *arguments: object) -> str:
        types = [spell(item) for item in self.functions[name]["inputs"]]
        selector = keccak(text=f"{name}({','.join(types)})")[:4]
        return "0x" + (selector + encode(types, arguments)).hex()

    def send(self, sender: str, name: str, *arguments: object, value: int = 0) -> int:
        """Return the gas that it took; RuntimeError with the node's words where it reverts."""
        fields = {"from": sender, "to": self.address, "data": self.data(name, *arguments)}
        receipt = transact(self.node, {**fields, "value": hex(value), "gas": GAS})
        return int(receipt["gasUsed"], 16)

    def call(self, name: str, *arguments: object) -> Any:
        sent = {"to": self.address, "data": self.data(name, *arguments)}
        answer = self.node.request("eth_call", sent, "latest")
        types = [spell(item) for item in self.functions[name]["outputs"]]
        found = decode(types, bytes.fromhex(str(answer)[2:]))
        return found[0] if len(found) == 1 else found

    def view(self, name: str, *arguments: object) -> dict[str, Any]:
        """A returned struct's fields by their names."""
        parts = self.functions[name]["outputs"][0]["components"]
        return dict(zip([p["name"] for p in parts], self.call(name, *arguments), strict=True))


def transact(node: Anvil, fields: dict[str, str]) -> dict[str, Any]:
    name = node.request("eth_sendTransaction", fields)
    receipt: Any = None
    while receipt is None:
        receipt = node.request("eth_getTransactionReceipt", name)
    if receipt["status"] != "0x1":
        node.request("eth_call", fields, "latest")  # raises with the reason
        raise RuntimeError(f"reverted: {receipt}")
    return dict(receipt)


@dataclass
class Place:
    """Where a submission is under the certified root."""

    index: int
    size: int
    path: tuple[bytes, ...]

    def spell(self) -> tuple[int, int, list[bytes]]:
        return (self.index, self.size, list(self.path))


def spell_submission(one: Submission) -> tuple[object, ...]:
    place = one.place
    hashes = bytes.fromhex(place.task), bytes.fromhex(place.member), bytes.fromhex(one.trace)
    account = to_checksum_address("0x" + one.account)
    named = (hashes[0], place.round, place.attempt, hashes[1], account)
    return (*named, hashes[2], one.iterations, one.every)


class Court:
    """The contracts, a running task with a committee, an accused and an accuser."""

    def __init__(self, node: Anvil) -> None:
        self.node = node
        accounts: Any = node.request("eth_accounts")
        self.owner, self.accused, self.accuser = accounts[:3]
        nonce = int(str(node.request("eth_getTransactionCount", self.owner, "latest")), 16)
        address = compute_created(self.owner, nonce + 1)
        self.arena = Contract(node, "Arena", self.owner, address)
        self.disputes = Contract(node, "Disputes", self.arena.address, self.owner)
        assert self.disputes.address.lower() == address.lower()
        keys = [Account.from_key(keccak(text=f"juror {i}")) for i in range(COMMITTEE)]
        self.jurors = sorted(keys, key=lambda key: int(key.address, 16))
        self.committee = [key.address for key in self.jurors]
        self.task = self._create()
        self.round = 0

    def _create(self) -> bytes:
        block: Any = self.node.request("eth_getBlockByNumber", "latest", False)
        ends_at = int(block["timestamp"], 16) + 200 * 86_400
        document = bytes.fromhex(DOCUMENT)
        zero = "0x" + 40 * "0"
        times = (ends_at, 86_400, 3_600, 86_400, 0)
        shares = (0, 0, 10_000, 0, False)
        self.arena.send(
            self.owner, "createTask",
            (document, zero, zero, *times, *shares, 0, STAKE, STAKE, []),
        )  # fmt: skip
        task: bytes = self.arena.call("computeTaskId", self.owner, document)
        self._stake(task, self.accused, 1)
        for address in self.committee:
            self.node.request("anvil_setBalance", address, hex(10 * STAKE))
            self.node.request("anvil_impersonateAccount", address)
            self._stake(task, address, 2)
        self.arena.send(self.owner, "start", task, self.committee)
        return task

    def _stake(self, task: bytes, who: str, role: int) -> None:
        terms = (task, role, STAKE, bytes.fromhex(DOCUMENT), 0, b"")
        self.arena.send(who, "stake", *terms, value=STAKE)

    def place(self) -> TracePlace:
        """Of the accused's work in the round that is settled next."""
        return TracePlace(DOCUMENT, self.round + 1, 0, MEMBER)

    def settle(self, trace: Trace) -> tuple[Submission, Place]:
        """Certify a round with the accused's trace and another member's beside it."""
        self.round += 1
        account = self.accused[2:].lower()
        mine = Submission(trace.place, account, trace.root, trace.iterations, trace.every)
        beside = TracePlace(DOCUMENT, self.round, 0, OTHER)
        both = [mine, Submission(beside, "1" * 40, "2" * 64, 1, 1)]
        root = bytes.fromhex(compute_submissions_root(both))
        none = keccak(encode(["(address,uint128,bytes32)[]"], [[]]))
        body = bytes.fromhex(sha256_hex(b"body"))
        certificate = (
            self.task, self.round, 0, False, body, root, bytes(32), 0, 0, none, bytes(32)
        )  # fmt: skip
        quorum = (self.committee, *self.sign(self.arena.call("computeDigest", certificate), 3))
        self.arena.send(self.owner, "settle", certificate, [], quorum)
        proof = compute_submission_proofs(both)[MEMBER]
        return mine, Place(proof.index, proof.size, tuple(map(bytes.fromhex, proof.path)))

    def sign(self, digest: bytes, count: int) -> tuple[int, bytes]:
        """Bits and signatures of the first `count` of the committee."""
        signatures = b""
        for key in self.jurors[:count]:
            signed = Account.unsafe_sign_hash(digest, key.key)
            vs = signed.s | (signed.v - 27) << 255
            signatures += signed.r.to_bytes(32, "big") + vs.to_bytes(32, "big")
        return (1 << count) - 1, signatures

    def open(
        self, one: Submission, place: Place, root: str
    ) -> tuple[bytes, tuple[object, ...], int]:
        """Accuse; return the dispute, its case as it was announced, and the gas."""
        bond = self.disputes.call("computeBond", self.task, self.accused)
        said = (self.task, spell_submission(one), place.spell(), bytes.fromhex(root))
        data = self.disputes.data("open", *said, self.committee)
        fields = {"from": self.accuser, "to": self.disputes.address, "data": data}
        receipt = transact(self.node, {**fields, "value": hex(bond), "gas": GAS})
        event = next(log for log in receipt["logs"] if len(log["topics"]) == 4)  # Opened
        case = spell(self.disputes.functions["computeId"]["inputs"][0])
        about = decode([case], bytes.fromhex(event["data"][2:]))[0]
        dispute = bytes.fromhex(event["topics"][1][2:])
        assert self.disputes.call("computeId", about) == dispute
        return dispute, about, int(receipt["gasUsed"], 16)

    def judge(self, dispute: bytes, about: tuple[object, ...], outcome: int, digest: bytes) -> int:
        word = self.disputes.call("computeDigest", dispute, outcome, digest)
        signed = self.sign(word, 3)
        return self.disputes.send(self.owner, "judge", about, outcome, digest, *signed)


def compute_created(sender: str, nonce: int) -> str:
    """Where a contract that `sender` creates with `nonce` lives: keccak of RLP [sender, nonce]."""
    assert 0 < nonce < 128, "longer nonces are written otherwise"
    written = b"\xd6\x94" + bytes.fromhex(sender[2:]) + bytes([nonce])
    return to_checksum_address(keccak(written)[12:])

"""An arena on a measured chain, and the calls of it that the benchmarks make.

Every method that changes something returns a `Job`, so that thousands can be sent at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from eth_abi.abi import encode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from chain_lab import GENESIS_TIME, Job, Lab, Wallet, load_code
from kumiai.adapters.evm.abi import Call
from kumiai.adapters.evm.bindings.iarena import calls
from kumiai.adapters.evm.bindings.iarena.structs import Certificate, Claim, Quorum, Task, Terms
from kumiai.settlement.certificates import (
    ChainCertificate,
    ChainPlace,
    compute_certificate_digest,
    compute_task_key,
    hash_slashes,
)
from kumiai.settlement.payroll import PayProof

NOBODY = "0x" + 40 * "0"
DAY = 86_400  # seconds
PPM = 1_000_000
TRAINER, VALIDATOR = 1, 2  # IArena.Role
CLOSED = 4  # IArena.Status
NO_SLASHES = hash_slashes(())
NO_TRACES = bytes(32)  # nobody submitted one: the arena stores nothing for the round
BATCH = 100  # claims in one transaction: below 6M gas, 70 kB
BATCH_GAS = 7_000_000

PLAIN_TERMS = Terms(
    document=bytes(32),
    token=NOBODY,
    admission=NOBODY,
    endsAt=GENESIS_TIME + 40 * DAY,
    grace=DAY,
    activationDelay=0,
    coolDown=DAY,
    sigmaFreeze=2 * DAY,
    sigmaMin=0,
    sigmaMax=PPM,
    slash=PPM // 10,
    delegationSlash=0,
    slashToTask=False,
    guardiansRequired=0,
    trainerStakeMin=1,
    validatorStakeMin=1,
    guardians=(),
)


@dataclass(frozen=True, slots=True)
class Place:
    """A task on the chain. document: sha256 of the task's document; committee: by address."""

    key: bytes
    document: bytes
    owner: Wallet
    committee: tuple[Wallet, ...]


def count_quorum(size: int) -> int:
    """Return how many signatures of a committee of `size` the arena asks for."""
    return (size + (size - 1) // 3) // 2 + 1


def make_certificate(
    place: Place,
    round_index: int,
    payments: bytes,
    paid: int,
    locked: int,
    *,
    is_final: bool,
    submissions: bytes = NO_TRACES,
) -> ChainCertificate:
    """Return a certificate without slashes; its body's hash, which only passes through, is made up.

    submissions: the root over the traces that trainers submitted.
    """
    mark = place.key + round_index.to_bytes(4, "big")
    return ChainCertificate(
        task=place.key,
        round=round_index,
        attempt=1,
        is_final=is_final,
        body=sha256(b"body" + mark).digest(),
        submissions=submissions,
        payments=payments,
        paid=paid,
        locked=locked,
        slashes=NO_SLASHES,
    )


def spell_certificate(given: ChainCertificate) -> Certificate:
    """Return a certificate as a transaction carries it."""
    return Certificate(
        task=given.task,
        round=given.round,
        attempt=given.attempt,
        isFinal=given.is_final,
        body=given.body,
        submissions=given.submissions,
        payments=given.payments,
        paid=given.paid,
        locked=given.locked,
        slashes=given.slashes,
        nextCommittee=given.next_committee,
    )


class Desk:
    """One arena contract; `address`, and what its creation used."""

    def __init__(self, lab: Lab, owner: Wallet) -> None:
        self.lab = lab
        code = load_code("Arena") + encode(["address", "address"], [owner.address, NOBODY])
        self.address, self.creation_gas = lab.deploy(owner, code)
        self._chain = ChainPlace(lab.node.chain_id, self.address)

    def create(self, owner: Wallet, label: str, terms: Terms = PLAIN_TERMS) -> tuple[Place, Job]:
        """A task under `terms`, of a document that `label` stands for; it has no committee yet."""
        document = sha256(label.encode()).digest()
        place = Place(compute_task_key(owner.address, document), document, owner, ())
        return place, self._job(owner, calls.create_task(replace(terms, document=document)))

    def fund(self, place: Place, amount: int) -> Job:
        """The owner puts in the budget, wei."""
        return self._job(place.owner, calls.fund(place.key, amount), amount)

    def stake(self, place: Place, wallet: Wallet, role: int, amount: int) -> Job:
        """A member takes part with `amount` wei."""
        call = calls.stake(place.key, role, amount, place.document, 0, b"")
        return self._job(wallet, call, amount)

    def set_sigma(self, place: Place, wallet: Wallet, sigma_ppm: int) -> Job:
        """A node says what it keeps of what delegation adds."""
        return self._job(wallet, calls.set_sigma(place.key, sigma_ppm))

    def delegate(self, place: Place, wallet: Wallet, node: str, amount: int) -> Job:
        """Back `node` with `amount` wei."""
        return self._job(wallet, calls.delegate(place.key, node, amount), amount)

    def start(self, place: Place, committee: Sequence[Wallet]) -> tuple[Place, Job]:
        """Begin; `committee` are staked validators."""
        ordered = tuple(sorted(committee, key=lambda wallet: wallet.address))
        call = calls.start(place.key, [wallet.address for wallet in ordered])
        return replace(place, committee=ordered), self._job(place.owner, call)

    def settle(
        self, sender: Wallet, place: Place, given: ChainCertificate, signers: int | None = None
    ) -> Job:
        """Settle by the first `signers` of the committee; None: just as many as are asked for."""
        count = count_quorum(len(place.committee)) if signers is None else signers
        digest = compute_certificate_digest(given, self._chain)
        signatures = [each.account.sign_digest_compact(digest) for each in place.committee[:count]]
        members = tuple(wallet.address for wallet in place.committee)
        quorum = Quorum(members, (1 << count) - 1, b"".join(signatures))
        return self._job(sender, calls.settle(spell_certificate(given), (), quorum))

    def claim(self, sender: Wallet, place: Place, round_index: int, proof: PayProof) -> Job:
        """Pay `proof.account`; anybody may send it."""
        call = calls.claim(place.key, round_index, proof.account, proof.cumulative, proof.path)
        return self._job(sender, call)

    def claim_many(
        self, sender: Wallet, place: Place, round_index: int, proofs: Sequence[PayProof]
    ) -> Iterator[Job]:
        """Pay the accounts of all `proofs`, `BATCH` in a transaction."""
        for start in range(0, len(proofs), BATCH):
            part = proofs[start : start + BATCH]
            claims = [Claim(proof.account, proof.cumulative, proof.path) for proof in part]
            call = calls.claim_many(place.key, round_index, claims)
            yield Job(sender, self.address, call.data, gas=BATCH_GAS)

    def refund(self, place: Place) -> Job:
        """The owner takes back what was not spent."""
        return self._job(place.owner, calls.refund(place.key))

    def withdraw_stake(self, sender: Wallet, place: Place, member: str) -> Job:
        """Pay a member its stake after the end."""
        return self._job(sender, calls.withdraw_stake(place.key, member))

    def undelegate(self, place: Place, wallet: Wallet, node: str) -> Job:
        """Take back what was lent to `node` after the end."""
        return self._job(wallet, calls.undelegate(place.key, node))

    def get_task(self, place: Place) -> Task:
        """Return the task's money and state."""
        call = calls.get_task(place.key)
        return call.decode(self.lab.node.call([(self.address, call.data)])[0])

    def get_root(self, place: Place, round_index: int) -> bytes:
        """Return the root that a round's claims are held against."""
        call = calls.get_root(place.key, round_index)
        return call.decode(self.lab.node.call([(self.address, call.data)])[0])[0]

    def get_claimed(self, place: Place, accounts: Sequence[str]) -> list[int]:
        """Return what each account was paid so far, wei."""
        asked = [calls.get_claimed(place.key, account) for account in accounts]
        said = self.lab.node.call([(self.address, each.data) for each in asked])
        return [int.from_bytes(each, "big") for each in said]

    def _job(self, wallet: Wallet, call: Call[object], value: int = 0) -> Job:
        return Job(wallet, self.address, call.data, value)

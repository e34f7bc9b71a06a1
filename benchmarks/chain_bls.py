"""What a settlement costs by one aggregated BLS signature, beside a quorum's ECDSA signatures.

    python benchmarks/chain_bls.py [--node anvil|embedded] [--committees 5 20 31 64] [--save FOLDER]

A task is settled twice by its validators' ECDSA signatures (only as many as are asked for are
sent). Then they register BLS keys with a BlsCommittee, somebody seals it, and a certificate hands
the task over. It settles twice signed by all, and twice with a quarter (rounded down) absent. Of
each pair the second is counted: no storage is written for the first time. Certificates carry
no slashes. `break-even` is how many rounds the setup's gas is worth: the contract's creation,
every member's registration and the sealing, over what a round saves when all sign.

Gas by the rules of Prague; nothing here depends on the machine. py_ecc makes the signatures: about
0.3 s a member.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

from py_ecc.optimized_bls12_381 import curve_order
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from chain_desk import VALIDATOR, Desk, Place, count_quorum, make_certificate, spell_certificate
from chain_lab import COIN, Job, Lab, Wallet, add_node_option, load_code, open_lab
from kumiai.adapters.evm.abi import Call
from kumiai.adapters.evm.bindings.blscommittee import calls
from kumiai.adapters.evm.bls import BlsKey, aggregate
from kumiai.settlement.certificates import (
    ChainCertificate,
    ChainPlace,
    compute_certificate_digest,
)
from saved_tables import Printout, add_save_option

BUDGET = 10**5 * COIN
GAS_MAX = 15_000_000  # of a transaction; a committee of 64 needs some 4,000,000 to be sealed


@dataclass(frozen=True)
class Row:
    """Gas of one size of committee. ecdsa: the quorum signs; setup: once, of all transactions."""

    size: int
    quorum: int
    absent: int
    ecdsa: int
    bls: int
    bls_absent: int
    create: int
    register: int  # the highest of all members
    seal: int
    setup: int

    @property
    def rounds(self) -> float | None:
        """Rounds until the setup has paid; None: never."""
        return self.setup / (self.ecdsa - self.bls) if self.ecdsa > self.bls else None


class Committee:
    """A BlsCommittee of a task's validators, sealed; `create`, `register`, `seal` are gas."""

    def __init__(self, lab: Lab, desk: Desk, place: Place) -> None:
        self._lab, self._desk, self._place = lab, desk, place
        self._keys = [make_key(wallet.address) for wallet in place.committee]
        members = [wallet.address for wallet in place.committee]
        code = calls.constructor(load_code("BlsCommittee"), desk.address, members)
        self.address, self.create = lab.deploy(place.owner, code)
        jobs = [self._register(index) for index in range(len(members))]
        self.register = [done.gas for done in lab.run(jobs)]
        sealing = calls.seal([key.public for key in self._keys])
        self.seal = lab.run_one(Job(place.owner, self.address, sealing.data, gas=GAS_MAX))

    @property
    def name(self) -> bytes:
        """What a certificate names as the next committee."""
        return self._ask(calls.committee())

    def settle(self, given: ChainCertificate, absent: int) -> int:
        """Settle by all but the first `absent` members; return the gas."""
        chain = ChainPlace(self._lab.node.chain_id, self._desk.address)
        digest = compute_certificate_digest(given, chain)
        signature = aggregate([key.sign(digest) for key in self._keys[absent:]])
        signers = (1 << len(self._keys)) - (1 << absent)
        call = calls.settle(spell_certificate(given), (), signers, signature)
        return self._lab.run_one(Job(self._place.owner, self.address, call.data))

    def _register(self, index: int) -> Job:
        wallet, key = self._place.committee[index], self._keys[index]
        message = self._ask(calls.compute_proof_message(wallet.address, key.key_hash))
        call = calls.register(index, key.public, key.prove(message))
        return Job(wallet, self.address, call.data)

    def _ask(self, call: Call[bytes]) -> bytes:
        return call.decode(self._lab.node.call([(self.address, call.data)])[0])


def make_key(label: str) -> BlsKey:
    """The same label always gives the same key."""
    number = int.from_bytes(sha256(label.encode()).digest(), "big") % curve_order
    return BlsKey(number.to_bytes(32, "big"))


def measure(lab: Lab, desk: Desk, people: Sequence[Wallet], size: int) -> Row:
    """Settle one task by both kinds of committee."""
    owner, validators = people[0], people[1 : size + 1]
    place, job = desk.create(owner, f"bls {size}")
    lab.run_phases([[job, desk.fund(place, BUDGET)]])
    lab.run([desk.stake(place, wallet, VALIDATOR, COIN) for wallet in validators])
    place, job = desk.start(place, validators)
    lab.run_one(job)

    def certify(index: int) -> ChainCertificate:
        root = sha256(b"payments %d" % index).digest()
        return make_certificate(place, index, root, COIN, COIN, is_final=False)

    ecdsa = [lab.run_one(desk.settle(owner, place, certify(index))) for index in (1, 2)][1]
    bls = Committee(lab, desk, place)
    handing = replace(certify(3), next_committee=bls.name)
    lab.run_one(desk.settle(owner, place, handing))
    absent = size // 4
    full = [bls.settle(certify(index), 0) for index in (4, 5)][1]
    less = [bls.settle(certify(index), absent) for index in (6, 7)][1]
    setup = bls.create + sum(bls.register) + bls.seal
    quorum = count_quorum(size)
    once = (bls.create, max(bls.register), bls.seal, setup)
    return Row(size, quorum, absent, ecdsa, full, less, *once)


def show(rows: Sequence[Row]) -> Table:
    """Return a row a committee."""
    table = Table(title="gas of a settlement (no slashes), and of what a BLS committee needs once")
    for head in (
        "committee", "quorum", "ECDSA, quorum signs", "BLS, all sign", "BLS, a quarter absent",
        "creation", "a registration", "sealing", "setup", "break-even, rounds",
    ):  # fmt: skip
        table.add_column(head, justify="right")
    for row in rows:
        gas = (row.ecdsa, row.bls, row.bls_absent, row.create, row.register, row.seal, row.setup)
        rounds = "never" if row.rounds is None else f"{row.rounds:,.0f}"
        shown = [f"{each:,}" for each in gas]
        shown[2] += f" ({row.absent})"
        table.add_row(str(row.size), str(row.quorum), *shown, rounds)
    return table


def main() -> None:
    """Print a table of committees."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--committees", type=int, nargs="+", default=[5, 20, 31, 64])
    add_node_option(parser, "anvil")
    add_save_option(parser, "chain_bls")
    given = parser.parse_args()
    people = [Wallet(str(number)) for number in range(max(given.committees) + 1)]
    with open_lab(given.node, people) as lab:
        desk = Desk(lab, people[0])
        rows = [measure(lab, desk, people, size) for size in given.committees]
    printout = Printout("chain_bls", given.save, 160)
    printout.show(show(rows))
    printout.say(f"chain: {given.node}")
    printout.save({"committees": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()

"""What a round costs on a chain, by member: the arena beside the design that first comes to mind.

    python benchmarks/chain_gas.py [--sizes 10+5 50+10 100+20] [--node embedded|anvil]
        [--committees 4 5 20 31 64] [--leaves 1000 65536] [--save FOLDER]

arena  everything off chain is signed and proven; on chain one transaction settles a round by the
       signatures of a quorum, and members are paid their cumulative pay when they like: here after
       every round, or after every tenth. All validators are the committee, and only as many
       signatures as are asked for are sent. Nobody submits a trace; a round in which somebody does
       costs `+ traces` more.
       alone: each member claims by a transaction of its own; together: one sender claims for all by
       `claimMany`, up to a hundred in a transaction.
naive  contracts/src/bench/Naive.sol: each trainer commits and reveals by transactions of its own,
       each validator commits to its scores and posts them, `settle` loops over all of it, and every
       member pulls its pay after every round (or, `push`, is paid in the loop).

Counted is all gas of all transactions of a round (for ten: of ten rounds and one claim each), over
the number of members. `(first)` are the rounds that begin the task: whoever is paid for the first
time writes a storage slot that was empty, 17,100 gas more; beside it the next round, or ten. For
naive it is the second round; where forge is not installed (`make contracts`), it is left out.
Creating, funding, staking and starting are counted apart. Gas by the
rules of Prague, paid in the chain's own coin; nothing here depends on the machine.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from chain_desk import (
    BATCH,
    NO_TRACES,
    TRAINER,
    VALIDATOR,
    Desk,
    count_quorum,
    make_certificate,
)
from chain_gas_tables import (
    SETTLE_COMMITTEE,
    Claiming,
    Cost,
    Pace,
    Settling,
    show_claimings,
    show_costs,
    show_naive,
    show_settlings,
)
from chain_lab import COIN, Lab, Wallet, add_node_option, can_compile, open_lab
from chain_naive import NaiveRun
from kumiai.settlement.payroll import compute_pay_proofs, compute_pay_root
from saved_tables import Printout, add_save_option

INTERVAL = 10  # rounds between two claims
SETTLE_MEMBERS = 1_000
CLAIMERS = 8  # that claim alone, of a tree
TRACES = bytes(range(32))  # a root over submitted traces, to the arena
ROUND_PAY = COIN  # of one member at most, wei


class Payroll:
    """Made-up pay of `members`: each round everybody gets a random part of a coin."""

    def __init__(self, members: Sequence[str]) -> None:
        self._draw = random.Random(7)
        self.cumulative = dict.fromkeys(members, 0)

    def add_round(self) -> int:
        """Pay a round; return its sum, wei."""
        before = sum(self.cumulative.values())
        for member in self.cumulative:
            self.cumulative[member] += self._draw.randrange(1, ROUND_PAY)
        return sum(self.cumulative.values()) - before


class Arena:
    """A started task with its people, and what setting it up used."""

    def __init__(
        self, lab: Lab, desk: Desk, trainers: Sequence[Wallet], validators: Sequence[Wallet]
    ) -> None:
        self.desk, self._lab, self.owner = desk, lab, trainers[0]
        label = f"{len(trainers)}+{len(validators)} {self.owner.nonce}"
        place, job = desk.create(self.owner, label)
        stakes = []
        for role, wallets in ((TRAINER, trainers), (VALIDATOR, validators)):
            stakes += [desk.stake(place, wallet, role, COIN) for wallet in wallets]
        phases = [[job, desk.fund(place, 10**5 * COIN)], stakes]
        self.place, job = desk.start(place, validators)
        self.setup = lab.run_phases([*phases, [job]])

    def settle(
        self,
        round_index: int,
        payroll: Payroll,
        signers: int | None = None,
        submissions: bytes = NO_TRACES,
    ) -> int:
        """Settle a round of `payroll`; return its gas."""
        paid = payroll.add_round()
        root = compute_pay_root(self.place.key, payroll.cumulative)
        given = make_certificate(
            self.place, round_index, root, paid, ROUND_PAY, is_final=False, submissions=submissions
        )
        return self._lab.run_one(self.desk.settle(self.owner, self.place, given, signers))

    def claim(self, round_index: int, wallets: Sequence[Wallet], payroll: Payroll) -> list[int]:
        """Each of `wallets` claims; return the gas of each."""
        proofs = compute_pay_proofs(self.place.key, payroll.cumulative)
        jobs = [
            self.desk.claim(wallet, self.place, round_index, proofs[wallet.address])
            for wallet in wallets
        ]
        return [done.gas for done in self._lab.run(jobs)]

    def claim_together(
        self, round_index: int, wallets: Sequence[Wallet], payroll: Payroll
    ) -> list[int]:
        """The owner claims for all `wallets`; return the gas of each transaction."""
        proofs = compute_pay_proofs(self.place.key, payroll.cumulative)
        chosen = [proofs[wallet.address] for wallet in wallets]
        jobs = list(self.desk.claim_many(self.owner, self.place, round_index, chosen))
        return [done.gas for done in self._lab.run(jobs)]


def measure_pace(
    lab: Lab,
    desk: Desk,
    trainers: Sequence[Wallet],
    validators: Sequence[Wallet],
    interval: int,
    *,
    is_together: bool,
) -> Pace:
    """Run twice `interval` rounds; after each `interval` everybody is paid."""
    arena = Arena(lab, desk, trainers, validators)
    people = [*trainers, *validators]
    payroll = Payroll([wallet.address for wallet in people])
    claim = arena.claim_together if is_together else arena.claim
    used = []
    for half in range(2):
        steps = range(half * interval + 1, (half + 1) * interval + 1)
        gas = sum(arena.settle(step, payroll) for step in steps)
        gas += sum(claim(steps[-1], people, payroll))
        used.append(round(gas / len(people) / interval))
    return Pace(steady=used[1], first=used[0])


def measure_traces(
    lab: Lab, desk: Desk, trainers: Sequence[Wallet], validators: Sequence[Wallet]
) -> tuple[int, int]:
    """Return what traces add to a round, gas a member, and what the setup costs, gas a member."""
    arena = Arena(lab, desk, trainers, validators)
    people = [*trainers, *validators]
    payroll = Payroll([wallet.address for wallet in people])
    arena.settle(1, payroll)
    more = -arena.settle(2, payroll) + arena.settle(3, payroll, submissions=TRACES)
    return round(more / len(people)), round(arena.setup / len(people))


def measure_naive(
    lab: Lab, trainers: Sequence[Wallet], validators: Sequence[Wallet], *, is_pushing: bool
) -> tuple[int, int]:
    """Return the second round's gas a member, and the setup's."""
    run = NaiveRun(lab, trainers, validators, is_pushing=is_pushing)
    people = len(trainers) + len(validators)
    run.play(1)
    return round(run.play(2) / people), round(run.setup / people)


def measure_cost(lab: Lab, desk: Desk, people: Sequence[Wallet], size: tuple[int, int]) -> Cost:
    """Measure both designs with so many trainers and validators."""
    trainers, validators = people[: size[0]], people[size[0] : sum(size)]
    paces = [
        measure_pace(lab, desk, trainers, validators, interval, is_together=is_together)
        for is_together in (False, True)
        for interval in (1, INTERVAL)
    ]
    traces, setup = measure_traces(lab, desk, trainers, validators)
    cost = Cost(
        trainers=size[0],
        validators=size[1],
        alone_every=paces[0],
        alone_tenth=paces[1],
        together_every=paces[2],
        together_tenth=paces[3],
        traces=traces,
        setup=setup,
    )
    if not can_compile():
        return cost
    pull, naive_setup = measure_naive(lab, trainers, validators, is_pushing=False)
    push, _ = measure_naive(lab, trainers, validators, is_pushing=True)
    return replace(cost, naive_pull=pull, naive_push=push, naive_setup=naive_setup)


def measure_settling(lab: Lab, desk: Desk, people: Sequence[Wallet], size: int) -> Settling:
    """Settle twice before measuring, so that no slot is written for the first time."""
    arena = Arena(lab, desk, people[:1], people[1 : size + 1])
    payroll = Payroll([wallet.address for wallet in people])
    arena.settle(1, payroll)
    gas = arena.settle(2, payroll)
    gas_all = arena.settle(3, payroll, signers=size)
    gas_traces = arena.settle(4, payroll, submissions=TRACES)
    return Settling(size, count_quorum(size), gas, gas_all, gas_traces)


def measure_claiming(lab: Lab, desk: Desk, people: Sequence[Wallet], leaves: int) -> Claiming:
    """Settle twice for `leaves` accounts; each time a few of them, who own coins, are paid."""
    arena = Arena(lab, desk, people[:1], people[1 : SETTLE_COMMITTEE + 1])
    alone = people[: min(CLAIMERS, leaves // 2)]
    batch = people[len(alone) : min(len(alone) + BATCH, leaves)]
    count = leaves - len(alone) - len(batch)
    strangers = [f"0x{number:040x}" for number in range(2**40, 2**40 + count)]
    payroll = Payroll([*(wallet.address for wallet in [*alone, *batch]), *strangers])
    settle, single, together = [], [], []
    for step in (1, 2):
        settle.append(arena.settle(step, payroll))
        single.append(max(arena.claim(step, alone, payroll)))
        together.append(round(sum(arena.claim_together(step, batch, payroll)) / len(batch)))
    proof = (leaves - 1).bit_length()
    return Claiming(
        leaves=leaves,
        proof=proof,
        settle=settle[1],
        first=single[0],
        later=single[1],
        batch=len(batch),
        batch_first=together[0],
        batch_later=together[1],
    )


def read_size(text: str) -> tuple[int, int]:
    """Read "trainers+validators"."""
    trainers, _, validators = text.partition("+")
    return int(trainers), int(validators)


def main() -> None:
    """Print tables: rounds by the arena and by the naive design, committees, trees."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    sizes = [(10, 5), (50, 10), (100, 20)]
    parser.add_argument("--sizes", type=read_size, nargs="+", default=sizes)
    parser.add_argument("--committees", type=int, nargs="*", default=[4, 5, 20, 31, 64])
    parser.add_argument("--leaves", type=int, nargs="*", default=[SETTLE_MEMBERS, 65_536])
    add_node_option(parser)
    add_save_option(parser, "chain_gas")
    given = parser.parse_args()
    count = max([sum(size) for size in given.sizes] + [size + 1 for size in given.committees])
    count = max(count, SETTLE_COMMITTEE + 1, CLAIMERS + BATCH)
    people = [Wallet(str(number)) for number in range(count)]
    with open_lab(given.node, people) as lab:
        desk = Desk(lab, people[0])
        costs = [measure_cost(lab, desk, people, size) for size in given.sizes]
        settlings = [measure_settling(lab, desk, people, size) for size in given.committees]
        claimings = [measure_claiming(lab, desk, people, leaves) for leaves in given.leaves]
    printout = Printout("chain_gas", given.save, 190)
    printout.show(show_costs(costs))
    printout.show(show_naive(costs))
    printout.show(show_settlings(settlings))
    printout.show(show_claimings(claimings))
    printout.say(f"the arena's creation: {desk.creation_gas:,} gas; chain: {given.node}")
    printout.save(
        {
            "rounds": [asdict(each) for each in costs],
            "committees": [asdict(each) for each in settlings],
            "trees": [asdict(each) for each in claimings],
            "creation": desk.creation_gas,
        }
    )


if __name__ == "__main__":
    main()

"""What a round costs on a chain, by member: the arena beside the design that first comes to mind.

    python benchmarks/chain_gas.py [--sizes 10+5 50+10 100+20] [--node embedded|anvil]
        [--committees 4 5 20 31 64] [--leaves 1000 65536] [--save FOLDER]

arena  everything off chain is signed and proven; on chain one transaction settles a round by the
       signatures of a quorum, and each member claims its cumulative pay when it likes: here after
       every round, or after every tenth. All validators are the committee, and only as many
       signatures as are asked for are sent.
       bundled: one sender claims for everybody, twenty claims in a transaction, through a contract
       that only passes calls on (contracts/src/bench/Bundle.sol); anybody may claim for anybody.
naive  contracts/src/bench/Naive.sol: each trainer commits and reveals by transactions of its own,
       each validator commits to its scores and posts them, `settle` loops over all of it, and every
       member pulls its pay after every round (or, `push`, is paid in the loop).

Counted is all gas of all transactions of a round (for ten: of ten rounds and one claim each), over
the number of members. `first` are the ten rounds that begin the task: whoever claims for the first
time writes a storage slot that was empty, 17,100 gas more; `steady` are the next ten. For naive,
`steady` is the second round; where forge is not installed (`npm ci` in contracts/), it is left out.
Creating, funding, staking and starting are counted apart. Gas by the
rules of Prague, paid in the chain's own coin; nothing here depends on the machine.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from eth_abi import encode
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from chain_desk import TRAINER, VALIDATOR, Desk, count_quorum, make_certificate
from chain_lab import COIN, Job, Lab, Wallet, add_node_option, can_compile, load_code, open_lab
from chain_naive import NaiveRun
from kumiai.adapters.evm.abi import make_function
from kumiai.settlement.payroll import compute_pay_proofs, compute_pay_root
from saved_tables import Printout, add_save_option

INTERVAL = 10  # rounds between two claims
GOALS = {(10, 5): 15_000, (100, 20): 7_000}  # gas a member and round, a claim every tenth
SETTLE_GOAL, CLAIM_GOAL = 450_000, 60_000
SETTLE_MEMBERS, SETTLE_COMMITTEE = 1_000, 31
CLAIMERS = 8
BUNDLE = 20  # claims in one transaction
_RUN = make_function("run(address to, bytes[] calls)", "()", {})
ROUND_PAY = COIN  # of one member at most, wei


@dataclass(frozen=True)
class Cost:
    """Gas a member and round, by design and custom; the setup is gas a member, once."""

    trainers: int
    validators: int
    every: int  # steady
    every_first: int
    tenth: int  # steady
    tenth_first: int
    setup: int
    bundled: int | None  # steady, every tenth, one sender for all; None: forge is missing
    naive_pull: int | None
    naive_push: int | None
    naive_setup: int | None


@dataclass(frozen=True)
class Settling:
    """Gas of a settlement by committee: with a quorum's signatures, and with everybody's."""

    size: int
    quorum: int
    gas: int
    gas_all: int


@dataclass(frozen=True)
class Claiming:
    """Gas of a settlement for so many leaves, and of claims among them: highest of the sample."""

    leaves: int
    proof: int
    settle: int
    first: int
    later: int


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

    def settle(self, round_index: int, payroll: Payroll, signers: int | None = None) -> int:
        """Settle a round of `payroll`; return its gas."""
        paid = payroll.add_round()
        root = compute_pay_root(self.place.key, payroll.cumulative)
        given = make_certificate(self.place, round_index, root, paid, ROUND_PAY, is_final=False)
        return self._lab.run_one(self.desk.settle(self.owner, self.place, given, signers))

    def claim(
        self,
        round_index: int,
        wallets: Sequence[Wallet],
        payroll: Payroll,
        bundle: str | None = None,
    ) -> list[int]:
        """Each of `wallets` claims; return the gas of each transaction.

        bundle: the address of Bundle; the owner then sends `BUNDLE` claims at a time through it.
        """
        proofs = compute_pay_proofs(self.place.key, payroll.cumulative)
        claims = [
            (wallet, self.desk.encode_claim(self.place, round_index, proofs[wallet.address]))
            for wallet in wallets
        ]
        if bundle is None:
            jobs = [Job(wallet, self.desk.address, data) for wallet, data in claims]
        else:
            parts = [claims[n : n + BUNDLE] for n in range(0, len(claims), BUNDLE)]
            jobs = [
                Job(self.owner, bundle, self._bundle([data for _, data in part]), gas=5_000_000)
                for part in parts
            ]
        return [done.gas for done in self._lab.run(jobs)]

    def _bundle(self, datas: Sequence[bytes]) -> bytes:
        return _RUN.selector + encode(["address", "bytes[]"], [self.desk.address, datas])


def measure_arena(
    lab: Lab,
    desk: Desk,
    trainers: Sequence[Wallet],
    validators: Sequence[Wallet],
    interval: int,
    bundle: str | None = None,
) -> tuple[int, int, int]:
    """Run twice `interval` rounds with a claim of all after each `interval`.

    Returns gas a member and round of the second and of the first, and the setup's a member.
    """
    arena = Arena(lab, desk, trainers, validators)
    people = [*trainers, *validators]
    payroll = Payroll([wallet.address for wallet in people])
    used = []
    for half in range(2):
        gas = 0
        for step in range(1, interval + 1):
            gas += arena.settle(half * interval + step, payroll)
        gas += sum(arena.claim((half + 1) * interval, people, payroll, bundle))
        used.append(round(gas / len(people) / interval))
    return used[1], used[0], round(arena.setup / len(people))


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
    every, every_first, setup = measure_arena(lab, desk, trainers, validators, 1)
    tenth, tenth_first, _ = measure_arena(lab, desk, trainers, validators, INTERVAL)
    arena = (*size, every, every_first, tenth, tenth_first, setup)
    if not can_compile():
        return Cost(*arena, None, None, None, None)
    bundle, _ = lab.deploy(people[0], load_code("Bundle"))
    bundled, _, _ = measure_arena(lab, desk, trainers, validators, INTERVAL, bundle)
    pull, naive_setup = measure_naive(lab, trainers, validators, is_pushing=False)
    push, _ = measure_naive(lab, trainers, validators, is_pushing=True)
    return Cost(*arena, bundled, pull, push, naive_setup)


def measure_settling(lab: Lab, desk: Desk, people: Sequence[Wallet], size: int) -> Settling:
    """Settle twice before measuring, so that no slot is written for the first time."""
    arena = Arena(lab, desk, people[:1], people[1 : size + 1])
    payroll = Payroll([wallet.address for wallet in people])
    arena.settle(1, payroll)
    gas = arena.settle(2, payroll)
    return Settling(size, count_quorum(size), gas, arena.settle(3, payroll, signers=size))


def measure_claiming(lab: Lab, desk: Desk, people: Sequence[Wallet], leaves: int) -> Claiming:
    """Settle for `leaves` accounts and let a few of them, who own coins, claim twice."""
    arena = Arena(lab, desk, people[:1], people[1 : SETTLE_COMMITTEE + 1])
    sample = people[:CLAIMERS]
    strangers = [f"0x{number:040x}" for number in range(2**40, 2**40 + leaves - len(sample))]
    payroll = Payroll([*(wallet.address for wallet in sample), *strangers])
    arena.settle(1, payroll)
    first = arena.claim(1, sample, payroll)
    settle = arena.settle(2, payroll)
    proof = (leaves - 1).bit_length()
    return Claiming(leaves, proof, settle, max(first), max(arena.claim(2, sample, payroll)))


def show_costs(costs: Sequence[Cost]) -> Table:
    """Return a row a size."""
    table = Table(title="gas a member and round: settlement and claims, everything")
    for head in (
        "trainers + validators", "claim every round", "(first)", "every 10th", "(first)", "goal",
        "bundled", "naive, pull", "naive, push", "naive / every 10th", "setup", "naive setup",
    ):  # fmt: skip
        table.add_column(head, justify="right")
    for cost in costs:
        goal = GOALS.get((cost.trainers, cost.validators))
        table.add_row(
            f"{cost.trainers} + {cost.validators}",
            f"{cost.every:,}",
            f"{cost.every_first:,}",
            f"{cost.tenth:,}",
            f"{cost.tenth_first:,}",
            "-" if goal is None else _judge(cost.tenth, goal),
            _show(cost.bundled),
            _show(cost.naive_pull),
            _show(cost.naive_push),
            "-" if cost.naive_pull is None else f"{cost.naive_pull / cost.tenth:,.1f}",
            _show(cost.setup),
            _show(cost.naive_setup),
        )
    return table


def show_settlings(settlings: Sequence[Settling]) -> Table:
    """Return a row a committee."""
    table = Table(title="gas of a settlement by ECDSA signatures (no slashes)")
    for head in ("committee", "quorum", "gas, quorum signs", "gas, all sign", "gas a signature"):
        table.add_column(head, justify="right")
    for each in settlings:
        more = each.size - each.quorum
        step = f"{(each.gas_all - each.gas) / more:,.0f}" if more else "-"
        table.add_row(str(each.size), str(each.quorum), f"{each.gas:,}", f"{each.gas_all:,}", step)
    return table


def show_claimings(claimings: Sequence[Claiming]) -> Table:
    """Return a row a tree."""
    title = f"one transaction settles for all; committee of {SETTLE_COMMITTEE}"
    table = Table(title=title)
    for head in ("accounts", "proof", "settle", "goal", "first claim", "later claim", "goal"):
        table.add_column(head, justify="right")
    for each in claimings:
        table.add_row(
            f"{each.leaves:,}",
            str(each.proof),
            f"{each.settle:,}",
            _judge(each.settle, SETTLE_GOAL),
            f"{each.first:,}",
            f"{each.later:,}",
            _judge(each.later, CLAIM_GOAL),
        )
    return table


def _show(gas: int | None) -> str:
    return "-" if gas is None else f"{gas:,}"


def _judge(gas: int, goal: int) -> str:
    return f"<= {goal:,}: " + ("yes" if gas <= goal else "no")


def read_size(text: str) -> tuple[int, int]:
    """Read "trainers+validators"."""
    trainers, _, validators = text.partition("+")
    return int(trainers), int(validators)


def main() -> None:
    """Print a table of rounds, one of committees, one of trees."""
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
    people = [Wallet(str(number)) for number in range(max(count, SETTLE_COMMITTEE + 1, CLAIMERS))]
    with open_lab(given.node, people) as lab:
        desk = Desk(lab, people[0])
        costs = [measure_cost(lab, desk, people, size) for size in given.sizes]
        settlings = [measure_settling(lab, desk, people, size) for size in given.committees]
        claimings = [measure_claiming(lab, desk, people, leaves) for leaves in given.leaves]
    printout = Printout("chain_gas", given.save, 180)
    printout.show(show_costs(costs))
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

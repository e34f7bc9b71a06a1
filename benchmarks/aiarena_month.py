"""A month of AIArena's deployment on the arena's contract, paid to the wei.

    python benchmarks/aiarena_month.py [--node embedded|anvil] [--claims N|all] [--alone]
        [--share 0.1] [--tasks 16] [--rounds 30] [--committee 7] [--seed 0] [--processes 2]
        [--gwei 0.01 1 20] [--coin-price 3000] [--save FOLDER]

603 trainers, 1,051 validators, 63,265 delegators and 16 tasks, as AIArena's deployment had (arXiv
2412.14566); 30 daily rounds of 1,074 coins over all tasks. Who staked how much and who earned what
is not known: benchmarks/aiarena_people.py says what is made up, from a seed.

Everything is done on a real chain: tasks are created and funded, everybody stakes, says its sigma,
lends; each task starts with a committee (`--committee`: its validators with the highest stakes, as
the sources do not tell how its consensus was formed); each day a quorum settles each task; the end
shares the locked nine tenths; everybody is paid what its leaf says (`--claims`: how many of each
task are paid; one sender claims for all by `claimMany`, a hundred in a transaction, or with
`--alone` by a transaction each); refunds, stakes and loans go back. Nobody submits a trace.

Compared, to the wei: each round's root on chain with the Python rules' (`settlement.settle`,
delegation by V2.1, booked by `settlement.ledger`); each leaf with the contract's last root, by the
pure verifier; for each claim, what the contract says it paid, the coins that arrived, and the
rules' amount; for each task, paid + refund = funded, and nothing locked. The first difference ends
the run.

Money is the chain's own coin; with an ERC-20 token each payer would approve once more, and each
payment cost what the token makes of it. The fee levels and the coin's price are arguments, no
facts. `--share` takes a part of the people only: for trials.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from aiarena_flaws import (
    ClaimGrowth,
    Overpaid,
    SettleGrowth,
    measure_claim_growth,
    measure_settle_growth,
    try_overpaying,
)
from aiarena_people import Counts, Crew, draw_crews
from aiarena_replay import Kind, Replay, Tally
from chain_lab import COIN, Wallet, add_node_option, open_lab
from saved_tables import Printout, add_save_option

GWEI = 10**9  # wei


def show_gas(tally: Tally, gwei: Sequence[float], coin_price: float) -> Table:
    """Return a row a kind of transaction; prices are of all of a kind."""
    table = Table(title=f"gas of a month, and its price where a coin costs {coin_price:,.0f} USD")
    for head in (
        "what", "times", "gas", "mean a time", "transactions", "highest of one",
        *(_name_fee(g) for g in gwei),
    ):  # fmt: skip
        table.add_column(head, justify="left" if head == "what" else "right")

    def add(name: str, kind: Kind) -> None:
        prices = [f"{kind.gas * level * GWEI / COIN * coin_price:,.2f} USD" for level in gwei]
        mean, highest = f"{kind.gas / kind.done:,.0f}", f"{kind.gas_max:,}"
        cells = (f"{kind.done:,}", f"{kind.gas:,}", mean, f"{kind.count:,}", highest)
        table.add_row(name, *cells, *prices)

    everything = Kind()
    for name, kind in tally.kinds.items():
        add(name, kind)
        everything = Kind(
            everything.count + kind.count,
            everything.done + kind.done,
            everything.gas + kind.gas,
            max(everything.gas_max, kind.gas_max),
        )
    add("all", everything)
    return table


def show_books(crews: Sequence[Crew], tally: Tally) -> Table:
    """Return a row a task, in wei."""
    table = Table(title="each task's money, wei: funded = paid + refunded")
    for head in ("task", "members", "delegators", "funded", "paid", "claimed", "refunded", "equal"):
        table.add_column(head, justify="right")
    for crew, books in zip(crews, tally.books, strict=True):
        table.add_row(
            str(crew.index),
            str(len(crew.trainers) + len(crew.validators)),
            f"{len(crew.backers):,}",
            str(books.budget),
            str(books.paid),
            str(books.claimed),
            str(books.refund),
            "yes" if books.paid + books.refund == books.budget else "no",
        )
    return table


def show_seconds(tally: Tally) -> Table:
    """Return a row a part of the run."""
    table = Table(title="wall-clock seconds")
    table.add_column("part")
    table.add_column("s", justify="right")
    for name, seconds in tally.seconds.items():
        table.add_row(name, f"{seconds:.1f}")
    return table


def say_flaws(overpaid: Overpaid, claim: ClaimGrowth, settle: SettleGrowth) -> list[str]:
    """Return a line for each weakness of the deployment's contracts that is tried here."""
    refused = "refused" if overpaid.is_certificate_refused else "ACCEPTED"
    kept = "untouched" if overpaid.other_before == overpaid.other_after else "TOUCHED"
    over = (
        f"over 100 %: a certificate above the escrow is {refused}; a root that promises "
        f"{overpaid.promised / overpaid.certified:.0%} of what was certified pays "
        f"{overpaid.claimed / overpaid.certified:.0%} of it, another task's money is {kept}"
    )
    loop = (
        f"a loop in claims: {claim.alone:,} gas for one round of the only task, {claim.later:,} "
        f"for {claim.rounds} rounds beside {claim.tasks} tasks"
    )
    arrays = (
        f"arrays that grow with the members: {settle.few_gas:,} gas settles for {settle.few}, "
        f"{settle.many_gas:,} for {settle.many:,}"
    )
    return [over, loop, arrays]


def _name_fee(gwei: float) -> str:
    return f"at {gwei:g} gwei"


def _read_limit(text: str) -> int | None:
    return None if text == "all" else int(text)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_node_option(parser)
    parser.add_argument("--claims", type=_read_limit, default=None, metavar="N|all")
    parser.add_argument("--alone", action="store_true", help="a transaction each claim")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--committee", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--gwei", type=float, nargs="+", default=[0.01, 1, 20])
    parser.add_argument("--coin-price", type=float, default=3_000, help="USD, assumed")
    add_save_option(parser, "aiarena_month")
    return parser.parse_args()


def main() -> None:
    """Replay the month, then print gas, money, seconds, and what became of the weaknesses."""
    given = read_arguments()
    begun = time.perf_counter()
    counts = Counts(tasks=given.tasks, rounds=given.rounds)
    if given.share < 1:
        counts = counts.scale(given.share, given.tasks, given.rounds)
    crews = draw_crews(counts, given.seed)
    desk_people = [Wallet("owner"), Wallet("sender")]
    triers = [Wallet(f"trier {number}") for number in range(8)]
    wallets = [
        each.wallet for crew in crews for each in crew.trainers + crew.validators + crew.backers
    ]
    with open_lab(given.node, [*desk_people, *triers, *wallets]) as lab:
        replay = Replay(lab, crews, *desk_people)
        replay.plan(given.rounds, given.seed, given.processes)
        replay.gather(given.committee)
        replay.settle()
        replay.check_roots()
        replay.claim(given.claims, is_alone=given.alone)
        replay.unwind()
        flaws = (
            try_overpaying(lab, replay.desk, triers),
            measure_claim_growth(lab, replay.desk, triers, 16, 30),
            measure_settle_growth(lab, replay.desk, triers, 1_000),
        )
    tally = replay.tally
    printout = Printout("aiarena_month", given.save, 150)
    printout.show(show_gas(tally, given.gwei, given.coin_price))
    printout.show(show_books(crews, tally))
    printout.show(show_seconds(tally))
    printout.say(
        f"{counts}; committee of {given.committee}; seed {given.seed}; chain: {given.node}; "
        f"{time.perf_counter() - begun:.0f} s in all"
    )
    printout.say(
        f"{tally.leaves:,} leaves lead to the contract's last roots; {tally.claims:,} claims made, "
        f"{tally.balances:,} accounts got exactly what the rules say; {tally.left:,} wei left in "
        "the contract: what nobody claimed"
    )
    for line in say_flaws(*flaws):
        printout.say(line)
    printout.save(
        {
            "tally": asdict(tally),
            "counts": asdict(counts),
            "flaws": [asdict(each) for each in flaws],
        }
    )


if __name__ == "__main__":
    main()

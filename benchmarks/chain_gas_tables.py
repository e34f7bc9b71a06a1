"""What `chain_gas.py` measures, and its tables: each figure beside its goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

GOALS = {(10, 5): 15_000, (100, 20): 7_000}  # gas a member and round, a claim every tenth
SETTLE_GOAL, CLAIM_GOAL = 450_000, 60_000
SETTLE_COMMITTEE = 31  # under which the trees are settled


@dataclass(frozen=True)
class Pace:
    """Gas a member and round where everybody is paid after each so many rounds."""

    steady: int
    first: int


@dataclass(frozen=True)
class Cost:
    """Gas a member and round, by design and custom; the setup is gas a member, once."""

    trainers: int
    validators: int
    alone_every: Pace
    alone_tenth: Pace
    together_every: Pace
    together_tenth: Pace
    traces: int  # more, in a round in which somebody submitted one
    setup: int
    naive_pull: int | None = None  # None: forge is missing
    naive_push: int | None = None
    naive_setup: int | None = None


@dataclass(frozen=True)
class Settling:
    """Gas of a settlement by committee: by a quorum, by everybody, by a quorum with traces."""

    size: int
    quorum: int
    gas: int
    gas_all: int
    gas_traces: int


@dataclass(frozen=True)
class Claiming:
    """Gas of a settlement for so many leaves, and of claims among them.

    Of those who claim alone the highest; of a batch the mean, its transaction's share in it.
    """

    leaves: int
    proof: int
    settle: int
    first: int
    later: int
    batch: int  # claims in it
    batch_first: int
    batch_later: int


def show_costs(costs: Sequence[Cost]) -> Table:
    """Return a row a size: the arena."""
    table = Table(title="the arena, gas a member and round: settlement and claims, everything")
    for head in (
        "trainers + validators", "alone, every round", "(first)", "alone, every 10th", "(first)",
        "goal", "together, every round", "(first)", "together, every 10th", "(first)", "goal",
        "+ traces", "setup, once",
    ):  # fmt: skip
        table.add_column(head, justify="right")
    for cost in costs:
        goal = GOALS.get((cost.trainers, cost.validators))
        cells = [f"{cost.trainers} + {cost.validators}"]
        for every, tenth in (
            (cost.alone_every, cost.alone_tenth),
            (cost.together_every, cost.together_tenth),
        ):
            cells += [_show(gas) for pace in (every, tenth) for gas in (pace.steady, pace.first)]
            cells.append("-" if goal is None else _judge(tenth.steady, goal))
        table.add_row(*cells, _show(cost.traces), _show(cost.setup))
    return table


def show_naive(costs: Sequence[Cost]) -> Table:
    """Return a row a size: the naive design, and how many times the arena's gas it needs."""
    table = Table(title="the naive design, gas a member and round")
    for head in (
        "trainers + validators", "pull", "push", "pull / alone, every 10th",
        "pull / together, every 10th", "setup, once",
    ):  # fmt: skip
        table.add_column(head, justify="right")
    for cost in costs:
        tenths = (cost.alone_tenth.steady, cost.together_tenth.steady)
        table.add_row(
            f"{cost.trainers} + {cost.validators}",
            _show(cost.naive_pull),
            _show(cost.naive_push),
            *(
                "-" if cost.naive_pull is None else f"{cost.naive_pull / gas:,.1f}"
                for gas in tenths
            ),
            _show(cost.naive_setup),
        )
    return table


def show_settlings(settlings: Sequence[Settling]) -> Table:
    """Return a row a committee."""
    table = Table(title="gas of a settlement by ECDSA signatures (no slashes)")
    for head in (
        "committee", "quorum", "gas, quorum signs", "gas, all sign", "gas a signature",
        "gas, quorum signs, traces",
    ):  # fmt: skip
        table.add_column(head, justify="right")
    for each in settlings:
        more = each.size - each.quorum
        step = f"{(each.gas_all - each.gas) / more:,.0f}" if more else "-"
        cells = (f"{each.gas:,}", f"{each.gas_all:,}", step, f"{each.gas_traces:,}")
        table.add_row(str(each.size), str(each.quorum), *cells)
    return table


def show_claimings(claimings: Sequence[Claiming]) -> Table:
    """Return a row a tree."""
    title = f"one transaction settles for all (committee of {SETTLE_COMMITTEE}); gas a claim"
    table = Table(title=title)
    for head in (
        "accounts", "proof", "settle", "goal", "alone, first", "alone, later", "goal",
        "in a batch of", "first", "later", "goal",
    ):  # fmt: skip
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
            str(each.batch),
            f"{each.batch_first:,}",
            f"{each.batch_later:,}",
            _judge(each.batch_later, CLAIM_GOAL),
        )
    return table


def _show(gas: int | None) -> str:
    return "-" if gas is None else f"{gas:,}"


def _judge(gas: int, goal: int) -> str:
    return f"<= {goal:,}: " + ("yes" if gas <= goal else "no")

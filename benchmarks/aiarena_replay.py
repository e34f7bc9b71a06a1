"""A month of AIArena's deployment on a measured chain: every stake, loan, settlement and claim.

`Replay` does it step by step, counts gas by kind and compares what the contract holds with what the
Python rules say. AssertionError at the first wei that differs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from aiarena_pay import Month, plan_month
from aiarena_people import STAKE_MIN, Crew
from chain_desk import (
    CLOSED,
    DAY,
    PLAIN_TERMS,
    TRAINER,
    VALIDATOR,
    Desk,
    Place,
    count_quorum,
    make_certificate,
)
from chain_lab import GENESIS_TIME, Job, Lab, Wallet
from kumiai.settlement.payroll import PayProof, compute_pay_proofs, is_payable

A = TypeVar("A")
B = TypeVar("B")
CHUNK = 2_000  # transactions signed and sent at a time; of batches, as many claims


@dataclass
class Kind:
    """All transactions of one kind. done: what they did, claims for example; gas_max: of one."""

    count: int = 0
    done: int = 0
    gas: int = 0
    gas_max: int = 0


@dataclass
class Books:
    """What a task was funded with and where it is, wei."""

    budget: int
    paid: int = 0
    refund: int = 0
    claimed: int = 0


@dataclass
class Tally:
    """What the replay found."""

    kinds: dict[str, Kind] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    books: list[Books] = field(default_factory=list)
    leaves: int = 0  # proofs that lead to the contract's root
    claims: int = 0
    balances: int = 0  # accounts whose coins rose by what was claimed for them
    left: int = 0  # wei in the contract when all was done


class Replay:
    """The month. owner: pays for the tasks; sender: sends what anybody may send."""

    def __init__(self, lab: Lab, crews: Sequence[Crew], owner: Wallet, sender: Wallet) -> None:
        self.lab, self.crews = lab, crews
        self.tally = Tally()
        self._owner, self._sender = owner, sender
        self.desk = Desk(lab, owner)
        self._count("create the arena", [self.desk.creation_gas], 1)
        self._places: list[Place] = []
        self._months: list[Month] = []

    def plan(self, rounds: int, seed: int, processes: int) -> None:
        """Settle everything by the Python rules."""
        places = [self.desk.create(self._owner, _label(crew))[0] for crew in self.crews]
        with self._clock("rules in Python"):
            asked = [(crew, place.key, rounds, seed) for crew, place in _zip(self.crews, places)]
            if processes == 1:
                self._months = [plan_month(*each) for each in asked]
            else:
                with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
                    self._months = list(pool.map(plan_month, *zip(*asked, strict=True)))
        self.tally.books = [Books(month.budget) for month in self._months]

    def gather(self, committee_size: int) -> None:
        """Create and fund the tasks; everybody stakes, backs, says sigma; the tasks start."""
        terms = replace(
            PLAIN_TERMS,
            activationDelay=3_600,
            trainerStakeMin=STAKE_MIN["trainer"],
            validatorStakeMin=STAKE_MIN["validator"],
        )
        with self._clock("gather"):
            created = [self.desk.create(self._owner, _label(crew), terms) for crew in self.crews]
            self._places = [place for place, _ in created]
            self._run("create a task", (job for _, job in created))
            pairs = _zip(self._places, self._months)
            self._run("fund", (self.desk.fund(place, month.budget) for place, month in pairs))
            self._run("stake", self._list_stakes())
            self._run("set sigma", self._list_sigmas())
            self._run("delegate", self._list_loans())
            committees = [_choose_committee(crew, committee_size) for crew in self.crews]
            started = [self.desk.start(*each) for each in _zip(self._places, committees)]
            self._places = [place for place, _ in started]
            self._run("start", (job for _, job in started))

    def settle(self) -> None:
        """A settlement a task and day, each at its day; the last one is the end."""
        with self._clock("settle"):
            for index in range(1, len(self._months[0].rounds) + 1):
                self.lab.node.set_time(GENESIS_TIME + index * DAY)
                is_final = index == len(self._months[0].rounds)
                kind = "settle the end" if is_final else "settle a round"
                self._run(kind, (self._settle_one(*each, index)
                                 for each in _zip(self._places, self._months)))  # fmt: skip
            self.lab.node.set_time(GENESIS_TIME + (index + 1) * DAY)

    def check_roots(self) -> None:
        """Every round's root on chain is the rules' one; every leaf leads to the last."""
        with self._clock("check roots and leaves"):
            for place, month in _zip(self._places, self._months):
                for index, settled in enumerate(month.rounds, 1):
                    assert self.desk.get_root(place, index) == settled.root
                root = self.desk.get_root(place, len(month.rounds))
                proofs = compute_pay_proofs(place.key, month.cumulative)
                assert proofs.keys() == {who for who, amount in month.cumulative.items() if amount}
                assert all(is_payable(place.key, proof, root) for proof in proofs.values())
                assert all(month.cumulative[who] == it.cumulative for who, it in proofs.items())
                self.tally.leaves += len(proofs)

    def claim(self, limit: int | None, *, is_alone: bool = False) -> None:
        """Claim for everybody, or for `limit` accounts of each task; compare amounts and coins.

        In batches, or with `is_alone` by a transaction an account.
        """
        with self._clock("claim and compare"):
            for place, month, books in zip(
                self._places, self._months, self.tally.books, strict=True
            ):
                proofs = compute_pay_proofs(place.key, month.cumulative)
                chosen = list(islice(proofs.values(), limit))
                books.claimed = self._claim_all(place, len(month.rounds), chosen, is_alone=is_alone)
                self.tally.claims += len(chosen)
                self._compare(place, month, books, is_all=len(chosen) == len(proofs))

    def unwind(self) -> None:
        """Refunds, stakes and loans go back; what is left are claims that nobody made."""
        crews = _zip(self._places, self.crews)
        with self._clock("unwind"):
            self._run("refund", (self.desk.refund(place) for place in self._places))
            self._run("withdraw a stake", (
                self.desk.withdraw_stake(self._sender, place, each.wallet.address)
                for place, crew in crews for each in crew.trainers + crew.validators
            ))  # fmt: skip
            self._run("undelegate", (
                self.desk.undelegate(place, each.wallet, each.node)
                for place, crew in crews for each in crew.backers
            ))  # fmt: skip
        (self.tally.left,) = self.lab.node.balances([self.desk.address])
        unclaimed = sum(books.paid - books.claimed for books in self.tally.books)
        assert self.tally.left == unclaimed, (self.tally.left, unclaimed)

    def _compare(self, place: Place, month: Month, books: Books, *, is_all: bool) -> None:
        task = self.desk.get_task(place)
        books.paid, books.refund = task.paid, task.escrow
        assert task.status == CLOSED and task.locked == 0
        assert books.paid == sum(month.cumulative.values())
        assert books.refund == month.refund
        assert books.paid + books.refund == books.budget == task.contributed
        assert task.unclaimed == books.paid - books.claimed
        if is_all:
            assert task.unclaimed == 0

    def _claim_all(
        self, place: Place, last: int, proofs: Sequence[PayProof], *, is_alone: bool
    ) -> int:
        """Claim each; return the sum. What an account gets is compared with the rules."""
        accounts = [proof.account for proof in proofs]
        before = self.lab.node.balances(accounts)
        for start in range(0, len(proofs), CHUNK):
            part = proofs[start : start + CHUNK]
            jobs = (
                (self.desk.claim(self._sender, place, last, proof) for proof in part)
                if is_alone
                else self.desk.claim_many(self._sender, place, last, part)
            )
            gases = [done.gas for done in self.lab.run(list(jobs))]
            self._count("claim a month's pay", gases, len(part))
        after = self.lab.node.balances(accounts)
        claimed = self.desk.get_claimed(place, accounts)
        for proof, old, new, amount in zip(proofs, before, after, claimed, strict=True):
            assert amount == proof.cumulative == new - old, proof.account
            self.tally.balances += 1
        return sum(claimed)

    def _settle_one(self, place: Place, month: Month, index: int) -> Job:
        settled = month.rounds[index - 1]
        is_final = index == len(month.rounds)
        given = make_certificate(
            place, index, settled.root, settled.paid, settled.locked, is_final=is_final
        )
        return self.desk.settle(self._sender, place, given, count_quorum(len(place.committee)))

    def _list_stakes(self) -> Iterator[Job]:
        for place, crew in _zip(self._places, self.crews):
            for role, workers in ((TRAINER, crew.trainers), (VALIDATOR, crew.validators)):
                for each in workers:
                    yield self.desk.stake(place, each.wallet, role, each.stake)

    def _list_sigmas(self) -> Iterator[Job]:
        for place, crew in _zip(self._places, self.crews):
            for each in crew.trainers + crew.validators:
                yield self.desk.set_sigma(place, each.wallet, each.sigma_ppm)

    def _list_loans(self) -> Iterator[Job]:
        for place, crew in _zip(self._places, self.crews):
            for each in crew.backers:
                yield self.desk.delegate(place, each.wallet, each.node, each.amount)

    def _run(self, kind: str, jobs: Iterator[Job]) -> None:
        """Send all jobs of a kind; each sender's keep their order."""
        while chunk := list(islice(jobs, CHUNK)):
            self._count(kind, [done.gas for done in self.lab.run(chunk)], len(chunk))

    def _count(self, name: str, gases: Sequence[int], done: int) -> None:
        kind = self.tally.kinds.setdefault(name, Kind())
        kind.count += len(gases)
        kind.done += done
        kind.gas += sum(gases)
        kind.gas_max = max([kind.gas_max, *gases])

    @contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.tally.seconds[name] = time.perf_counter() - begun
        print(f"{name}: {self.tally.seconds[name]:.1f} s", file=sys.stderr, flush=True)


def _choose_committee(crew: Crew, size: int) -> list[Wallet]:
    """The validators with the highest stakes."""
    ranked = sorted(crew.validators, key=lambda each: (-each.stake, each.wallet.address))
    return [each.wallet for each in ranked[:size]]


def _label(crew: Crew) -> str:
    return f"AIArena's month, task {crew.index}"


def _zip(first: Sequence[A], second: Sequence[B]) -> list[tuple[A, B]]:
    return list(zip(first, second, strict=True))

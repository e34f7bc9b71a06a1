"""What the arena must answer: the ledger's rules in Python, and a short list of what is added.

Money moves through `kumiai.settlement.ledger.step`, the executable specification; whatever that
rejects, the contract must refuse. This model adds only what `IArena` documents beyond it, marked
with DEVIATION: states and clocks, slashes that are clamped, delegations that are slashed as shares,
refunds shared by rule, and tasks that expire. Every action returns the names of the errors with
which it may be refused; an empty set says that it must succeed, and then it has been applied here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from kumiai.base.errors import Reject
from kumiai.settlement.certificates import ChainCertificate, ChainSlash
from kumiai.settlement.ledger import (
    Delegate,
    Deposit,
    Fund,
    LedgerCommand,
    LedgerState,
    Refund,
    ReleaseDelegation,
    ReleaseStake,
    SettleFinal,
    SettleRound,
    Stake,
    burnt_account,
    delegation_account,
    escrow_account,
    locked_account,
    stake_account,
    step,
)

PPM = 1_000_000
NONE, OPEN, RUNNING, STOPPED, CLOSED, CANCELLED, EXPIRED = range(7)
TRAINER, VALIDATOR = 1, 2
ENDED = {CLOSED, CANCELLED, EXPIRED}
DUST = "dust"  # what rounding leaves with nobody
BESIDE_ROUNDS = 2**40  # round numbers for burns that belong to no round
# how the contract says what the ledger rejects
REASONS = {
    "overdrawn": {"Overdrawn"},
    "already-done": {"RoundNotNext", "EvidenceUsed", "WrongStatus"},
    "task-open": {"WrongStatus"},
    "task-closed": {"WrongStatus"},
}
Errors = set[str]


@dataclass(frozen=True, slots=True)
class Rules:
    """The terms that the model follows; times in seconds."""

    ends_at: int
    grace: int
    activation_delay: int
    cool_down: int
    slash_ppm: int
    delegation_slash_ppm: int
    slash_to_task: bool
    trainer_stake_min: int
    validator_stake_min: int


@dataclass(slots=True)
class Seat:
    """A member as the model knows it; its stake is the ledger's."""

    role: int
    exit_at: int = 0
    holds: int = 0


@dataclass(slots=True)
class Pool:
    """What a node was lent: shares of `total`."""

    total: int = 0
    shares: dict[str, int] = field(default_factory=dict)

    def get_amount(self, who: str) -> int:
        every = sum(self.shares.values())
        return self.shares.get(who, 0) * self.total // every if every else 0


@dataclass(slots=True)
class Root:
    """A settled round: what everybody had earned by then."""

    cumulative: dict[str, int]
    active_at: int
    is_disabled: bool = False


class ArenaModel:
    """One task. `now` is the time of the call that is being judged."""

    def __init__(self, task: str, rules: Rules, wallets: dict[str, int]) -> None:
        self.task, self.rules = task, rules
        self.wallets = dict(wallets)
        self.ledger = LedgerState()
        self.now = 0
        self.status, self.ended_at, self.round_last = OPEN, 0, 0
        self.paused_until, self.orders = 0, 0
        self.paid, self.bonus = 0, 0
        self.seats: dict[str, Seat] = {}
        self.pools: dict[str, Pool] = {}
        self.roots: dict[int, Root] = {}
        self.cumulative: dict[str, int] = {}
        self.claimed: dict[str, int] = {}
        self.contributions: dict[str, int] = {}
        self.evidence: set[tuple[str, bytes]] = set()
        self.proofs: set[tuple[str, object]] = set()
        self.held: list[tuple[str, int]] = []
        self._count = 0
        for account, amount in wallets.items():
            self._must(Deposit(self._key(), task, account, amount))

    # ---- what stands where

    def get(self, account: str) -> int:
        return self.ledger.balances.get(account, 0)

    def get_stake(self, member: str) -> int:
        return self.get(stake_account(self.task, member))

    @property
    def escrow(self) -> int:
        return self.get(escrow_account(self.task))

    @property
    def locked(self) -> int:
        return self.get(locked_account(self.task))

    @property
    def burnt(self) -> int:
        return self.get(burnt_account(self.task))

    @property
    def unclaimed(self) -> int:
        return self.paid + self.bonus - sum(self.claimed.values())

    def compute_entitled(self, cumulative: int) -> int:
        share = self.bonus * cumulative // self.paid if self.bonus else 0
        return cumulative + share

    # ---- members and payers

    def fund(self, payer: str, amount: int) -> Errors:
        gates = self._joinable() | self._payable(payer, amount)
        return self._try(Fund(self._key(), self.task, payer, amount), gates, self._funded)

    def _funded(self, command: LedgerCommand) -> None:
        assert isinstance(command, Fund)
        self.wallets[command.payer] -= command.amount
        known = self.contributions.get(command.payer, 0)
        self.contributions[command.payer] = known + command.amount

    def stake(self, member: str, role: int, amount: int) -> Errors:
        gates = self._joinable() | self._payable(member, amount)
        seat = self.seats.get(member)
        if seat is not None and seat.exit_at:
            gates.add("TooEarly")
        if seat is not None and seat.role != role:
            gates.add("OtherRole")
        least = self.rules.trainer_stake_min
        if role == VALIDATOR:
            least = self.rules.validator_stake_min
        if self.get_stake(member) + amount < least:
            gates.add("StakeTooSmall")

        def then(command: LedgerCommand) -> None:
            self.wallets[member] -= amount
            self.seats.setdefault(member, Seat(role))

        return self._try(Stake(self._key(), self.task, member, amount), gates, then)

    def unstake(self, member: str) -> Errors:
        seat = self.seats.get(member)
        gates: Errors = set() if self.status == OPEN else {"WrongStatus"}
        if seat is None or seat.exit_at:
            gates.add("NotMember")
        if not gates and seat is not None:
            seat.exit_at = self.now + self.rules.cool_down
        return gates

    def withdraw(self, member: str) -> Errors:
        seat = self.seats.get(member) or Seat(0)
        gates: Errors = {"StakeHeld"} if seat.holds else set()
        begin = seat.exit_at
        if self.status == CANCELLED:
            begin = 0
        elif not begin and self.status in ENDED:
            begin = self.ended_at + self.rules.cool_down
        elif not begin:
            gates.add("WrongStatus")
        if self.now < begin:
            gates.add("TooEarly")
        amount = self.get_stake(member)
        if not amount:
            gates.add("NothingToWithdraw")
        command = ReleaseStake(self._key(), self.task, member)
        has_left = bool(seat.exit_at)
        if has_left and self.status not in ENDED:
            # DEVIATION: who left before the start is paid while the task is open
            if gates:
                return gates
            self._book([(stake_account(self.task, member), -amount), (member, amount)])
        elif refused := self._try(command, gates, lambda _: None):
            return refused
        self.wallets[member] += amount
        if has_left:
            del self.seats[member]
        return set()

    def delegate(self, delegator: str, node: str, amount: int) -> Errors:
        gates = self._joinable() | self._payable(delegator, amount)
        seat = self.seats.get(node)
        if seat is None or seat.exit_at:
            gates.add("NotMember")
        pool = self.pools.setdefault(node, Pool())
        every = sum(pool.shares.values())
        if every and not pool.total:
            gates.add("StakeTooSmall")  # DEVIATION: a pool that lost everything takes nothing

        def then(command: LedgerCommand) -> None:
            self.wallets[delegator] -= amount
            shares = amount * every // pool.total if every else amount
            pool.shares[delegator] = pool.shares.get(delegator, 0) + shares
            pool.total += amount
            self._follow_pool(node)

        return self._try(Delegate(self._key(), self.task, delegator, node, amount), gates, then)

    def undelegate(self, delegator: str, node: str) -> Errors:
        pool = self.pools.get(node, Pool())
        amount = pool.get_amount(delegator)
        gates = self._bound(node)
        if not amount:
            gates.add("NothingToWithdraw")
        if gates:
            return gates
        if self.status in ENDED:
            self._must(ReleaseDelegation(self._key(), self.task, delegator, node))
        else:  # DEVIATION: a node that left before the start frees what it was lent
            account = delegation_account(self.task, node, delegator)
            self._book([(account, -amount), (delegator, amount)])
        self.wallets[delegator] += amount
        pool.total -= amount
        pool.shares.pop(delegator)
        self._follow_pool(node)
        return set()

    def _bound(self, node: str) -> Errors:
        """Why what was lent to `node` cannot be taken back yet."""
        seat = self.seats.get(node)
        if seat is None or seat.exit_at:
            return set()
        if self.status not in ENDED:
            return {"WrongStatus"}
        if self.status == CANCELLED or not self.rules.delegation_slash_ppm:
            return set()
        gates: Errors = {"StakeHeld"} if seat.holds else set()
        if self.now < self.ended_at + self.rules.cool_down:
            gates.add("TooEarly")
        return gates

    def refund(self, payer: str) -> Errors:
        gates: Errors = set() if self.status in ENDED else {"WrongStatus"}
        if self.held:
            gates.add("StakeHeld")
        part = self.contributions.get(payer, 0)
        if not part:
            gates.add("NothingToWithdraw")
        if gates:
            return gates
        # DEVIATION: the rule says how much, not the payer
        amount = self.escrow * part // sum(self.contributions.values())
        if self.rules.slash_to_task:  # DEVIATION: slashed stake may make it more than was put in
            self._book([(escrow_account(self.task), -amount), (payer, amount)])
        else:
            self._must(Refund(self._key(), self.task, payer, amount))
        del self.contributions[payer]
        self.wallets[payer] += amount
        return set()

    # ---- settlement

    def start(self, members: Sequence[str]) -> Errors:
        gates: Errors = set() if self.status == OPEN else {"WrongStatus"}
        if self.now > self.rules.ends_at:
            gates.add("Expired")
        seats = [self.seats.get(each) for each in members]
        if not seats or any(s is None or s.exit_at or s.role != VALIDATOR for s in seats):
            gates.add("BadCommittee")
        if not gates:
            self.status = RUNNING
        return gates

    def settle(
        self,
        certificate: ChainCertificate,
        payments: Sequence[tuple[str, int]],
        slashes: Sequence[ChainSlash],
        *,
        has_quorum: bool,
    ) -> Errors:
        c = certificate
        gates = self._unpaused()
        if self.status != RUNNING and not (c.is_final and self.status == STOPPED):
            gates.add("WrongStatus")
        if c.round <= self.round_last:
            gates.add("RoundNotNext")
        if not has_quorum:
            gates.add("NoQuorum")
        if c.is_final and c.locked:
            gates.add("Overdrawn")
        takes = self._clamp(slashes)
        burnt = tuple((s.member, take) for s, take in zip(slashes, takes, strict=True))
        evidence = tuple(each.evidence.hex() for each in slashes)
        paid, command = tuple(payments), None
        if c.is_final:
            command = SettleFinal(self._key(), self.task, paid, burnt, evidence)
        else:
            command = SettleRound(
                self._key(), self.task, c.round, paid, c.locked, burnt, evidence
            )
        staked = {each.member: self.get_stake(each.member) for each in slashes}

        def then(_: LedgerCommand) -> None:
            self.round_last = c.round
            self._credit(payments)
            self.roots[c.round] = Root(
                dict(self.cumulative), self.now + self.rules.activation_delay
            )
            if c.is_final:
                self.status, self.ended_at = CLOSED, self.now
            self._after_burns(slashes, takes, staked)

        return self._try(command, gates, then)

    def _credit(self, payments: Iterable[tuple[str, int]]) -> None:
        for who, amount in payments:
            self.cumulative[who] = self.cumulative.get(who, 0) + amount
            self.paid += amount

    def verdict(self, slashes: Sequence[ChainSlash], *, has_quorum: bool) -> Errors:
        gates = self._slashable()
        if not has_quorum:
            gates.add("NoQuorum")
        names = [(each.member, each.evidence) for each in slashes]
        if len(set(names)) < len(names) or self.evidence & set(names):
            gates.add("EvidenceUsed")
        if gates:
            return gates
        takes = self._clamp(slashes)
        staked = {each.member: self.get_stake(each.member) for each in slashes}
        marks = tuple(each.evidence.hex() for each in slashes)
        self._burn([(s.member, take) for s, take in zip(slashes, takes, strict=True)], marks)
        self._after_burns(slashes, takes, staked)
        return set()

    def convict(self, member: str, ppm: int, proof: object) -> Errors:
        gates = self._slashable()
        if member not in self.seats:
            gates.add("NotMember")
        if (member, proof) in self.proofs:
            gates.add("EvidenceUsed")
        if gates:
            return gates
        self.proofs.add((member, proof))
        staked = self.get_stake(member)
        take = -(-staked * ppm // PPM)
        self._burn([(member, take)], (f"proof-{len(self.proofs)}",))
        self._after_burn(member, take, staked)
        return set()

    def equivocate(self, member: str, round_: int, attempt: int) -> Errors:
        seat = self.seats.get(member)
        if seat is None or seat.role != VALIDATOR or not self.get_stake(member):
            return {"NotMember"} | self._slashable()
        return self.convict(member, self.rules.slash_ppm, (round_, attempt))

    def claim(self, round_: int, account: str, cumulative: int, *, is_leaf: bool) -> Errors:
        gates = self._unpaused() if self.status in (RUNNING, STOPPED) else set()
        lowest = min((each for _, each in self.held), default=0)
        if lowest and round_ >= lowest:
            gates.add("RootIsBlocked")
        root = self.roots.get(round_)
        if root is None or root.is_disabled or self.now < root.active_at:
            gates.add("RootInactive")
        if not is_leaf:
            gates.add("BadProof")
        amount = self.compute_entitled(cumulative) - self.claimed.get(account, 0)
        if amount <= 0:
            gates.add("NothingToClaim")
        if not gates:
            self.claimed[account] = self.claimed.get(account, 0) + amount
            self.wallets[account] += amount
        return gates

    # ---- ends, guardians, arbiter

    def cancel(self) -> Errors:
        if self.status != OPEN:
            return {"WrongStatus"}
        self._end(CANCELLED, ())
        return set()

    def expire(self) -> Errors:
        if self.status not in (OPEN, RUNNING, STOPPED):
            return {"WrongStatus"}
        begin = self.ended_at if self.status == STOPPED else self.rules.ends_at
        if self.now <= begin + self.rules.grace:
            return {"TooEarly"}
        if self.status == OPEN:
            return self.cancel()
        pot = self.locked
        if not self.paid:
            self._end(EXPIRED, ())
            return set()
        # DEVIATION: the ledger knows no expiry; it is an end that shares the pot by what was paid
        shares = [(who, pot * got // self.paid) for who, got in self.cumulative.items()]
        rest = pot - sum(share for _, share in shares)
        self._end(EXPIRED, (*shares, (DUST, rest)))
        self.bonus = pot
        return set()

    def _end(self, status: int, payments: Sequence[tuple[str, int]]) -> None:
        self._must(SettleFinal(self._key(), self.task, tuple(payments)))
        self.status, self.ended_at = status, self.now

    def order(self, action: int, until: int, *, has_quorum: bool) -> Errors:
        gates: Errors = set()
        if self.status not in (RUNNING, STOPPED) or (action == 2 and self.status != RUNNING):
            gates.add("WrongStatus")
        if not has_quorum:
            gates.add("NoQuorum")
        if not gates:
            self.orders += 1
            if action == 2:
                self.status, self.ended_at = STOPPED, self.now
            else:
                self.paused_until = until
        return gates

    def hold(self, member: str, round_: int) -> Errors:
        gates: Errors = {"WrongStatus"} if self.status in (OPEN, CANCELLED) else set()
        if not round_:
            gates.add("RoundNotNext")
        if member not in self.seats:
            gates.add("NotMember")
        if len(self.held) >= 16:
            gates.add("StakeHeld")
        if not gates:
            self.held.append((member, round_))
            self.seats[member].holds += 1
        return gates

    def release(self, member: str, round_: int, *, is_disabled: bool) -> Errors:
        if (member, round_) not in self.held:
            return {"NotMember"}
        self.held.remove((member, round_))
        self.seats[member].holds -= 1
        if is_disabled and round_ in self.roots:
            self.roots[round_].is_disabled = True
        return set()

    # ---- gates

    def _joinable(self) -> Errors:
        return set() if self.status in (OPEN, RUNNING) else {"WrongStatus"}

    def _unpaused(self) -> Errors:
        return {"IsPaused"} if self.now < self.paused_until else set()

    def _slashable(self) -> Errors:
        if self.status in (OPEN, CANCELLED):
            return {"WrongStatus"}
        return self._unpaused() if self.status in (RUNNING, STOPPED) else set()

    def _payable(self, payer: str, amount: int) -> Errors:
        gates: Errors = set() if amount else {"AmountZero"}  # DEVIATION: nothing is no payment
        if self.wallets.get(payer, 0) < amount:
            gates |= {"ERC20InsufficientBalance", "revert"}
        return gates

    # ---- the ledger

    def _key(self) -> str:
        self._count += 1
        return f"command-{self._count}"

    def _try(
        self, command: LedgerCommand, gates: Errors, then: Callable[[LedgerCommand], None]
    ) -> Errors:
        answer = step(self.ledger, command)
        if isinstance(answer, Reject):
            return gates | REASONS[answer.reason]
        if gates:
            return gates
        self.ledger = answer[0]
        then(command)
        return set()

    def _must(self, command: LedgerCommand) -> None:
        answer = step(self.ledger, command)
        assert not isinstance(answer, Reject), answer
        self.ledger = answer[0]

    def _book(self, changes: Sequence[tuple[str, int]]) -> None:
        """A DEVIATION's postings: they sum to zero, and nothing falls below it."""
        assert not sum(amount for _, amount in changes)
        balances = dict(self.ledger.balances)
        for account, amount in changes:
            balances[account] = balances.get(account, 0) + amount
            assert balances[account] >= 0, account
        kept = {account: amount for account, amount in balances.items() if amount}
        self.ledger = LedgerState(MappingProxyType(kept), self.ledger.marks)

    def _clamp(self, slashes: Sequence[ChainSlash]) -> list[int]:
        """DEVIATION: at most what is left of each stake, in the order given."""
        left = {each.member: self.get_stake(each.member) for each in slashes}
        takes = []
        for each in slashes:
            takes.append(min(each.amount, left[each.member]))
            left[each.member] -= takes[-1]
        return takes

    def _burn(self, burns: Sequence[tuple[str, int]], evidence: tuple[str, ...]) -> None:
        if self.status in ENDED:  # DEVIATION: stake can be slashed until it is withdrawn
            for member, amount in burns:
                source = stake_account(self.task, member)
                self._book([(source, -amount), (burnt_account(self.task), amount)])
            return
        self._count += 1
        round_ = BESIDE_ROUNDS + self._count
        self._must(
            SettleRound(self._key(), self.task, round_, (), 0, tuple(burns), evidence)
        )

    def _after_burns(
        self, slashes: Sequence[ChainSlash], takes: Sequence[int], staked: dict[str, int]
    ) -> None:
        left = dict(staked)
        for each, take in zip(slashes, takes, strict=True):
            self.evidence.add((each.member, each.evidence))
            self._after_burn(each.member, take, left[each.member])
            left[each.member] -= take

    def _after_burn(self, member: str, take: int, staked: int) -> None:
        """DEVIATION: delegations lose their part, and the task's payers may get it all."""
        pool = self.pools.get(member, Pool())
        lost = 0
        if take and pool.total:
            lost = pool.total * take * self.rules.delegation_slash_ppm // (staked * PPM)
            pool.total -= lost
            self._follow_pool(member, lost)
        if self.rules.slash_to_task and self.contributions:
            target = escrow_account(self.task)
            self._book([(burnt_account(self.task), -take - lost), (target, take + lost)])

    def _follow_pool(self, node: str, burnt: int = 0) -> None:
        """Bring the ledger's delegations to what the shares are worth; rounding goes to DUST."""
        pool = self.pools[node]
        worth = {who: pool.get_amount(who) for who in pool.shares}
        worth[DUST] = pool.total - sum(worth.values())
        accounts = {delegation_account(self.task, node, who): each for who, each in worth.items()}
        changes = [(account, each - self.get(account)) for account, each in accounts.items()]
        if not self.rules.delegation_slash_ppm:
            assert not any(amount for _, amount in changes), "exact without slashing"
        self._book([*changes, (burnt_account(self.task), burnt)])

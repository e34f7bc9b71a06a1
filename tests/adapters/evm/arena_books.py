"""The books behind the arena's model: the ledger's state, the seats, pools and roots beside it.

`arena_model` decides what an action does; this file says what stands where, which conditions close
a door, and how postings reach `kumiai.settlement.ledger`. DEVIATION marks what `IArena` documents
beyond the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from kumiai.base.errors import Reject
from kumiai.settlement.certificates import ChainSlash
from kumiai.settlement.ledger import (
    Deposit,
    LedgerCommand,
    LedgerState,
    SettleRound,
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


class ArenaBooks:
    """One task. `now` is the time of the call that is being judged."""

    def __init__(self, task: str, rules: Rules, wallets: dict[str, int]) -> None:
        self.task, self.rules = task, rules
        self.wallets = dict(wallets)
        self.ledger = LedgerState()
        self.now = 0
        self.status, self.ended_at, self.round_last = OPEN, 0, 0
        self.void_up_to = 0  # roots up to this round pay nobody
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

    # ---- gates

    def _joinable(self) -> Errors:
        return set() if self.status in (OPEN, RUNNING) else {"WrongStatus"}

    def _unpaused(self) -> Errors:
        return {"IsPaused"} if self.now < self.paused_until else set()

    def _slashable(self) -> Errors:
        if self.status in (OPEN, CANCELLED):
            return {"WrongStatus"}
        return set()

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
        self._must(SettleRound(self._key(), self.task, round_, (), 0, tuple(burns), evidence))

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
